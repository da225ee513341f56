"""Every recipe in scripts/, started as a user would, and scaled down by additional flags."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
TINY = ["--ngf", "2", "--ndf", "2", "--num_threads", "0", "--device", "cpu"]
TWO_STEPS = ["--max_dataset_size", "2", "--n_epochs", "1", "--n_epochs_decay", "0"]
AT_256 = ["--load_size", "256", "--crop_size", "256"]  # the smallest that unet_256 takes
AT_32 = ["--load_size", "32", "--crop_size", "32"]

RETOUCH = "name portrait_retouch_reverse, direction AtoB, netG unet_256"
SHARP = f"{RETOUCH}, preprocess scale_width_and_crop, load_size 1024, crop_size 1024, lr 0.0001"
PERCEPTUAL = f"{SHARP}, n_epochs 1000, n_epochs_decay 1000, lambda_L1 100.0, use_perceptual True"
FEW = f"{RETOUCH}, preprocess scale_width_and_crop, load_size 1024, residual True, augment auto"
OVERFIT = f"{RETOUCH}, model pix2pix, load_size 512, crop_size 512"
OPTIONS = {
    "retouch_1024": f"{RETOUCH}, model pix2pix, batch_size 1, load_size 1024, crop_size 1024, "
    "preprocess resize_and_crop, n_epochs 200, n_epochs_decay 200",
    "retouch_512_batch4": f"{RETOUCH}, model pix2pix, batch_size 4, load_size 512, crop_size 512, "
    "n_epochs 100, n_epochs_decay 100, display_freq 50, print_freq 10",
    "retouch_few": f"{FEW}, lambda_L1 1000.0, d_augment translation,cutout, lambda_feat 10.0, "
    "n_epochs 200, n_epochs_decay 200",
    "retouch_many": f"{FEW}, lambda_L1 300.0, n_epochs 50, n_epochs_decay 50",
    "retouch_overfit_800": f"{OVERFIT}, n_epochs 800, n_epochs_decay 800, lambda_L1 300.0, "
    "lr 0.0001",
    "retouch_overfit_1000": f"{OVERFIT}, n_epochs 1000, n_epochs_decay 1000, lambda_L1 500.0, "
    "lr 0.0001",
    "retouch_overfit_2000": f"{OVERFIT}, n_epochs 2000, n_epochs_decay 2000, lambda_L1 1000.0, "
    "lr 5e-05",
    "retouch_perceptual": f"{PERCEPTUAL}, lambda_perceptual 10.0, gan_mode vanilla",
    "retouch_perceptual_lsgan": f"{PERCEPTUAL}, lambda_perceptual 10.0, gan_mode lsgan",
    "retouch_sharp": f"{SHARP}, lambda_L1 50.0, gan_mode lsgan, netD n_layers, n_layers_D 4",
    "train_pix2pix": "name facades_pix2pix, model pix2pix, direction BtoA, netG unet_256, "
    "norm batch, n_epochs 100, n_epochs_decay 100",
    "train_pix2pix_maps": "name maps_pix2pix, model pix2pix, direction BtoA, netG unet_256, "
    "norm batch, n_epochs 100, n_epochs_decay 100",
    "train_cyclegan": "name maps_cyclegan, model cycle_gan, netG resnet_9blocks, no_dropout True",
    "horse2zebra_cut": "name horse2zebra_cut, model cut, dataset_mode unaligned, n_epochs 200, "
    "n_epochs_decay 200, lambda_NCE 1.0, init_type xavier",
    "horse2zebra_fastcut": "name horse2zebra_fastcut, model cut, CUT_mode FastCUT, n_epochs 150, "
    "n_epochs_decay 50, lambda_NCE 10.0",
    "train_horse2zebra": "name horse2zebra, model cycle_gan, dataset_mode unaligned",
    "monet2photo": "model cycle_gan, n_epochs 75, n_epochs_decay 75, lr 0.0002, batch_size 1, "
    "save_epoch_freq 10, lambda_A 10.0, lambda_B 10.0, lambda_identity 0.5",
    "train_colorization": "name color_pix2pix, model colorization, input_nc 1, output_nc 2",
}

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., str]:
    """`recipe("retouch_1024", *flags)` runs scripts/retouch_1024.sh in tmp_path; must succeed.

    Returns what it printed. The folders of the project are not written to.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(name: str, *flags: str | Path) -> str:
        flags = (*flags, "--checkpoints_dir", tmp_path / "check points")
        if name == "retouch_test" or "test_" in name:
            flags = (*flags, "--results_dir", tmp_path / "results")
        done = subprocess.run(
            ["sh", SCRIPTS / f"{name}.sh", *flags],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def data(tmp_path: Path, pictures_in) -> Path:
    """A folder, with a space in its name, of paired, unpaired and single pictures."""
    pictures = pictures_in(tmp_path / "my pictures")
    for phase in ("train", "test"):
        pictures.two_folders(2, phase=phase)
        pictures.side_by_side(2, phase=phase)
        pictures.unaligned(2, 2, phase=phase)
    pictures.single(2)
    return pictures.root


def assert_options(expected: str, printed: str) -> None:
    for option in expected.split(", "):
        name, value = option.split()
        (found,) = re.findall(rf"^ *{name}: (.*?)(?:\t.*)?$", printed, re.MULTILINE)
        assert found == value, name


@pytest.mark.parametrize("name", OPTIONS)
def test_a_training_recipe_has_its_options(name, recipe, data) -> None:
    root = "datasets/portrait_retouch"  # a relative path starts in the project
    more = []
    if name == "train_colorization":
        root = str(data / "joined")
    if "perceptual" in name:
        more = ["--vgg_weights", str(vgg16_of_zeros(data / "vgg.pth"))]
    flags = ["--dataroot", root, *more, *TINY]  # flags that follow win
    printed = recipe(name, *flags, "--dry_run")
    assert_options(f"{OPTIONS[name]}, ngf 2", printed)
    command = shlex.split(printed.splitlines()[0])  # shown, to be copied
    assert command[:2] == ["python", "train.py"]
    assert ("in a study at 128 px" in printed) == (name == "retouch_few")
    assert command[-len(flags) - 3 :][: len(flags)] == flags


def vgg16_of_zeros(file: Path) -> Path:
    """A file of VGG16 weights, each tensor stored as one number."""
    state, width = {}, 3
    layers = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}
    for index, channels in layers.items():
        state[f"features.{index}.weight"] = torch.zeros(1).expand(channels, width, 3, 3)
        state[f"features.{index}.bias"] = torch.zeros(1).expand(channels)
        width = channels
    torch.save(state, file)
    return file


