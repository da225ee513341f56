"""The protocol of loggers."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from util import runtime
from util.errors import described
from util.metrics.scores import Scores
from util.run.clock import Clock
from util.util import counted, listed


@dataclass(frozen=True)
class Losses:
    """Mean losses since they were last read, with the pace since then.

    Attributes:
        time_s: wall-clock seconds per image.
        data_s: the part of time_s spent waiting for data.
        is_asked_for: whether people should see them: at --print_freq, and after the first and last
            epochs.
        ends_epoch: whether the step was the last of its epoch.
    """

    epoch: int
    epoch_images: int
    total_images: int
    time_s: float
    data_s: float
    learning_rate: float
    values: Mapping[str, float]
    is_asked_for: bool = True
    ends_epoch: bool = False

    @staticmethod
    def now(
        clock: Clock, values: Mapping[str, float], learning_rate: float, print_freq: int
    ) -> Losses:
        time_s, data_s = clock.lap()
        counts = clock.epoch, clock.epoch_images, clock.total_images
        is_asked_for = clock.due(print_freq) or clock.epoch in (1, clock.last_epoch)
        told = is_asked_for, clock.epoch_done
        return Losses(*counts, time_s, data_s, learning_rate, values, *told)

    def line(self, columns: float = math.inf) -> str:
        """(epoch: 1, iters: 100, time: 0.123, data: 0.002) , G_GAN: 0.956, G_L1: 12.345

        Where that does not fit in so many columns, times are left out, then losses.
        """
        where = f"(epoch: {self.epoch}, iters: {self.epoch_images}"
        times = f", time: {self.time_s:.3f}, data: {self.data_s:.3f}"
        parts = [f"{name}: {value:.3f}" for name, value in self.values.items()]
        whole = f"{where}{times}) , {', '.join(parts)}"
        return whole if len(whole) <= columns else fitting(f"{where}) , ", parts, columns)


def fitting(start: str, parts: Sequence[str], columns: float) -> str:
    """A line with as many of the parts as fit in so many columns."""
    for number in range(len(parts), 0, -1):
        line = start + ", ".join([*parts[:number], *["..."] * (number < len(parts))])
        if len(line) <= columns:
            return line
    return start.rstrip(",:; ")


class Example(NamedTuple):
    """What is shown of one picture.

    Attributes:
        files: of each side of the data; () for whatever the model has just trained on.
        pictures: by label, for `to_batch`; once they are with a logger, (N, C, H, W) in [-1, 1].
        given: the labels of those that stay the same, such as inputs and targets.
    """

    files: tuple[str, ...]
    pictures: Mapping[str, Any]
    given: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        return self.files[0] if self.files else ""

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True)
class EpochEnd:
    """The end of an epoch, after everything that belongs to it.

    Attributes:
        time_s: what it took.
        learning_rates: those of this epoch and of the next one.
    """

    epoch: int
    last_epoch: int
    time_s: float
    learning_rates: tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        kind: a few words, for pages.
        line: the same with its consequences, for consoles.
        more: further lines for consoles.
    """

    kind: str
    line: str
    more: tuple[str, ...] = ()


class Logger:
    """Receives the events of a run; a subclass overrides the methods it needs."""

    name = "logger"

    def step(self, clock: Clock) -> None:
        """Called for each training step."""

    def say(self, line: str) -> None:
        """Show a line to people; only called for the first remaining logger."""

    def losses(self, losses: Losses) -> None:
        """Log losses."""

    def images_due(self, clock: Clock) -> bool:
        """Whether this logger wants the pictures of this step."""
        return False

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        """Log pictures: the same examples each time, and what was just trained on."""

    def validation(self, scores: Scores) -> None:
        """Log the metrics of a validation."""

    def saved(self, labels: Sequence[str], total_images: int) -> None:
        """A checkpoint was saved under these labels."""

    def epoch_end(self, end: EpochEnd) -> None:
        """An epoch is over, with its validation and checkpoints."""

    def flush(self) -> None:
        """Before a checkpoint: write everything logged so far, so that a crash cannot lose it."""

    def close(self, outcome: Outcome) -> None:
        """End the log: the run is over."""


def saved_line(labels: Sequence[str], total_images: int) -> str:
    return f"saved {listed(labels)} ({counted(total_images, 'image')})"


def switched_off(name: str, error: Exception) -> str:
    """The warning that a logger has failed; with --verbose, prints the traceback first."""
    if runtime.show_tracebacks:
        traceback.print_exception(error)
    return f"warning: {name} is switched off: {described(error)}"
