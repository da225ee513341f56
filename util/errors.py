"""Errors that a user can cause, and suggestions for misspelled names."""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """A mistake in flags, folders or files: shown as one line, exit status 2, no traceback.

    The message says which flag or file, what was received, what is allowed, and what to do next.

    Attributes:
        path: the file that the message is about, or an empty string.
        examples: command lines to copy, shown below the message.
    """

    def __init__(self, message: str = "", path: str | Path = "", examples: Sequence[str] = ()):
        super().__init__(message)
        self.path = str(path)
        self.examples = examples


class ReportedElsewhere(UserError):
    """An error that another process of this run has reported."""


class MissingOption(UserError, AttributeError):
    """Code has read an option that no flag sets; hasattr() and getattr() work as usual."""


class Stopped(Exception):
    """The run was asked to stop, has saved a checkpoint, and ends with status 128 + signal."""

    def __init__(self, signal_number: int):
        self.status = 128 + signal_number


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """' (did you mean X?)' for the candidate nearest in spelling, or '' if none is near.

    Near are up to two wrong, missing or additional letters, one in words of up to four letters,
    none in a single letter, and a beginning that only one candidate has. Letter case does not
    count, nor do leading dashes.
    """
    folded = {candidate: fold(candidate) for candidate in candidates}
    edits = {candidate: num_edits(fold(word), to) for candidate, to in folded.items()}
    nearest = min(edits, key=edits.__getitem__, default="")
    longer = [candidate for candidate, to in folded.items() if to.startswith(fold(word))]
    shorter = min(len(fold(word)), len(folded.get(nearest, "")))
    if nearest and edits[nearest] <= (0 if shorter <= 1 else 1 if len(fold(word)) <= 4 else 2):
        return f" (did you mean {nearest}?)"
    return f" (did you mean {longer[0]}?)" if len(longer) == 1 and len(fold(word)) > 2 else ""


def why_no_list(text: str, known: Collection[str]) -> str:
    """Why a text is neither none nor some of the known names, joined by commas; '' if it is."""
    wrong = next((name for name in text.split(",") if name not in known), None)
    if wrong is None or text == "none":
        return ""
    if wrong == "none":
        return f"{text!r} is none and more; leave one out"
    return (
        f"{wrong!r} is not one of {', '.join(known)}{did_you_mean(wrong, known)}; join several by "
        "commas, or pass none"
    )


def fold(word: str) -> str:
    return word.lstrip("-").replace("-", "_").casefold()


def num_edits(word: str, other: str) -> int:
    """How many letters must be replaced, added or removed to make one word the other."""
    changes = difflib.SequenceMatcher(None, word, other, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in changes if kind != "equal")


def unknown_choice(flag: str, received: str, allowed: Iterable[str]) -> UserError:
    """The error for a value that a flag does not allow."""
    names = list(allowed)
    return UserError(
        f"{flag} {received}: unknown{did_you_mean(received, names)}; available: {', '.join(names)}"
    )


def first_few(names: Sequence[str], most: int = 8) -> str:
    """'a, b, ...': the first names of a list that may hold thousands, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def command_line(words: Sequence[str]) -> str:
    """A command for users to copy, quoted for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def described(error: BaseException) -> str:
    """An error's type and whole message, on one line; a UserError's message says it all."""
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if there is no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def exit_status(program: str, main: Callable[[], int | None]) -> int:
    """Run a script without PyTorch and return its exit status; others use `runtime.run`.

    A UserError, or an OSError such as a full disk, ends in status 2 and one line on stderr, which
    begins with `program`. Ctrl-C ends in status 130. The script keeps running even if its output
    can no longer be written.
    """
    from util.streams import make_streams_last  # needs this file

    make_streams_last()
    try:
        return main() or 0
    except (UserError, OSError) as error:
        print(f"{program}: {first_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
