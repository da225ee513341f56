"""Training where /dev/shm is as small as in a default container, or smaller."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A batch of two pictures of 128 x 128 takes 0.4 MiB.
FLAGS = "--name run --model pix2pix --device cpu --netG resnet_6blocks --ngf 2 --ndf 2 --no_html"
FLAGS += " --load_size 128 --crop_size 128 --n_epochs 2 --n_epochs_decay 0 --num_threads 4"


def with_shm(size: str) -> list[str]:
    """The start of a command line that gives a command its own /dev/shm of this size."""
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, "sh"]


@pytest.fixture
def train(tmp_path, pictures):
    if not shutil.which("unshare") or subprocess.run([*with_shm("1m"), "true"]).returncode:
        pytest.skip("needs the right to mount a /dev/shm of its own, as root in Linux has")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    flags = [*FLAGS.split(), "--dataroot", pictures.two_folders(6)]

    def run(size: str) -> str:
        command = [*with_shm(size), sys.executable, str(ROOT / "train.py"), *flags]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.mark.parametrize("size, processes", [("4k", 0), ("1m", 0), ("3m", 2), ("64m", 4)])
def test_as_many_processes_load_as_have_room(size, processes, train):
    printed = train(size)
    assert "finished after epoch 2" in printed
    said = f"loading processes: {processes} instead of 4, since /dev/shm has "
    assert (said in printed) == (processes < 4)
