"""What a picture's file tells besides its pixels: read with Pillow, and settled for a new file."""

from __future__ import annotations

import copy
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

from PIL import ExifTags, Image

IPTC = 0x0404  # in Photoshop's resources, which JPEG has in APP13
TIFF_XMP, TIFF_IPTC, TIFF_EXIF, TIFF_GPS, INTEROP = 700, 33723, 34665, 34853, 40965
# Of a TIFF's first directory, the tags that describe the photograph and not the file: description,
# camera, software, date, artist, host, rating, copyright, and what Windows writes.
DESCRIBING = {270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(0x9C9B, 0x9CA0)}
TURNED = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")


@dataclass(frozen=True)
class Metadata:
    """Attributes that are empty where the file has none.

    exif: without thumbnail. profile: a colour profile (ICC). dpi: pixels per inch, across and down.
    """

    exif: Image.Exif | None = None
    xmp: bytes = b""
    iptc: bytes = b""
    profile: bytes = b""
    dpi: tuple[float, float] | None = None

    def exif_bytes(self) -> bytes:
        """As in APP1 of a JPEG, with its header; nothing without any tags."""
        return self.exif.tobytes() if self.exif else b""

    def directories(self) -> dict[int, dict]:
        """The directories of EXIF and GPS, by the tags that point to them."""
        own = {} if self.exif is None else self.exif
        return {tag: own[tag] for tag in (TIFF_EXIF, TIFF_GPS) if tag in own}

    def without_makers_note(self) -> Metadata:
        """Without the largest part of EXIF, which only the camera's maker can read."""
        exif = copy.copy(self.exif)
        if exif is not None and TIFF_EXIF in exif:
            kept = {t: v for t, v in exif[TIFF_EXIF].items() if t != ExifTags.Base.MakerNote}
            exif[TIFF_EXIF] = kept
        return replace(self, exif=exif)


def metadata_of(picture: Image.Image, size: tuple[int, int]) -> Metadata:
    """Of an opened file, for the same picture upright, of this (width, height) in pixels."""
    info = picture.info
    exif = settled(picture.getexif(), picture.format or "", size)
    xmp = info.get("xmp") or b""
    tags = getattr(picture, "tag_v2", {})
    photoshop = info.get("photoshop") or {}
    iptc = photoshop.get(IPTC) or tags.get(TIFF_IPTC) or b""
    dpi = tuple(map(float, info.get("dpi") or ()))
    return Metadata(
        exif,
        TURNED.sub(rb"\g<1>1", xmp if isinstance(xmp, bytes) else str(xmp).encode()),
        iptc if isinstance(iptc, bytes) else struct.pack(f"<{len(iptc)}I", *iptc),
        info.get("icc_profile") or b"",
        (dpi[0], dpi[1]) if len(dpi) == 2 and all(0 < x < 65536 for x in dpi) else None,
    )


class Text(str):
    """A text of EXIF with the bytes that it has in the file, which Pillow takes for Latin-1.

    They often are UTF-8, and Pillow would write question marks for all that is not ASCII.
    """

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:
        return super().encode("latin-1", "replace")


def as_written(value: Any) -> Any:
    return Text(value) if isinstance(value, str) else value


def settled(exif: Image.Exif, file_format: str, size: tuple[int, int]) -> Image.Exif:
    """Upright, of this size, and without the thumbnail, which would show the picture unchanged."""
    found = Image.Exif()
    found.endian = exif.endian
    for tag, value in exif.items():
        is_kept = tag in DESCRIBING if file_format == "TIFF" else tag not in (256, 257)
        if tag not in (ExifTags.Base.Orientation, TIFF_EXIF, TIFF_GPS) and is_kept:
            found[tag] = as_written(value)
    for tag in (TIFF_EXIF, TIFF_GPS):
        if directory := exif.get_ifd(tag):
            found[tag] = {name: as_written(value) for name, value in directory.items()}
    if photograph := found.get(TIFF_EXIF):
        if INTEROP in photograph:  # a pointer, which would lead nowhere in another file
            photograph[INTEROP] = dict(exif.get_ifd(INTEROP))
        photograph[ExifTags.Base.ExifImageWidth], photograph[ExifTags.Base.ExifImageHeight] = size
    return found
