"""Pictures that cannot be shown as they are: with six channels, or values that are not finite."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TINY = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --name run --num_threads 0"
TINY += " --device cpu --dataset_mode stacked --crop_size 32 --input_nc 6 --output_nc 6"
TRAINED = f"{TINY} --seed 1 --n_epochs 1 --n_epochs_decay 0 --print_freq 1 --update_html_freq 1"

# Each picture over its mirror image, as somebody might stack two photographs of a camera.
STACKED_DATASET = """
import torch
from data.base_dataset import BaseDataset
from data.image_folder import make_dataset


class StackedDataset(BaseDataset):
    def __init__(self, opt):
        super().__init__(opt)
        self.paths = make_dataset(opt.dataroot, opt.max_dataset_size)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        picture = self.load(self.paths[index], 3)
        both = torch.cat((picture, picture.flip(-1)))
        if "bad" in self.paths[index]:
            both[5, 2, 3] = float("nan")
        return {"A": both, "B": both, "A_paths": self.paths[index], "B_paths": self.paths[index]}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, pictures_in) -> Path:
    """A copy of the program with the dataset, and pictures for it."""
    root = tmp_path_factory.mktemp("stacked")
    for folder in ("data", "models", "options", "util"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("train.py", "test.py"):
        shutil.copy(ROOT / script, root / script)
    (root / "data" / "stacked_dataset.py").write_text(STACKED_DATASET)
    pictures_in(root).single(3, (40, 40))
    return root


@pytest.fixture(scope="module")
def run(checkout, run_in):
    """`run("test.py", flags)`: of that copy."""
    return lambda script, flags: run_in(
        checkout, str(checkout / script), *"--dataroot single".split(), *flags.split()
    )


@pytest.fixture(scope="module")
def trained(run):
    """How the training ended."""
    return run("train.py", f"{TRAINED} --load_size 32 --no_flip --use_tensorboard --display_freq 1")


def test_six_channels_are_trained_and_shown(checkout, trained) -> None:
    """The first three channels are shown, and one line says so."""
    assert trained.status == 0, trained.stderr
    assert "switched off" not in trained.stdout
    for name in ("real_A", "fake_B", "real_B"):
        line = f"{name} has 6 channels, of which the first three are shown"
        assert trained.stdout.count(line) == 1
    shown = Image.open(
        checkout / "checkpoints" / "run" / "web" / "images" / "last_batch_real_A.png"
    )
    sources = [Image.open(file) for file in (checkout / "single").iterdir()]
    resized = [source.resize((32, 32), Image.Resampling.BICUBIC) for source in sources]
    assert any(np.array_equal(shown, source) for source in resized)


def test_six_channels_are_tested(checkout, trained, run) -> None:
    done = run("test.py", f"{TINY} --load_size 32")
    assert done.status == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("has 6 channels, of which the first three are shown") == 3
    images = checkout / "results" / "run" / "test_latest" / "images"
    assert len(list(images.glob("*.png"))) == 3 * 3
    whole = [tifffile.imread(file) for file in images.glob("*_fake_B.tif")]
    assert [(values.shape, values.dtype) for values in whole] == [((32, 32, 6), np.uint8)] * 3
    resized = Image.open(checkout / "single" / "s1.png").resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(Image.open(images / "s1_real_A.png"), resized)


def error_of(done) -> str:
    assert done.status == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("test.py: error: ")
    return line


def test_broken_weights_are_named(checkout, trained, run) -> None:
    weights = checkout / "checkpoints" / "run" / "latest_net_G.pth"
    state = torch.load(weights)
    state[next(iter(state))].view(-1)[0] = float("nan")
    torch.save(state, weights.with_name("broken_net_G.pth"))
    line = error_of(run("test.py", f"{TINY} --load_size 32 --epoch broken --batch_size 2"))
    for words in (
        "s0.png: values of its fake_B are not finite",
        "network G are not finite",
        "--epoch",
    ):
        assert words in line
    assert not (checkout / "results" / "run" / "test_broken" / "index.html").exists()


def test_a_bad_input_is_named(checkout, trained, run) -> None:
    """The message names the input, and earlier results are kept."""
    shutil.copy(checkout / "single" / "s0.png", checkout / "single" / "s1_bad.png")
    try:
        line = error_of(run("test.py", f"{TINY} --load_size 32 --batch_size 3"))
    finally:
        (checkout / "single" / "s1_bad.png").unlink()
    assert "s1_bad.png: values of its real_A, fake_B and real_B are not finite" in line
    assert "the weights of the network G are finite; look at the picture" in line
    page = checkout / "results" / "run" / "test_latest" / "data" / "0001.js"
    assert '"stopped by an error");' in page.read_text()
