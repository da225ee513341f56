"""Which pictures a folder holds."""

from __future__ import annotations

import math
import os
from pathlib import Path

from util.errors import UserError

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")


def is_image_file(filename: str) -> bool:
    """Whether the name is that of a picture: a known ending in any letter case, not hidden."""
    return filename.lower().endswith(IMG_EXTENSIONS) and not filename.startswith(".")


def make_dataset(dir: str | Path, max_dataset_size: float = math.inf) -> list[str]:
    """Sorted paths of the pictures in a folder and its sub-folders, links followed.

    Raises UserError where the folder is missing or holds no picture, saying what there is.
    """
    folder = Path(dir)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder{nearby(folder.parent)}")
    paths = sorted(find_pictures(folder))
    if not paths:
        raise UserError(
            f"{folder}: no pictures in this folder (looked for {', '.join(IMG_EXTENSIONS)})"
        )
    return paths[: None if max_dataset_size == math.inf else int(max_dataset_size)]


def has_pictures(folder: Path) -> bool:
    """Whether there is at least one picture in the folder or below it."""
    return folder.is_dir() and next(iter(find_pictures(folder)), None) is not None


def find_pictures(folder: Path):
    """Yield the paths of pictures in a folder and below, each real folder once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(root, name) for name in files if is_image_file(name))


def nearby(folder: Path) -> str:
    """What a folder holds, for the end of an error message."""
    if not folder.is_dir():
        return f", nor {folder}"
    names = sorted(p.name for p in folder.iterdir() if p.is_dir())
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; {folder} has the folders {shown}" if names else f"; {folder} has no folders"
