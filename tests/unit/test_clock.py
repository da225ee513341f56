"""When each action is due, and the times in log lines."""

from __future__ import annotations

import itertools
import json
import math
import time
from types import SimpleNamespace

import pytest

from util.distributed import Share
from util.run.clock import Clock


class Batches:
    """Batches of an epoch of `num_images`, the last one short, each after a wait."""

    def __init__(self, num_images: int, batch_size: int, wait_s: float = 0.0):
        self.num_images, self.batch_size, self.wait_s = num_images, batch_size, wait_s

    def __len__(self) -> int:
        return self.num_images

    def __iter__(self):
        for start in range(0, self.num_images, self.batch_size):
            time.sleep(self.wait_s)
            num = min(self.batch_size, self.num_images - start)
            yield SimpleNamespace(share=Share(start, num, num, 1.0))


class Rest(Batches):
    """The batches of an epoch from an image on; the length is still the whole epoch's."""

    def __init__(self, batches: Batches, start: int):
        super().__init__(batches.num_images, batches.batch_size)
        self.start = start

    def __iter__(self):
        return itertools.islice(super().__iter__(), -(-self.start // self.batch_size), None)


def steps(batch_size: int, num_images: int = 10, num_epochs: int = 3, first_epoch: int = 1):
    """The clock at each step of a run."""
    clock = Clock(first_epoch, first_epoch + num_epochs - 1, num_images)
    for _ in clock.epochs():
        for _ in clock.iterations(Batches(num_images, batch_size)):
            yield clock
        clock.end_epoch()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
@pytest.mark.parametrize("frequency", [1, 2, 4, 5, 10, 17, 30, 31])
def test_due_once_for_each_multiple_that_is_crossed(batch_size, frequency):
    fired, before = [], 0
    for clock in steps(batch_size):
        multiples = [n for n in range(before + 1, clock.total_images + 1) if n % frequency == 0]
        assert clock.due(frequency) == bool(multiples)
        assert clock.due(frequency) == clock.due(frequency)  # asking changes nothing
        fired += multiples
        before = clock.total_images
    assert fired == list(range(frequency, 31, frequency))


def test_due_by_hand():
    """10 images in batches of 3, 3, 3, 1; a multiple of 4 lies in (3, 6], (6, 9], (9, 12]..."""
    due = [clock.total_images for clock in steps(3) if clock.due(4)]
    assert due == [6, 9, 13, 16, 20, 26, 29]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
def test_counts(batch_size):
    seen = [(c.epoch, c.epoch_images, c.total_images, c.epoch_done) for c in steps(batch_size)]
    per_epoch = math.ceil(10 / batch_size)
    assert len(seen) == 3 * per_epoch
    assert [epoch for epoch, *_ in seen] == sorted([1, 2, 3] * per_epoch)
    for epoch, epoch_images, total_images, done in seen:
        assert total_images == 10 * (epoch - 1) + epoch_images
        assert epoch_images % batch_size == 0 or epoch_images == 10
        assert done == (epoch_images == 10)
    assert seen[-1][1:3] == (10, 30)


def test_a_run_may_begin_at_a_later_epoch():
    """As if everything before it had been trained."""
    clocks = [(clock.epoch, clock.total_images) for clock in steps(10, first_epoch=6)]
    assert clocks == [(6, 60), (7, 70), (8, 80)]


@pytest.mark.parametrize("cut_after", [1, 3, 4, 5, 9])
def test_a_clock_that_is_restored_goes_on_at_the_very_image(cut_after):
    def facts(clock: Clock) -> tuple:
        counts = clock.epoch, clock.epoch_images, clock.total_images
        return *counts, clock.epoch_done, clock.due(4)

    def run(clock: Clock):
        for _ in clock.epochs():
            for _ in clock.iterations(Rest(Batches(10, 3), clock.epoch_images)):
                yield facts(clock)
            clock.end_epoch()

    clock = Clock(1, 3, 10)
    before = list(itertools.islice(run(clock), cut_after))
    state = json.loads(json.dumps(clock.state_dict()))  # plain enough for any file
    restored = Clock(1, 3, 10)
    restored.load_state_dict(state)
    assert before + list(run(restored)) == [facts(clock) for clock in steps(3)]


def test_other_pictures_than_before_let_the_epoch_begin_anew(capsys):
    clock = Clock(1, 3, 10)
    next(clock.iterations(Batches(10, 4)))
    state = {**clock.state_dict(), "epoch": 2, "total_images": 14}
    restored = Clock(1, 3, 12)
    restored.load_state_dict(state)
    assert (restored.epoch, restored.epoch_images, restored.total_images) == (2, 0, 10)
    assert "10 -> 12: epoch 2 starts over" in capsys.readouterr().out


def test_pace_is_per_image_since_the_last_lap():
    clock = Clock(1, 1, 8)
    laps = []
    for _ in clock.epochs():
        for _ in clock.iterations(Batches(8, batch_size=2, wait_s=0.02)):
            time.sleep(0.04)  # the training step
            if clock.due(4):
                laps.append(clock.lap())
        clock.end_epoch()
    assert len(laps) == 2
    for time_s, data_s in laps:  # two steps of two images each
        assert 0.010 <= data_s < time_s
        assert time_s >= (0.02 + 0.04) / 2
        assert time_s < 0.3  # per image: the sum over all would be more, even on a busy machine
    # Time between laps without a step counts towards the next lap.
    time.sleep(0.05)
    assert clock.lap()[0] >= 0.05


def test_wait_for_data_is_told_apart_from_the_step():
    for wait_s, step_s in ((0.05, 0.0), (0.0, 0.05)):
        clock = Clock(1, 1, 4)
        for _ in clock.epochs():
            for _ in clock.iterations(Batches(4, batch_size=1, wait_s=wait_s)):
                time.sleep(step_s)
            clock.end_epoch()
        time_s, data_s = clock.lap()
        assert data_s / time_s > 0.8 if wait_s else data_s / time_s < 0.2
