"""Loss lines on the terminal, with a progress bar where it is one."""

from __future__ import annotations

import sys

from tqdm import tqdm

from util.clock import Clock
from util.loggers.base import Logger, Losses


class ConsoleLogger(Logger):
    """A bar over the whole run with its pace and time left; lines scroll above it.

    Where stderr is no terminal there is no bar, only lines.
    """

    name = "the console"

    def __init__(self, clock: Clock):
        self.bar = tqdm(
            total=clock.last_epoch * clock.images_per_epoch,
            initial=clock.total_images,
            unit="image",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def step(self, clock: Clock) -> None:
        """Move the bar to where the clock is."""
        self.bar.set_description(f"epoch {clock.epoch}/{clock.last_epoch}", refresh=False)
        self.bar.update(clock.total_images - self.bar.n)

    def losses(self, losses: Losses) -> None:
        self.say(losses.line())

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.write(line)

    def close(self, message: str) -> None:
        self.bar.close()
        print(message, flush=True)
