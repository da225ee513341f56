"""Standard output and error that cannot end a run: pipes close, terminals go, disks fill."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

# What systems say where the reader, such as `head`, has gone: as it meant to, so no warning.
READER_GONE = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)


class LastingStream:
    """A text stream that drops what it is given from the first error of its file on.

    Attributes:
        error: why nothing is written any more, or None.
    """

    def __init__(self, stream: TextIO, name: str):
        self._stream, self._name = stream, name
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, call: Callable[..., Any], *arguments: str) -> None:
        if self.error is not None:
            return
        try:
            call(*arguments)
        except OSError as error:
            self.error = error.with_traceback(None)  # which would keep the caller's networks
            if error.errno not in READER_GONE:  # told where one may still see it
                program = os.path.basename(sys.argv[0])
                print(f"{program}: warning: {self._name} is switched off: {error}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_streams_last() -> None:
    """For the whole process, once it starts; a stream that is missing becomes the null device.

    Missing ones, as of a service or of pythonw, are replaced in the order of their numbers, which
    the next files that are opened would get otherwise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - until the process ends
    for name, title in (("stdout", "standard output"), ("stderr", "standard error")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # a folder's name may be more than it can show
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, LastingStream):
            setattr(sys, name, LastingStream(stream, title))


def raise_if_switched_off() -> None:
    """Raise the error after which standard output was switched off, if it was."""
    if isinstance(sys.stdout, LastingStream) and sys.stdout.error is not None:
        raise sys.stdout.error
