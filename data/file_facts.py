"""What a file says of its picture, in words: for people who look for what sets it apart."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageCms

from data.image_io import reading
from data.reading.arrays import ArrayFile, array_file
from data.reading.pillow import opened, orientation
from data.reading.profiles import converter, deep_converter

COLOURS = {"L": "grey", "1": "black and white", "P": "palette"}  # by Pillow's mode; others say it


class FileFacts(NamedTuple):
    """As stored, before the picture is turned upright and its colours are converted.

    Attributes:
        size: (width, height) in pixels.
        profile: what the colour profile calls itself, or nothing.
        converts: whether colours change when they are converted from the profile to sRGB.
        orientation: by EXIF; 1 is upright.
    """

    size: tuple[int, int]
    colours: str
    bits: str
    profile: str
    converts: bool
    orientation: int
    has_alpha: bool

    def __str__(self) -> str:
        """'4000x3000, RGB, 8 bits, Adobe RGB (1998), turned by EXIF (6)'."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        yield f"{self.size[0]}x{self.size[1]}"
        yield self.colours
        yield self.bits
        yield self.profile or "no profile"
        if self.has_alpha:
            yield "transparency"
        if self.orientation != 1:
            yield f"turned by EXIF ({self.orientation})"


def file_facts(path: str | Path) -> FileFacts:
    """Reads only the header. Raises UserError, naming the file, if it is bad."""
    with reading(path):
        if (file := array_file(path)) is not None:
            return of_array(file)
        with opened(path) as picture:
            return of_pillow(picture, path)


def of_array(file: ArrayFile) -> FileFacts:
    height, width, number = file.shape
    colours = number - file.has_alpha
    words = {1: "grey", 3: "RGB"}.get(colours, f"{colours} channels")
    bits = getattr(file, "bits", 8 * file.dtype.itemsize)
    kind = {"f": ", floating-point", "i": ", signed"}.get(file.dtype.kind, "")
    converts = bool(file.profile) and callable(deep_converter(file.profile, colours))
    name = profile_name(file.profile)
    rest = name, converts, file.orientation, file.has_alpha
    return FileFacts((width, height), words, f"{bits} bits{kind}", *rest)


def of_pillow(picture: Image.Image, path: str | Path) -> FileFacts:
    profile = picture.info.get("icc_profile") or b""
    mode = picture.mode.rstrip("Aa")
    convert = converter(profile, {"P": "RGB", "1": "L"}.get(mode, mode)) if profile else None
    return FileFacts(
        picture.size,
        COLOURS.get(mode, mode),
        "1 bit" if mode == "1" else "8 bits",
        profile_name(profile),
        isinstance(convert, ImageCms.ImageCmsTransform),
        orientation(picture, path),
        "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info,
    )


def profile_name(profile: bytes) -> str:
    """What a colour profile calls itself; '' if there is none."""
    if not profile:
        return ""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "a damaged profile"
    return " ".join(name.split()) or "a profile without a name"
