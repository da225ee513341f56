"""Treat signals as a request to stop after the current step."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch

# Ctrl-C; a scheduler ends the job; the terminal is closed; a scheduler's warnings (Slurm's
# --signal); Ctrl-Break on Windows. No system has them all.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class Interrupt:
    """Inside, the first of SIGNALS is only recorded; a second Ctrl-C stops at once.

    Attributes:
        received: the number of the recorded signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> Interrupt:
        # Ignored signals stay ignored, such as Ctrl-C of a background job or SIGHUP under nohup.
        # None means that the handler was not installed from Python.
        signals = [s for s in SIGNALS if signal.getsignal(s) not in (signal.SIG_IGN, None)]
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        elif number == signal.SIGINT:  # the others may repeat without being urgent
            raise KeyboardInterrupt


def leave_signals_to_main(closing: torch.Tensor) -> None:
    """In a worker process, ignore SIGNALS: terminals and schedulers send them to all processes, and
    the main process handles them. Once `closing` is set, SIGTERM ends the worker as usual.
    """

    def on_sigterm(*_: object) -> None:
        if closing:
            os._exit(0)

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_sigterm)