def test_a_retouch_is_trained_and_tested_in_every_way(recipe, data, tmp_path) -> None:
    paired = ["--dataroot", data / "pairs"]
    printed = recipe("retouch_1024", *paired, *AT_256, *TINY, *TWO_STEPS)
    run = tmp_path / "check points" / "portrait_retouch_reverse"
    assert "End of epoch 1 / 1" in printed
    assert (run / "latest_net_G.pth").is_file()

    printed = recipe(
        "retouch_1024", *paired, *AT_256, *TINY, *TWO_STEPS, "--continue_train", "--n_epochs", "2"
    )
    assert "End of epoch 2 / 2" in printed

    overfit = ["retouch_overfit_1000", *paired, *AT_256, *TINY, *TWO_STEPS, "--continue_train"]
    printed = recipe(*overfit, "--n_epochs", "3")
    assert "End of epoch 3 / 3" in printed
    assert "lambda_L1 100.0 -> 500.0" in printed
    with pytest.raises(AssertionError, match="portrait_retouch_reverse; to start"):  # what there is
        recipe(*overfit, "--name", "another")

    recipe("retouch_test", *paired)
    results = tmp_path / "results" / "portrait_retouch_reverse" / "test_latest" / "images"
    assert (results / "p1_fake_B.png").is_file()
    recipe("retouch_test_single", "--dataroot", data / "single")
    assert (results / "s1_fake.png").is_file()

    # The same run, with side-by-side pictures in the other direction, by the standard recipes.
    recipe("test_pix2pix", "--dataroot", data / "joined", "--name", run.name)
    recipe("test_pix2pix_maps", "--dataroot", data / "joined", "--name", run.name)
    recipe("test_single", "--dataroot", data / "single" / "s0.png", "--name", run.name)


