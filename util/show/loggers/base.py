"""The protocol of loggers."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from util import runtime
from util.errors import described
from util.metrics.scores import Scores
from util.run.clock import Clock


@dataclass(frozen=True)
class Losses:
    """Mean losses since they were last read, with the pace since then.

    Attributes:
        time_s: wall-clock seconds per image.
        data_s: the part of time_s spent waiting for data.
        is_asked_for: whether people should see them: at --print_freq, and after the first and last
            epochs.
    """

    epoch: int
    epoch_images: int
    total_images: int
    time_s: float
    data_s: float
    learning_rate: float
    values: Mapping[str, float]
    is_asked_for: bool = True

    @staticmethod
    def now(
        clock: Clock, values: Mapping[str, float], learning_rate: float, print_freq: int
    ) -> Losses:
        time_s, data_s = clock.lap()
        counts = clock.epoch, clock.epoch_images, clock.total_images
        is_asked_for = clock.due(print_freq) or clock.epoch in (1, clock.last_epoch)
        return Losses(*counts, time_s, data_s, learning_rate, values, is_asked_for)

    def line(self) -> str:
        """(epoch: 1, iters: 100, time: 0.123, data: 0.002) , G_GAN: 0.956, G_L1: 12.345"""
        values = ", ".join(f"{name}: {value:.3f}" for name, value in self.values.items())
        return (
            f"(epoch: {self.epoch}, iters: {self.epoch_images}, time: {self.time_s:.3f}, "
            f"data: {self.data_s:.3f}) , {values}"
        )


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
class Outcome:
    """How a run ended.

    Attributes:
        kind: a few words, for pages.
        line: the same with its consequences, for consoles.
    """

    kind: str
    line: str


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

    def flush(self) -> None:
        """Before a checkpoint: write everything logged so far, so that a crash cannot lose it."""

    def close(self, outcome: Outcome) -> None:
        """End the log: the run is over."""


def switched_off(name: str, error: Exception) -> str:
    """The warning that a logger has failed; with --verbose, prints the traceback first."""
    if runtime.show_tracebacks:
        traceback.print_exception(error)
    return f"warning: {name} is switched off: {described(error)}"
