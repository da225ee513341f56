"""The room that checkpoints need is what they take when they are really saved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import util.run.checkpoint
from models.optimizer_state import OptimizerState
from util.image_pool import ImagePool
from util.run.checkpoint import Checkpoints
from util.run.clock import Clock
from util.run.disk import Room, size_text, state_size, weights_size

OVERHEAD = 9000  # bytes that torch.save adds to each of these small files, at most


class Course:
    """A run of one layer and `images` pictures an epoch, which saves as train.py does.

    Attributes:
        most: the most bytes that its folder has held at a time.
    """

    def __init__(self, folder: Path, clock: Clock, monkeypatch, **keeping: int):
        self.folder, self.clock, self.most = folder, clock, 0
        self.net = nn.Linear(200, 250)
        self.adam = torch.optim.Adam(self.net.parameters())
        self.net(torch.ones(1, 200)).sum().backward()
        self.adam.step()
        parts = {"clock": clock, "model": OptimizerState([self.adam], [], 1.0)}
        self.checkpoints = Checkpoints(folder, {"G": self.net}, parts, {}, **keeping)
        self.keeping = keeping
        rename_all = util.run.checkpoint.rename_all

        def measured(*arguments) -> None:
            inodes = {s.st_ino: s.st_size for s in map(os.stat, folder.iterdir())}
            self.most = max(self.most, sum(inodes.values()))
            rename_all(*arguments)

        monkeypatch.setattr(util.run.checkpoint, "rename_all", measured)

    def room(self, epoch_freq: int, iter_freq: int = 0, resumes: bool = False) -> Room:
        sizes = weights_size([self.net]), state_size([self.adam], [], 0)
        freqs = {"epoch_freq": epoch_freq, "iter_freq": iter_freq}
        return Room(self.folder, *sizes, self.clock, **freqs, **self.keeping, resumes=resumes)

    def train(self, epoch_freq: int, iter_freq: int = 0, until: int = 99) -> None:
        for epoch in range(self.clock.epoch, min(until, self.clock.last_epoch) + 1):
            for _ in range(self.clock.images_per_epoch):
                self.clock._previous_total = self.clock.total_images
                self.clock.total_images += 1
                if iter_freq and self.clock.due(iter_freq):
                    self.checkpoints.save(f"iter_{self.clock.total_images}", "latest")
            self.checkpoints.save("latest")
            self.clock.end_epoch()
            if epoch % epoch_freq == 0 or epoch == self.clock.last_epoch:
                self.checkpoints.save("latest", str(epoch))


KEEPING = [
    {},
    {"keep": 2},
    {"keep_states": 2},
    {"keep": 1, "keep_states": 2},
    {"keep": 3, "keep_states": 1},
]


@pytest.mark.parametrize("keeping", KEEPING)
@pytest.mark.parametrize("epoch_freq, iter_freq", [(1, 0), (2, 0), (3, 0), (1, 4), (9, 2)])
def test_what_a_run_needs(keeping, epoch_freq, iter_freq, tmp_path, monkeypatch):
    """From its start, and from the middle, where the folder already holds a part."""
    course = Course(tmp_path, Clock(1, 7, 3), monkeypatch, **keeping)
    needed = course.room(epoch_freq, iter_freq).needed()
    course.train(epoch_freq, iter_freq, until=3)
    there = sum({s.st_ino: s.st_size for s in map(os.stat, tmp_path.iterdir())}.values())
    still = course.room(epoch_freq, iter_freq, resumes=True).needed()
    course.train(epoch_freq, iter_freq)
    count = len(list(tmp_path.iterdir())) + 4
    assert needed == pytest.approx(course.most, abs=count * OVERHEAD)
    assert still == pytest.approx(course.most - there, abs=count * OVERHEAD)


def test_a_finished_run_that_is_extended_needs_a_whole_checkpoint_at_least(tmp_path, monkeypatch):
    course = Course(tmp_path, Clock(1, 5, 1), monkeypatch, keep=1)
    course.train(1)
    course.clock.planned_epochs = 6
    room = course.room(1, resumes=True)
    assert room.needed() >= room.weights + room.state


def room_of(epochs: int, tmp_path: Path, weights: int = 10**9, keep: int = 0) -> Room:
    clock = Clock(1, epochs, 10)
    return Room(tmp_path / "new", weights, 2 * weights, clock, epoch_freq=1, keep=keep)


def test_enough_room_is_not_worth_a_word(tmp_path):
    assert room_of(3, tmp_path, weights=10).warning() == ""


def test_the_warning_names_the_most_checkpoints_that_fit(tmp_path, monkeypatch):
    free = [20 * 10**9]
    monkeypatch.setattr(Room, "free", lambda self: free[0])
    assert room_of(9, tmp_path).warning() == ""  # 10 networks and 3 states of twice their size
    warning = room_of(1000, tmp_path).warning()
    assert "need 1007.0 GB" in warning
    assert f"{tmp_path / 'new'} has 20.0 GB free" in warning
    assert warning.endswith("--keep_checkpoints 12 needs 20.0 GB")
    free[0] = 10**9
    warning = room_of(1000, tmp_path, keep=5).warning()
    assert warning.endswith("--keep_checkpoints 1 needs 9.0 GB, so free some space too")
    assert not (tmp_path / "new").exists()


def test_a_run_without_an_end_is_counted_at_once(tmp_path):
    assert "--keep_checkpoints" in room_of(10**12, tmp_path).warning()


def test_image_pools_count(tmp_path):
    net = nn.Linear(3, 1, bias=False)
    adam = torch.optim.Adam(net.parameters())
    assert state_size([adam], [], 100) == 2 * 3 * 4
    assert state_size([adam], [ImagePool(50), ImagePool(0), "x"], 100) == 2 * 3 * 4 + 50 * 100


def test_sizes_as_people_read_them():
    assert [size_text(n) for n in (31_400_000, 4_120_000_000)] == ["31 MB", "4.1 GB"]
