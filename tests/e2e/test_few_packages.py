"""The program begins with torch, torchvision, NumPy and Pillow; what else is missing is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"scikit-image": "skimage", "pillow": "PIL"}
NEEDED = ("torch", "torchvision", "numpy", "PIL")
TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --device cpu "
TINY += "--num_threads 0 --n_epochs 1 --n_epochs_decay 0 --name run --overwrite"


@pytest.fixture
def run(run_cli, pictures, tmp_path):
    """Runs a program in a process in which no package but those NEEDED can be imported."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    packages = [line.split("=")[0].rstrip("<>~") for line in lines if line[:1].isalpha()]
    missing = {MODULES.get(package, package) for package in packages} - {*NEEDED}
    assert {"tqdm", "dominate", "skimage", "wandb", "visdom", "tifffile"} <= missing
    site = tmp_path / "site"
    site.mkdir()
    text = f"import sys\nfor name in {missing}: sys.modules[name] = None\n"
    (site / "sitecustomize.py").write_text(text)
    dataroot = pictures.two_folders(3)

    def run(program: str, more: str):
        if program == "train.py":
            more = f"--model pix2pix --dataroot {dataroot} {more}"
        return run_cli(program, *more.split(), PYTHONPATH=str(site))

    return run


def test_a_run_and_a_validation_without_pages(run, tmp_path):
    done = run("train.py", f"{TINY} --no_html --val_freq 1 --val_split 0.34")
    assert done.status == 0, done
    assert "pip install scikit-image" in done.stdout
    assert "L1 " in done.stdout and "SSIM 0" not in done.stdout
    assert (tmp_path / "checkpoints/run/best_net_G.pth").exists()
    assert "page of all runs is switched off: it needs dominate" in done.stdout


@pytest.mark.parametrize(
    "program, more, line",
    [
        ("train.py", TINY, "the training page needs dominate: pip install dominate, or pass --no_"),
        (
            "scripts/check_pairs.py",
            "--dataroot pairs",
            "the page needs dominate: pip install dominate",
        ),
        ("scripts/plot_losses.py", "log", "this script needs matplotlib: pip install matplotlib"),
        ("scripts/try_it.py", "--name run", "the page needs tornado: pip install tornado"),
    ],
)
def test_what_is_missing_ends_in_a_line(run, program, more, line, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "loss_log.txt").write_text("(epoch: 1, iters: 1) , G: 1.0\n")
    done = run(program, more)
    assert done.status == 2 and line in done.stderr, done


@pytest.mark.parametrize("package", ["wandb", "visdom", "tensorboard"])
def test_a_logger_that_is_missing_is_told_and_training_goes_on(run, package):
    done = run("train.py", f"{TINY} --no_html --use_{package}")
    assert done.status == 0, done
    assert f"is switched off: --use_{package} needs {package}: pip install {package}" in done.stdout


def test_pictures_that_need_a_package_name_it(run, pictures, tmp_path):
    for folder in ("trainA", "trainB"):
        for file in (pictures.root / "pairs" / folder).iterdir():
            file.unlink()
        tifffile.imwrite(
            pictures.root / "pairs" / folder / "0.tif", np.zeros((40, 40, 3), np.uint16)
        )
    done = run("train.py", f"{TINY} --no_html --no_dropout")
    assert done.status == 2 and "pip install tifffile" in done.stderr, done
