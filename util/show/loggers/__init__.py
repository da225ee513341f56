"""Loggers of training runs: one small protocol, and one file for each logger."""

from __future__ import annotations

import argparse
import copy
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from util import distributed
from util.errors import Stopped
from util.metrics.scores import Scores
from util.packages import needed
from util.run.best import Best
from util.run.checkpoint import last_good
from util.run.clock import Clock
from util.run.command import result_command, resume_command
from util.show.estimate import duration_text
from util.show.loggers.background import BackgroundLogger, PicturesDue
from util.show.loggers.base import EpochEnd, Example, Logger, Losses, Outcome, switched_off
from util.show.loggers.console import ConsoleLogger
from util.show.loggers.files import FileLogger
from util.show.loggers.tensorboard import TensorBoardLogger
from util.show.loggers.visdom import VisdomLogger
from util.show.loggers.wandb import WandbLogger, log_in
from util.util import channels_note, finite_pictures, to_batch

SILENCE_S = 1.0  # after this time, the end of a run says what it is waiting for


class Loggers:
    """Passes events on to all loggers; drops a logger that fails, with a warning.

    Only the first logger gets lines for people: the console or, if that has failed, loss_log.txt.

    Args:
        outcome: describes how a run ended, given the error that ended it, or None.
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
        except Exception as error:  # anything, as in _tell
            self._warn(name, error)

    def losses(self, losses: Losses) -> None:
        self._tell(lambda logger: logger.losses(losses))

    def images_due(self, clock: Clock) -> bool:
        """Whether any logger wants the pictures of this step."""
        return any(logger.images_due(clock) for logger in self.loggers)

    def images(
        self,
        clock: Clock,
        examples: list[Example],
        batch: Example | None,
        *,
        to_all: bool = False,
    ) -> None:
        """Pass examples, and what was just trained on, to loggers that want them now, or to all.

        Prints once what cannot be shown: what is not a picture, surplus channels, and values that
        are not finite.
        """
        shown = [self._checked(example) for example in examples]
        trained = batch and self._checked(batch)
        self._tell(
            lambda logger: logger.images(clock, shown, trained),
            lambda logger: to_all or logger.images_due(clock),
        )

    def _checked(self, example: Example) -> Example:
        """Its pictures as (N, C, H, W), without those that cannot be shown."""
        pictures = {}
        for label, images in example.pictures.items():
            try:
                pictures[label] = to_batch(images).detach()
            except ValueError as error:
                self._say_once(f"warning: {label} is not shown: {error}")
                continue
            self._say_once(channels_note(label, pictures[label]))
            if not all(finite_pictures(pictures[label])):
                self._say_once(
                    f"warning: {label} has values that are not finite, which no picture shows"
                )
        return example._replace(pictures=pictures)

    def validation(self, scores: Scores) -> None:
        self._tell(lambda logger: logger.validation(scores))

    def _say_once(self, line: str) -> None:
        if line and line not in self._said:
            self._said.add(line)
            self.say(line)

    def saved(self, labels: Sequence[str], total_images: int) -> None:
        self._tell(lambda logger: logger.saved(labels, total_images))

    def epoch_end(self, end: EpochEnd) -> None:
        self._tell(lambda logger: logger.epoch_end(end))

    def step(self, clock: Clock) -> None:
        self._tell(lambda logger: logger.step(clock))

    def say(self, line: str) -> None:
        """Print a line without breaking the progress bar."""
        first = self.loggers[:1]
        self._tell(lambda logger: logger.say(line), lambda x: x in first)

    def flush(self) -> None:
        """Wait until everything logged so far is on the disk, before saving a checkpoint."""
        self._tell(lambda logger: logger.flush())

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or isinstance(error, Exception):  # after a second Ctrl-C, do not wait
            self.close(error)

    def close(self, error: Exception | None = None) -> None:
        """End all logs with the outcome of the run; `error` is the one that ended it, if any."""
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
            except Exception as error:  # a disk, a server or a package may raise anything
                if logger in self.loggers:  # a warning about another one may have dropped it
                    self.loggers.remove(logger)
                    self._warn(logger.name, error)

    def _warn(self, name: str, error: Exception) -> None:
        self.say(switched_off(name, error))


def create_loggers(
    opt: argparse.Namespace,
    options_text: str,
    clock: Clock,
    best: Best,
    *,
    captions: dict[str, str],
    compare: list[tuple[str, str]],
    warning: str = "",
    more_to_test: Sequence[str] = (),
    lines_within_epochs: bool = True,
    waits: bool = False,
) -> Loggers:
    """The loggers that the options ask for; only the main process has any.

    Args:
        options_text: the options as they were printed.
        clock, best: the position of the run; log entries beyond it are dropped.
        captions, compare: see BaseModel.
        warning: a text for the top of the training page.
        more_to_test: flags that test.py needs besides --dataroot, --name and --model.
        lines_within_epochs: see ConsoleLogger.
        waits: whether each call waits for its logger, as if there were no threads.
    """
    if not distributed.is_main():
        return Loggers(None)
    folder = Path(opt.checkpoints_dir) / opt.name
    wandb_mode = log_in(folder) if opt.use_wandb else None
    total_images = clock.total_images
    page, pages = "", "util.show.loggers.page"  # needs a package that not everybody has
    if not opt.no_html:
        page = (folder / "web" / "index.html").absolute().as_uri()
        PageLogger = needed(pages, "the training page", "pass --no_html").PageLogger

    outcome = outcomes(opt, clock, best, page, more_to_test)
    log = Loggers(ConsoleLogger(clock, within_epochs=lines_within_epochs), outcome=outcome)
    validated = best.validated
    log.add(FileLogger.name, lambda: FileLogger(folder, total_images, validated))

    def live(name: str, make: Callable[[], Logger]) -> None:
        due = PicturesDue(opt.display_freq)
        log.loggers.append(BackgroundLogger(name, make, due, lossless=False, waits=waits))

    if page:
        log.say(f"page: {page}")
        start, best_epoch = copy.copy(clock), int(best.best[0]) if best.best else 0
        texts = {"options": options_text, "warning": warning}
        log.loggers.append(
            BackgroundLogger(
                PageLogger.name,
                lambda: PageLogger(
                    opt, folder, start, best_epoch, captions=captions, compare=compare, **texts
                ),
                PicturesDue(opt.update_html_freq, opt.update_html_minutes, at_ends=True),
                lossless=True,
                waits=waits,
            )
        )
    else:
        name = "the page of all runs"
        log.add(name, lambda: needed(pages, "it").IndexLogger(folder, opt.checkpoints_dir))
    if opt.use_visdom and opt.display_id > 0:
        live(VisdomLogger.name, lambda: VisdomLogger(opt, folder, total_images))
    if opt.use_tensorboard:
        live(TensorBoardLogger.name, lambda: TensorBoardLogger(folder, total_images))
    if opt.use_wandb:
        live(WandbLogger.name, lambda: WandbLogger(opt, folder, wandb_mode))
    return log


def outcomes(
    opt: argparse.Namespace, clock: Clock, best: Best, page: str, more_to_test: Sequence[str]
) -> Callable[[Exception | None], Outcome]:
    """How a run that starts now ends, given the error that ends it, or None; see create_loggers.

    Args:
        page: the address of the training page; '' if there is none.
    """
    folder, started_s = Path(opt.checkpoints_dir) / opt.name, time.monotonic()

    def outcome(error: Exception | None) -> Outcome:
        if isinstance(error, Stopped):
            return Outcome("stopped", f"stopped; to resume: {resume_command(opt)}")
        if error is not None:
            return Outcome("stopped by an error", f"stopped by an error; {last_good(folder)}")
        took = duration_text(time.monotonic() - started_s)
        line = f"finished after epoch {clock.last_epoch}, in {took}: {folder}"
        command = result_command(opt, "best" if best.best else "latest", more_to_test)
        more = [best.in_words(), f"page: {page}" if page else "", f"next: {command}"]
        return Outcome("finished", line, tuple(filter(None, more)))

    return outcome
