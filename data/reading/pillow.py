"""Pillow's part: opening files, its limit on their size, and formats that need a plug-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, features

from util.errors import UserError


def limit_pillow(max_megapixels: float) -> None:
    """Set Pillow's own limit, for third-party files that open pictures without `open_picture`."""
    most = min(max_megapixels, 1e9)  # 1e308 megapixels would overflow to infinity in pixels
    Image.MAX_IMAGE_PIXELS = int(most * 1e6 / 2)  # Pillow raises at twice this number


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture of any size with Pillow; `open_picture` has its own limit and message.

    Raises UserError if its format needs a package that is not installed.
    """
    ending = Path(path).suffix.lower()
    if ending in (".heic", ".heif") and not knows_heif():
        raise UserError(f"{path}: reading {ending} needs: pip install pillow-heif", path)
    if ending == ".avif" and not features.check("avif"):
        raise UserError(f"{path}: reading .avif needs: pip install --upgrade pillow", path)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as picture:
            yield picture
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@cache
def knows_heif() -> bool:
    """Whether pillow-heif is installed; if so, registers it with Pillow."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
