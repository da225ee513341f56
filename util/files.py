"""Write files completely or not at all, with errors that say what to do if that fails."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from util.errors import UserError, first_few


def path_text(text: str) -> str:
    """The type of a flag that takes a path: ~ at its beginning is the home folder.

    A shell replaces only a ~ that is neither quoted nor after =, and cmd none. What exists is found
    in any Unicode form.
    """
    text = os.path.expanduser(text)
    path = existing(Path(text))
    return text if path == Path(text) else str(path)


def to_path(text: str) -> Path:
    """`path_text`, as a Path."""
    return Path(path_text(text))


def composed(name: str) -> str:
    """A name in composed Unicode form (NFC); macOS splits é and 한 into several letters."""
    return unicodedata.normalize("NFC", name)


def existing(path: Path) -> Path:
    """A path with its names as they are on the disk, which may be in another Unicode form."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    path = existing(path.parent) / path.name
    with contextlib.suppress(OSError):
        same = [p for p in path.parent.iterdir() if composed(p.name) == composed(path.name)]
        return same[0] if same else path
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, write a file or folder; an OSError becomes a UserError that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}; free some space, fix the "
            "permissions, or choose another folder (--checkpoints_dir, --results_dir, --out)"
        ) from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file's content; a crash or full disk leaves either the old file or the new one."""
    if isinstance(content, str):  # in which file names may not be valid Unicode
        content = content.replace("\n", os.linesep).encode("utf-8", "backslashreplace")
    # Other processes may write too. A name may be as long as the disk allows.
    temporary = path.with_name(f"{path.name[-200:]}.{os.getpid()}.tmp")
    try:
        with writing(path), open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        with writing(path):
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def folders_in(folder: Path) -> str:
    """The end of an error message: the folders in a folder, or in its nearest existing parent.

    Says nothing if that one cannot be read.
    """
    there = next(f for f in (folder, *folder.absolute().parents) if f.is_dir())
    try:
        names = sorted(p.name for p in there.iterdir() if p.is_dir() and not p.name.startswith("."))
    except PermissionError:
        return ""
    return f"; {there} has {f'the folders {first_few(names)}' if names else 'no folders'}"
