"""Run a logger on its own thread, so that disks and servers never delay training."""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections.abc import Callable

from util.metrics.scores import Scores
from util.run.clock import Clock
from util.show.loggers.base import Example, Logger, Losses, Outcome

WAITING = 16  # waiting calls at most; each may hold the pictures of one step


class PicturesDue:
    """When a logger wants pictures: every `frequency_images` images.

    Args:
        minutes: also this long after the last ones; 0: not by time.
        at_ends: also at the end of the first and last epochs.
    """

    def __init__(self, frequency_images: int, minutes: float = 0.0, *, at_ends: bool = False):
        self.frequency_images, self.minutes, self.at_ends = frequency_images, minutes, at_ends
        self.passed_on()

    def __call__(self, clock: Clock) -> bool:
        ends = self.at_ends and clock.epoch_done and clock.epoch in (1, clock.last_epoch)
        waited = 0 < self.minutes <= (time.monotonic() - self.last_s) / 60
        return ends or waited or clock.due(self.frequency_images)

    def passed_on(self) -> None:
        self.last_s = time.monotonic()


class BackgroundLogger(Logger):
    """Passes calls on to a logger on another thread.

    If the logger raises an error, the next call raises it here.

    Args:
        name: the logger's name, for messages.
        make: creates the logger, on its thread.
        images_due: whether it wants the pictures of this step.
        lossless: wait for a slow logger (files) instead of dropping calls (servers).
        waits: whether each call waits for the logger, as if there were no thread.
        patience_s: how long `close` waits for a logger that may drop calls.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Logger],
        images_due: PicturesDue,
        *,
        lossless: bool,
        waits: bool = False,
        patience_s: float = 10.0,
    ):
        self.name, self.lossless, self.waits, self.patience_s = name, lossless, waits, patience_s
        self._images_due = images_due
        self._calls: queue.Queue[Callable[[Logger], None] | None] = queue.Queue(WAITING)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True, name=name)
        self._thread.start()

    def images_due(self, clock: Clock) -> bool:
        return self._images_due(clock)

    def losses(self, losses: Losses) -> None:
        self._put(lambda logger: logger.losses(losses))

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        now = copy.copy(clock)
        self._images_due.passed_on()
        self._put(lambda logger: logger.images(now, examples, batch))

    def validation(self, scores: Scores) -> None:
        self._put(lambda logger: logger.validation(scores))

    def flush(self) -> None:
        if self.lossless:
            self._calls.join()
            self._raise()

    def close(self, outcome: Outcome) -> None:
        deadline = time.monotonic() + self.patience_s
        try:
            for call in (lambda logger: logger.close(outcome), None):
                left_s = max(0.0, deadline - time.monotonic())
                self._calls.put(call, timeout=None if self.lossless else left_s)
        except queue.Full:
            raise TimeoutError(f"did not keep up within {self.patience_s:g} s") from None
        self._thread.join(None if self.lossless else max(0.0, deadline - time.monotonic()))
        self._raise()
        if self._thread.is_alive():
            raise TimeoutError(f"did not finish within {self.patience_s:g} s")

    def _put(self, call: Callable[[Logger], None]) -> None:
        self._raise()
        if self.lossless:
            self._calls.put(call)
        elif not self._calls.full():  # only this thread fills it, so it cannot be full below
            self._calls.put_nowait(call)
        if self.waits:
            self._calls.join()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its traceback would keep the caller's networks in memory

    def _work(self, make: Callable[[], Logger]) -> None:
        logger: Logger | None = None
        try:
            logger = make()
        except Exception as error:  # a package or a server may raise anything
            self._error = error
        while (call := self._calls.get()) is not None:
            try:
                if logger is not None:
                    call(logger)
            except Exception as error:
                self._error, logger = error, None
            finally:
                self._calls.task_done()
        self._calls.task_done()
