"""Everything a training run tells, and who listens: one small protocol, one file per listener."""

from __future__ import annotations

import argparse
import copy
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from util import distributed
from util.errors import Stopped
from util.run.checkpoint import last_good
from util.run.clock import Clock
from util.run.command import resume_command
from util.show.loggers.background import BackgroundLogger
from util.show.loggers.base import Logger, Losses, Outcome, switched_off
from util.show.loggers.console import ConsoleLogger
from util.show.loggers.files import FileLogger
from util.show.loggers.page import PageLogger, page_is_due
from util.show.loggers.tensorboard import TensorBoardLogger
from util.show.loggers.visdom import VisdomLogger
from util.show.loggers.wandb import WandbLogger, log_in
from util.util import all_finite, channels_note

SILENCE_S = 1.0  # after which the end of a run says what it waits for


class Loggers:
    """Passes what happens on to each logger; one that fails is dropped with a warning.

    Lines for people are the first one's: the console, or after it loss_log.txt.

    Args:
        outcome: what an error, or None, means for a run that ends by it.
    """

    def __init__(
        self,
        console: ConsoleLogger | None,
        others: Iterable[Logger] = (),
        outcome: Callable[[Exception | None], Outcome] = lambda error: Outcome("", ""),
    ):
        self.outcome = outcome
        self.loggers: list[Logger] = [*([console] if console else []), *others]
        self._said: set[str] = set()

    def add(self, name: str, make: Callable[[], Logger]) -> None:
        """Add a logger, unless it cannot be made."""
        try:
            self.loggers.append(make())
        except Exception as error:  # as in _tell
            self._warn(name, error)

    def losses(self, losses: Losses) -> None:
        self._tell(lambda logger: logger.losses(losses))

    def images_due(self, clock: Clock) -> bool:
        """Whether any logger wants the pictures of this step."""
        return any(logger.images_due(clock) for logger in self.loggers)

    def images(self, clock: Clock, visuals: Mapping[str, torch.Tensor]) -> None:
        """Pass on pictures, label to (N, C, H, W) in [-1, 1], to those who want them now.

        What a picture cannot show of them is said once.
        """
        for label, images in visuals.items():
            self._say_once(channels_note(label, images))
            numbers = isinstance(images, torch.Tensor) and images.is_floating_point()
            if numbers and not all_finite([images.detach()]):
                self._say_once(f"warning: {label} has values that no picture shows: not finite")
        self._tell(lambda logger: logger.images(clock, visuals), lambda x: x.images_due(clock))

    def _say_once(self, line: str) -> None:
        if line and line not in self._said:
            self._said.add(line)
            self.say(line)

    def step(self, clock: Clock) -> None:
        self._tell(lambda logger: logger.step(clock))

    def say(self, line: str) -> None:
        """Print a line without breaking the progress bar."""
        first = self.loggers[:1]
        self._tell(lambda logger: logger.say(line), lambda x: x in first)

    def flush(self) -> None:
        """Wait until what was told so far is on the disk, before a checkpoint that relies on it."""
        self._tell(lambda logger: logger.flush())

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or isinstance(error, Exception):  # a second Ctrl-C does not wait
            self.close(error)

    def close(self, error: Exception | None = None) -> None:
        """End all logs, which tell how the run ended: well, or by an error."""
        self._tell(lambda logger: self._close(logger, self.outcome(error)))

    def _close(self, logger: Logger, outcome: Outcome) -> None:
        note = threading.Timer(SILENCE_S, self.say, [f"waiting for {logger.name} ..."])
        note.start()
        try:
            logger.close(outcome)
        finally:
            note.cancel()

    def _tell(
        self, call: Callable[[Logger], None], to: Callable[[Logger], bool] = lambda logger: True
    ) -> None:
        for logger in filter(to, list(self.loggers)):
            try:
                call(logger)
            except Exception as error:  # whatever a disk, a server or a package may do to a logger
                if logger in self.loggers:  # not yet dropped by a warning of another
                    self.loggers.remove(logger)
                    self._warn(logger.name, error)

    def _warn(self, name: str, error: Exception) -> None:
        self.say(switched_off(name, error))


def create_loggers(
    opt: argparse.Namespace,
    options_text: str,
    clock: Clock,
    *,
    captions: Mapping[str, str],
    compare: list[tuple[str, str]],
    warning: str = "",
    waits: bool = False,
) -> Loggers:
    """The loggers that the options ask for; of several processes the main one alone has some.

    Args:
        options_text: the options as they were printed.
        clock: where the run stands; what logs hold from beyond is dropped.
        captions, compare: see BaseModel.
        warning: what the training page shows above all.
        waits: for each call of a logger, as if none had a thread of its own.
    """
    if not distributed.is_main():
        return Loggers(None)
    folder = Path(opt.checkpoints_dir) / opt.name
    wandb_mode = log_in(folder) if opt.use_wandb else None
    total_images = clock.total_images

    def outcome(error: Exception | None) -> Outcome:
        if error is None:
            return Outcome("finished", f"finished after epoch {clock.last_epoch}: {folder}")
        if isinstance(error, Stopped):
            return Outcome("stopped", f"stopped; to go on: {resume_command(opt)}")
        return Outcome("stopped by an error", f"stopped by an error; {last_good(folder)}")

    log = Loggers(ConsoleLogger(clock), outcome=outcome)
    log.add(FileLogger.name, lambda: FileLogger(folder, total_images))

    def live(name: str, make: Callable[[], Logger]) -> None:
        def due(clock: Clock) -> bool:
            return clock.due(opt.display_freq)

        log.loggers.append(BackgroundLogger(name, make, due, lossless=False, waits=waits))

    if not opt.no_html:
        start = copy.copy(clock)
        log.loggers.append(
            BackgroundLogger(
                PageLogger.name,
                lambda: PageLogger(opt, options_text, folder, start, captions, compare, warning),
                lambda clock: page_is_due(clock, opt.update_html_freq),
                lossless=True,
                waits=waits,
            )
        )
    if opt.use_visdom and opt.display_id > 0:
        live(VisdomLogger.name, lambda: VisdomLogger(opt, folder, total_images))
    if opt.use_tensorboard:
        live(TensorBoardLogger.name, lambda: TensorBoardLogger(folder, total_images))
    if opt.use_wandb:
        live(WandbLogger.name, lambda: WandbLogger(opt, folder, wandb_mode))
    return log
