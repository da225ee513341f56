"""Ctrl-C and SIGTERM as a request to stop after the current step."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch


class Interrupt:
    """While entered, the first Ctrl-C or SIGTERM is only noted; a second Ctrl-C stops at once.

    Attributes:
        received: the signal's number, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> Interrupt:
        # An ignored one, as Ctrl-C of a job in the background, stays ignored.
        signals = [
            s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN
        ]
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        elif number == signal.SIGINT:  # SIGTERM may come often, and means no hurry
            raise KeyboardInterrupt


class Stopped(Exception):
    """The run was asked to stop, has saved itself, and ends with status 128 + signal."""

    def __init__(self, signal_number: int):
        self.status = 128 + signal_number


def leave_signals_to_main(closing: torch.Tensor, _: int) -> None:
    """For worker processes: Ctrl-C and SIGTERM, which a scheduler sends to all processes, are the
    main process's to answer. Once `closing` is set, SIGTERM ends the worker as usual.
    """

    def on_sigterm(*_: object) -> None:
        if closing:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_sigterm)
