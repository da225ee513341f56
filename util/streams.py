"""Standard output: a run lives on when it fails (a pipe closes, a disk fills); colours."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from util.files import composed

# Errors for a reader such as `head` that has closed the pipe: deliberate, so without a warning.
READER_GONE = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)


class LastingStream:
    """A text stream that discards all output after the first error of its file.

    Attributes:
        error: why output is discarded, or None.
    """

    def __init__(self, stream: TextIO, name: str):
        self._stream, self._name = stream, name
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        self._attempt(self._stream.write, composed(text))  # terminals draw parts of letters apart
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, call: Callable[..., Any], *arguments: str) -> None:
        if self.error is not None:
            return
        try:
            call(*arguments)
        except OSError as error:
            self.error = error.with_traceback(None)  # a traceback would keep networks in memory
            if error.errno not in READER_GONE:  # stderr may still be visible
                program = os.path.basename(sys.argv[0])
                print(f"{program}: warning: {self._name} is switched off: {error}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_streams_last() -> None:
    """Wrap the standard streams of this process; call it once, at the start.

    A service, or pythonw, may have no standard streams. Missing ones are replaced by the null
    device, in the order of their file descriptors, which the next opened files would get otherwise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - until the process ends
    for name, title in (("stdout", "standard output"), ("stderr", "standard error")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # it may be unable to show a folder's name
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, LastingStream):
            setattr(sys, name, LastingStream(stream, title))


def raise_if_switched_off() -> None:
    """If standard output was switched off, raise the error that caused it."""
    if isinstance(sys.stdout, LastingStream) and sys.stdout.error is not None:
        raise sys.stdout.error


BOLD, RED, GREEN = 1, 31, 32  # codes of a terminal


def paint(text: str, code: int, stream: TextIO) -> str:
    """The text in a colour or weight, if the stream is a terminal that has them.

    NO_COLOR (https://no-color.org), and TERM=dumb, ask for none.
    """
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    isatty = getattr(stream, "isatty", bool)  # a program that runs this one may have its own stream
    if not (text and wanted and isatty()):
        return text
    if os.name == "nt":
        os.system("")  # makes Windows' console understand the codes
    return f"\033[{code}m{text}\033[0m"
