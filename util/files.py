"""Text files that are never half written, and what folders hold."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace a file by one with this text: whatever happens, the old or the new one is there."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        # File names may be no valid Unicode.
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def folders_in(folder: Path) -> str:
    """The folders in a folder, or in its nearest parent that exists, to end an error message."""
    there = next(f for f in (folder, *folder.absolute().parents) if f.is_dir())
    names = sorted(p.name for p in there.iterdir() if p.is_dir() and not p.name.startswith("."))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; {there} has {f'the folders {shown}' if names else 'no folders'}"
