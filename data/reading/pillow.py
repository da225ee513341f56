"""Pillow's part: opening files, its limit on their size, and formats that need a plug-in."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError, features

from util.errors import UserError

PNG = b"\x89PNG\r\n\x1a\n"
NO_PIXELS = "it has no pixels"
HEIF = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)  # how such a file begins


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
        raise needs_heif(path, ending)
    if ending == ".avif" and not features.check("avif"):
        raise UserError(f"{path}: reading .avif needs: pip install --upgrade pillow", path)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        try:
            picture = Image.open(path)
        except UnidentifiedImageError:
            if not is_heif(path):
                raise
            if not knows_heif():
                raise needs_heif(path, "it, a HEIC picture,") from None
            picture = Image.open(path)
        with picture:
            if 0 in picture.size:
                raise ValueError(NO_PIXELS)
            if picture.format == "JPEG2000" and (profile := jp2_profile(path)):
                picture.info["icc_profile"] = profile  # which Pillow leaves out
            yield picture
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def orientation(picture: Image.Image, path: str | Path) -> int:
    """By EXIF or XMP. Does not decode the pixels of a PNG, as Pillow does, unless it has either."""
    if picture.format == "PNG":
        texts = png_chunks(path, b"eXIf", b"iTXt", b"zTXt", b"tEXt")
        if not any(re.search(rb"exif|xmp", chunk[4:48], re.IGNORECASE) for chunk in texts):
            return 1
    return picture.getexif().get(0x0112, 1)


def png_chunks(path: str | Path, *names: bytes) -> Iterator[bytes]:
    """Yield a PNG's chunks of these names, each with its length (4 bytes), name (4) and CRC (4)."""
    with open(path, "rb") as file:
        file.seek(len(PNG))
        while len(start := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", start)
            if name in names:
                yield start + file.read(length + 4)
            else:
                file.seek(length + 4, os.SEEK_CUR)


def jp2_profile(path: str | Path) -> bytes:
    """The colour profile in a JPEG 2000 (ISO/IEC 15444-1, I.5.3.3), or nothing."""
    with open(path, "rb") as file:
        header = next((body for name, body in boxes(file) if name == b"jp2h"), b"")
    colours = (body for name, body in boxes(io.BytesIO(header)) if name == b"colr")
    return next((body[3:] for body in colours if body[:1] in (b"\2", b"\3")), b"")


def boxes(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and contents of a JPEG 2000's boxes, up to a damaged one (I.4)."""
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if length == 1:
            length = int.from_bytes(file.read(8), "big") - 8
        if length < 8 and length != 0:
            return
        yield name, file.read(length - 8 if length else -1)  # the last one may have no length


def is_heif(path: str | Path) -> bool:
    """Whether a file is a HEIC or HEIF picture whatever its name: phones and chats rename some."""
    with open(path, "rb") as file:
        return HEIF.match(file.read(12)) is not None


def needs_heif(path: str | Path, what: str) -> UserError:
    return UserError(f"{path}: reading {what} needs: pip install pillow-heif", path)


@cache
def knows_heif() -> bool:
    """Whether pillow-heif is installed; if so, registers it with Pillow."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
