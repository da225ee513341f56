"""When a run is said to end, and from which of its steps that is told."""

from __future__ import annotations

import datetime
import time
from itertools import pairwise

import pytest
import torch

from util.run.clock import Clock
from util.run.disk import Room
from util.run.memory import process_peak
from util.show.estimate import Estimate, duration_text, end_text

CPU = torch.device("cpu")


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """`timed(steps, clock)`: an estimate after steps that take these seconds."""

    def make(steps: list[float], clock: Clock, batch: int = 1, num_steps: int | None = None):
        now = [100.0]
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])
        room = Room(tmp_path, 10**6, 2 * 10**6, clock, epoch_freq=1)
        estimate = Estimate(clock, CPU, batch, room, num_steps)
        moments = []
        for number, seconds in enumerate(steps, 1):
            now[0] += seconds
            if estimate.step():
                moments.append(number)
        return estimate, moments

    return make


def test_it_is_said_once_after_ten_steps_or_twenty_seconds(timed):
    clock = Clock(1, 9, 9)
    assert timed([0.1] * 50, clock)[1] == [10]
    assert timed([3.0] * 50, clock)[1] == [7]
    assert timed([60.0] * 50, clock)[1] == [3]  # the first two are slow
    assert timed([0.1] * 9, clock)[1] == []


def test_as_many_steps_as_are_tried(timed):
    clock = Clock(1, 9, 9)
    assert timed([60.0] * 50, clock, num_steps=12)[1] == [12]
    assert timed([60.0] * 50, clock, num_steps=1)[1] == [1]


def test_the_median_without_the_first_two(timed):
    estimate, _ = timed([30.0, 5.0, 1.0, 1.2, 9.0, 1.1, 1.0], Clock(1, 9, 9), num_steps=7)
    assert estimate.step_s() == pytest.approx(1.1)
    assert timed([30.0, 5.0], Clock(1, 9, 9), num_steps=2)[0].step_s() == pytest.approx(5)


@pytest.mark.parametrize(
    "epoch, images, batch, steps", [(1, 1, 1, 29), (3, 4, 4, 2), (2, 10, 4, 3), (3, 10, 1, 0)]
)
def test_steps_to_go(epoch, images, batch, steps, timed):
    clock = Clock(1, 3, 10)
    clock.start_at(epoch)
    clock.epoch_images = images
    clock.total_images += images
    assert clock.images_left == 30 - clock.total_images
    first, _ = timed([2.0] * 10, clock, batch)[0].lines()
    assert f"2 s a step, {steps} to go: the run ends about" in first
    assert first.endswith(f", in {duration_text(2 * steps)} (steps alone)")


def test_the_date_is_said_if_it_is_not_today():
    def date_at(left_s: float) -> str:
        return f"{datetime.datetime.now() + datetime.timedelta(seconds=left_s):%H:%M on %Y-%m-%d}"

    left_s = 3 * 24 * 3600 + 120
    before, said, after = date_at(left_s), end_text(left_s), date_at(left_s)
    assert said in [f"the run ends about {when}, in 72 h 2 min" for when in (before, after)]
    days = [datetime.date.today(), (datetime.datetime.now() + datetime.timedelta(seconds=1)).date()]
    assert " on " not in end_text(1) or days[0] != days[1]


def test_no_end_is_too_far():
    assert end_text(1e12) == "the run takes more than 30 years"
    assert end_text(float("inf")) == "the run takes more than 30 years"


def test_durations():
    said = [duration_text(s) for s in (0.4, 59, 61, 3599, 3661, 2.5 * 24 * 3600)]
    assert said == ["0 s", "59 s", "1 min", "1 h 0 min", "1 h 1 min", "60 h 0 min"]


def test_lines_fit_on_a_terminal(timed, monkeypatch):
    monkeypatch.setattr("util.show.estimate.device_memory", lambda device: "GPU 139.8/139.8 GiB")
    monkeypatch.setattr("util.show.estimate.process_peak", lambda: 512 << 30)
    monkeypatch.setattr(Room, "needed", lambda self: 549 * 10**9)
    monkeypatch.setattr(Room, "free", lambda self: 12345 * 10**9)
    lines = timed([123.4] * 10, Clock(1, 4000, 500))[0].lines()
    assert all(len(line) <= 100 for line in lines), [*map(len, lines)]
    assert all(a != b for a, b in pairwise(lines))


def test_the_peak_of_this_process_grows_with_what_it_holds():
    before = process_peak()
    held = bytearray(b"x" * (before // 2))
    assert process_peak() >= before + len(held) // 4
    assert before > 50 * 2**20  # Python with PyTorch