def test_the_second_stage_starts_from_the_first(recipe, data, tmp_path) -> None:
    paired = ["--dataroot", data / "pairs"]
    recipe("retouch_stage1", *paired, *TINY, *TWO_STEPS)
    stage1 = tmp_path / "check points" / "portrait_retouch_stage1"
    assert_options("load_size 512, crop_size 256", (stage1 / "train_opt.txt").read_text("utf-8"))

    start = ["--load_pretrain", stage1, "--n_epochs", "501", "--n_epochs_decay", "0"]
    printed = recipe("retouch_stage2", *paired, *AT_256, *TINY, *TWO_STEPS, *start, "--lr", "1e-30")
    assert "End of epoch 501 / 501" in printed
    first, second = (
        torch.load(stage1.with_name(name) / "latest_net_G.pth", weights_only=True)
        for name in ("portrait_retouch_stage1", "portrait_retouch_stage2")
    )
    weights = [key for key in first if key.endswith((".weight", ".bias"))]
    assert all(torch.equal(first[key], second[key]) for key in weights)


def test_cyclegan_recipes(recipe, data, tmp_path) -> None:
    unpaired = ["--dataroot", data / "unpaired"]
    recipe("train_horse2zebra", *unpaired, *AT_32, *TINY, *TWO_STEPS)
    images = tmp_path / "results" / "horse2zebra" / "test_latest" / "images"
    recipe("test_horse2zebra", *unpaired, "--crop_size", "32")
    assert {"a0_fake_B.png", "b0_fake_A.png"} <= {file.name for file in images.iterdir()}
    recipe("test_single_horse2zebra", "--dataroot", data / "single", "--crop_size", "32")
    names = {file.name for file in images.iterdir()}
    assert "s0_fake.png" in names and "a0_fake_B.png" not in names  # of the last test
    recipe("test_cyclegan", *unpaired, "--crop_size", "32", "--name", "horse2zebra")


def test_colorization_recipes(recipe, data, tmp_path) -> None:
    photographs = ["--dataroot", data / "joined"]
    recipe("train_colorization", *photographs, *AT_256, *TINY, *TWO_STEPS)
    recipe("test_colorization", *photographs)
    images = tmp_path / "results" / "color_pix2pix" / "test_latest" / "images"
    assert (images / "p0_fake_B_rgb.png").is_file()
    recipe("test_single_colorization", "--dataroot", data / "single")
    assert (images / "s1_fake_B_rgb.png").is_file()


def test_a_mistake_ends_as_the_program_ends_it(tmp_path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, words in (
        (["sh", SCRIPTS / "train_pix2pix.sh", "--dataroot", tmp_path / "nowhere"], "nowhere"),
        ([sys.executable, SCRIPTS / "preset.py", "retouch1024"], "did you mean retouch_1024?"),
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def listed() -> dict[str, list[str]]:
    """The words of each recipe, by its name, as preset.py lists them."""
    command = [sys.executable, SCRIPTS / "preset.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = re.findall(r"^(\w+)\n    (t(?:rain|est)\.py .*)$", done.stdout, re.MULTILINE)
    return {name: shlex.split(line) for name, line in lines}


def test_every_recipe_has_one_file_for_each_system_which_do_the_same(listed) -> None:
    assert set(OPTIONS) < set(listed)
    form = re.compile(r'#!/bin/sh\nexec python3 "\$\(dirname -- "\$0"\)/(\S+)" (\w+) "\$@"\n')
    recipes = []
    for shell in {*SCRIPTS.glob("*.sh")} - {SCRIPTS / "gpu_proof.sh"}:
        script, name = form.fullmatch(shell.read_text(encoding="utf-8")).groups()
        windows = shell.with_suffix(".cmd").read_text(encoding="utf-8")
        assert windows == f'@python "%~dp0{script}" {name} %*\n'.replace("/", "\\")
        assert os.access(shell, os.X_OK)
        if script == "preset.py":
            assert name == shell.stem
            recipes.append(name)
    assert sorted(recipes) == sorted(listed)


def test_the_guide_has_every_recipe_and_each_command_once(listed) -> None:
    guide = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))
    commands = [shlex.split(c)[1:] for c in blocks.replace("\\\n", " ").splitlines()]
    shown = [c for c in commands if c[0] in ("train.py", "test.py")]
    shown = [command for command in shown if "_pretrained" not in " ".join(command)]
    assert len(shown) >= 12
    for command in shown:
        assert command in listed.values()
        assert shown.count(command) == 1
    assert set(listed) <= set(re.findall(r"`(\w+)`", guide))
