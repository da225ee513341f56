"""Text files that are never half written."""

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
