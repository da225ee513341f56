"""What a run says before anyone waits for it: its time, memory and disk, and steps to try it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch
from test_resume import AGAIN, PIX2PIX, clock, posix_only
from trainer import told

LINES = re.compile(
    r"^(?P<step>\S+) s a step, (?P<left>\d+) to go: the run ends about \d\d:\d\d.*, in .*\n"
    r"peak memory: process \d+\.\d GiB; disk: (?P<needed>\S+ [MG]B) needed, \S+ GB free$",
    re.MULTILINE,
)


@pytest.fixture
def flags(pictures) -> str:
    """Of a run of three epochs of six pictures."""
    dataroot = pictures.side_by_side(6, (40, 40))
    return f"--dataroot {dataroot} {PIX2PIX} --num_threads 0 --n_epochs 3 --n_epochs_decay 0"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All folders and files below a folder, with the time of their last change and their bytes."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
        if path.name not in ("out.txt", "err.txt")
    }


def test_a_run_says_once_what_it_will_take(flags, tmp_path, trainer):
    trainer.run(tmp_path, flags)
    (found,) = LINES.finditer(told(tmp_path))
    assert float(found["step"]) > 0
    assert found["left"] == "8"  # of 18, after 10
    assert max(map(len, found[0].splitlines())) <= 100
    before = told(tmp_path)[: found.start()]
    assert "(epoch: 2, iters: 3" in before and "(epoch: 2, iters: 4" not in before
    assert "warning" not in told(tmp_path)

    trainer.run(tmp_path, f"{AGAIN} --n_epochs 5")
    assert [match["left"] for match in LINES.finditer(told(tmp_path))] == ["8", "2"]


@pytest.mark.parametrize("steps, left", [(1, 17), (4, 14), (8, 10), (99, 0)])
def test_steps_of_a_new_run_leave_nothing_behind(steps, left, flags, tmp_path, trainer):
    for more in ("", "--cache disk --use_tensorboard --overwrite"):
        folder = tmp_path / f"empty{len(more)}"
        folder.mkdir()
        before = contents(folder)
        trainer.run(folder, f"{flags} --try_steps {steps} {more}")
        assert [match["left"] for match in LINES.finditer(told(folder))] == [str(left)]
        assert contents(folder).keys() == before.keys()
        assert ("--cache disk" in told(folder).replace("cache: disk", "")) == bool(more)


@posix_only
def test_steps_of_an_existing_run_leave_every_byte_as_it_was(flags, tmp_path, trainer):
    """One that was killed in mid-epoch, with leftovers of a save, and states that are too many."""
    trainer.run(tmp_path, f"{flags} --keep_states 9", "epoch: 3, iters: 5", signal.SIGKILL, ends=-9)
    run = tmp_path / "checkpoints" / "run"
    (run / "latest_net_G.pth.tmp").write_bytes(b"half a file")
    before = contents(run.parent)
    assert clock(tmp_path)["total_images"] == 16
    for more, left in ((f"{AGAIN} --keep_states 0", 1), (f"{flags} --overwrite", 17)):
        (tmp_path / "out.txt").unlink()
        trainer.run(tmp_path, f"{more} --try_steps 1")
        assert [match["left"] for match in LINES.finditer(told(tmp_path))] == [str(left)]
        assert contents(run.parent) == before
    trainer.run(tmp_path, f"{flags} --try_steps 1")  # without --overwrite, too
    assert contents(run.parent) == before

    trainer.run(tmp_path, AGAIN)  # trains, and is not tried again
    assert "saved latest and 3" in told(tmp_path)
    trainer.run(tmp_path, f"{AGAIN} --try_steps 3")
    assert "run is finished" in told(tmp_path)


def test_a_dry_run_stays_one(flags, tmp_path, trainer):
    trainer.run(tmp_path, f"{flags} --dry_run --try_steps 3")
    assert "a step" not in told(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@posix_only
def test_a_disk_that_is_too_small_is_told_before_the_first_step(flags, tmp_path, trainer):
    """For more checkpoints than any disk holds."""
    more = "--n_epochs 1000000000 --no_html"
    trainer.run(tmp_path, f"{flags} {more}", "epoch: 1, iters: 2", signal.SIGTERM, ends=143)
    text = told(tmp_path)
    warning = re.search(r"^warning: the checkpoints of this run need .*$", text, re.MULTILINE)
    assert re.search(
        r"the disk of checkpoints/run has .* free; --keep_checkpoints \d+ ", warning[0]
    )
    assert text.index(warning[0]) < text.index("epoch: 1, iters: 1")
    trainer.run(tmp_path, f"{AGAIN} --keep_checkpoints 2", "epoch: 1, iters: 4", ends=143)
    assert told(tmp_path).count("warning: the checkpoints") == 1


def test_on_a_cpu_the_advice_is_that_of_training(flags, run_here, tmp_path, monkeypatch):
    def forward(generator, x):
        return torch.empty(10**15)

    monkeypatch.setattr("models.networks.generators.ResnetGenerator.forward", forward)
    done = run_here("train.py", *flags.split(), "--try_steps", "2", "--batch_size", "4")
    assert done.status == 2
    assert "out of memory" in done.stderr and "--batch_size 1, --precision auto" in done.stderr
    assert os.listdir(tmp_path) == ["joined"]
