"""Write a picture of 8 or more bits with its metadata, in one of the formats that keep them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from data.photo.metadata import DESCRIBING, TIFF_IPTC, TIFF_XMP, Metadata
from util.files import write_whole, writing
from util.packages import needed

ENDINGS = {  # how files of each kind may be called; the first is usual
    **{"jpg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",), "tif": (".tif", ".tiff")},
    **{"webp": (".webp",), "npy": (".npy",)},
    "video": (".mp4", ".m4v", ".mov", ".mkv", ".webm"),  # see data.photo.video
}
MOST_IN_MARKER = 65533 - 29  # bytes of EXIF or XMP in a JPEG
INCH = 0.0254  # metres


def write_picture(
    path: Path,
    values: np.ndarray,
    metadata: Metadata,
    *,
    kind: str,
    has_alpha: bool = False,
    quality: int = 95,
    lossless: bool = False,
) -> list[str]:
    """Write a file completely or not at all; returns lines about what it cannot hold.

    Args:
        values: (H, W, C) uint8 or uint16 over their whole range, or for tif and npy any numbers.
        kind: of ENDINGS.
        has_alpha: whether the last channel is transparency.
        quality: of jpg and of webp that is not lossless, 1 to 100.

    Raises UserError where the disk refuses.
    """
    encode: dict[str, Callable[..., bytes]] = {"png": png, "tif": tif, "npy": npy}
    notes: list[str] = []
    if kind in encode:
        content = encode[kind](values, metadata, has_alpha)
    else:
        content = lossy(kind, values, metadata, has_alpha, quality, lossless, notes)
    if metadata.iptc and kind not in ("jpg", "tif"):
        notes.append(f"a {kind} has no place for its IPTC")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return notes


def lossy(
    kind: str,
    values: np.ndarray,
    metadata: Metadata,
    has_alpha: bool,
    quality: int,
    lossless: bool,
    notes: list[str],
) -> bytes:
    """JPEG without subsampling of its colours, or WebP."""
    image = to_image(values, has_alpha)
    if kind == "jpg" and has_alpha:
        notes.append("a JPEG has no transparency: laid on white")
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    exif, xmp = metadata.exif_bytes(), metadata.xmp
    if kind == "jpg" and len(exif) > MOST_IN_MARKER:
        notes.append("the camera maker's note is left out, since EXIF is too long with it")
        exif = metadata.without_makers_note().exif_bytes()
    if kind == "jpg" and len(xmp) > MOST_IN_MARKER:
        notes.append("XMP is left out, since it is too long")
        xmp = b""
    more: dict[str, Any] = {"exif": exif} if exif else {}
    more |= {"xmp": xmp} if xmp else {}
    more |= {"icc_profile": metadata.profile} if metadata.profile else {}
    if kind == "jpg":
        more |= {"dpi": tuple(map(round, metadata.dpi))} if metadata.dpi else {}
        more |= {"extra": photoshop(metadata.iptc)} if metadata.iptc else {}
        more |= {"subsampling": 0}
    else:
        more |= {"lossless": lossless, "exact": True}
    file = io.BytesIO()
    image.save(file, "JPEG" if kind == "jpg" else "WEBP", quality=quality, **more)
    return file.getvalue()


def photoshop(iptc: bytes) -> bytes:
    """The marker APP13 of a JPEG with IPTC-IIM as Photoshop's resource 0x0404."""
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    content = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content if iptc else b""


def png(values: np.ndarray, metadata: Metadata, has_alpha: bool) -> bytes:
    """PNG of 8 or 16 bits."""
    if values.dtype == np.uint16:
        encode = needed("imagecodecs", "a PNG of 16 bits").png_encode
        content = bytes(encode(squeezed(values), level=6))
    else:
        file = io.BytesIO()
        to_image(values, has_alpha).save(file, "PNG")
        content = file.getvalue()
    chunks = []
    if metadata.profile:
        chunks.append((b"iCCP", b"ICC\0\0" + zlib.compress(metadata.profile)))
    if metadata.dpi:
        per_metre = [round(x / INCH) for x in metadata.dpi]
        chunks.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if exif := metadata.exif_bytes():
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if metadata.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    file = io.BytesIO()
    for name, body in chunks:
        PngImagePlugin.putchunk(file, name, body)
    header = content.index(b"IHDR") + 4 + 13 + 4  # and its checksum
    return content[:header] + file.getvalue() + content[header:]


def tif(values: np.ndarray, metadata: Metadata, has_alpha: bool) -> bytes:
    """TIFF of any numbers, compressed without loss."""
    colours = values.shape[2] - has_alpha
    extra = (colours - 3 if colours > 3 else 0) * ["unspecified"] + ["unassalpha"] * has_alpha
    first = dict(metadata.exif or {})
    tags: list[tuple[int, int, int, Any, bool]] = []
    if metadata.xmp:
        tags.append((TIFF_XMP, 1, len(metadata.xmp), metadata.xmp, True))
    if metadata.iptc:
        tags.append((TIFF_IPTC, 7, len(metadata.iptc), metadata.iptc, True))
    for tag, value in first.items():
        if tag in DESCRIBING and isinstance(value, str):
            text = value.encode() + b"\0"
            tags.append((tag, 2, len(text), text, True))
        elif tag in DESCRIBING and isinstance(value, bytes):
            tags.append((tag, 1, len(value), value, True))
    file = io.BytesIO()
    needed("tifffile", "a TIFF").imwrite(
        file,
        squeezed(values),
        photometric="rgb" if colours >= 3 else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=extra or None,
        iccprofile=metadata.profile or None,
        compression="zlib",
        resolution=metadata.dpi,
        resolutionunit="INCH" if metadata.dpi else None,
        software=False,
        metadata=None,
        extratags=tags,
        byteorder="<",
    )
    return with_directories(file, metadata.directories())


def with_directories(file: io.BytesIO, directories: dict[int, dict]) -> bytes:
    """A little-endian TIFF with further directories, by the tags that point to them.

    tifffile writes none of these, so its first directory is written again, at the end of the file.
    """
    content = bytearray(file.getvalue())
    first = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, first)[0]
    entries = [content[at : at + 12] for at in range(first + 2, first + 2 + 12 * number, 12)]
    for tag, values in directories.items():
        content += b"\0" * (len(content) % 2)
        entries.append(bytearray(struct.pack("<HHII", tag, 4, 1, len(content))))
        directory = TiffImagePlugin.ImageFileDirectory_v2(ifh=b"II*\0\0\0\0\0")
        for name, value in values.items():
            directory[name] = value
        content += directory.tobytes(len(content))
    content += b"\0" * (len(content) % 2)
    struct.pack_into("<I", content, 4, len(content))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    content += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return bytes(content)


def npy(values: np.ndarray, _: Metadata, __: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, squeezed(values))
    return file.getvalue()


def to_image(values: np.ndarray, has_alpha: bool) -> Image.Image:
    """With Pillow, of 8 bits: (H, W, C), where C are one or three colours and perhaps an alpha."""
    if values.dtype == np.uint16:
        values = np.round(values / 257).astype(np.uint8)
    mode = {1: "L", 3: "RGB"}[values.shape[2] - has_alpha] + "A" * has_alpha
    return Image.frombytes(mode, values.shape[1::-1], np.ascontiguousarray(values).tobytes())


def squeezed(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values)
