"""Which pictures test.py takes, what it says about the others, and what becomes of old results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --device cpu --seed 1"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, pictures_in, run_in) -> Path:
    """Two trained runs: `pairs`, a pix2pix, and `sets`, a CycleGAN."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = pictures_in(folder)
    once = "--n_epochs 1 --n_epochs_decay 0 --num_threads 0 --no_html"
    for name, model, dataroot in (
        ("pairs", "pix2pix", pictures.two_folders(1)),
        ("sets", "cycle_gan", pictures.unaligned(1, 1)),
    ):
        line = f"{TINY} {once} --name {name} --model {model}".split()
        done = run_in(folder, "train.py", "--dataroot", dataroot, *line)
        assert done.status == 0, done.stderr
    return folder / "checkpoints"


@pytest.fixture
def test(checkpoints, run_here) -> Callable:
    """`test(dataroot, "--flags")`: test.py in tmp_path, by default with the run `pairs`."""

    def run(dataroot: str | Path, flags: str = "--model test"):
        line = f"--checkpoints_dir {checkpoints} --name pairs --num_threads 0 {flags}".split()
        return run_here("test.py", "--dataroot", str(dataroot), "--device", "cpu", *line)

    return run


# --- Not all of them ------------------------------------------------------------------------------


def test_a_part_of_the_pictures_is_told_at_the_start_and_at_the_end(test, pictures):
    dataroot = pictures.single(4)
    done = test(dataroot, "--model test --num_test 3")
    assert done.status == 0, done.stderr
    told = "3 of 4 pictures (--num_test inf takes all)"
    first, *_, last = [line for line in done.stdout.splitlines() if "--num_test inf" in line]
    assert first == f"dataset [single]: {told}"
    assert last == done.stdout.splitlines()[-1] == told
    assert "--num_test inf" not in test(dataroot, "--model test --num_test 4").stdout
    done = test(dataroot, "--model test --num_test inf --max_dataset_size 2")
    assert f"{dataroot}: 2 of 4 pictures (--max_dataset_size 2)" in done.stdout
    assert "dataset [single]: 2 images" in done.stdout
