"""Errors that a user can cause, and suggestions for misspelled names."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """A mistake in flags, folders or files: shown as one line, exit status 2, no traceback.

    The message says which flag or file, what was received, what is allowed, and what to do next.

    Attributes:
        path: the file that the message is about, or an empty string.
    """

    def __init__(self, message: str = "", path: str | Path = ""):
        super().__init__(message)
        self.path = str(path)


class ReportedElsewhere(UserError):
    """An error that another process of this run has reported."""


class MissingOption(UserError, AttributeError):
    """Code has read an option that no flag sets; hasattr() and getattr() work as usual."""


class Stopped(Exception):
    """The run was asked to stop, has saved a checkpoint, and ends with status 128 + signal."""

    def __init__(self, signal_number: int):
        self.status = 128 + signal_number


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """' (did you mean X?)' for the candidate closest in spelling, or '' if none is close."""
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def unknown_choice(flag: str, received: str, allowed: Iterable[str]) -> UserError:
    """The error for a value that a flag does not allow."""
    names = list(allowed)
    return UserError(
        f"{flag} {received}: unknown{did_you_mean(received, names)}; available: {', '.join(names)}"
    )


def first_few(names: Sequence[str], most: int = 8) -> str:
    """'a, b, ...': the first names of a list that may hold thousands, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def described(error: BaseException) -> str:
    """An error's type and whole message, on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if there is no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def exit_status(program: str, main: Callable[[], int | None]) -> int:
    """Run a script without PyTorch and return its exit status; others use `runtime.run`.

    A UserError, or an OSError such as a full disk, ends in status 2 and one line on stderr, which
    begins with `program`. Ctrl-C ends in status 130.
    """
    try:
        return main() or 0
    except (UserError, OSError) as error:
        print(f"{program}: {first_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
