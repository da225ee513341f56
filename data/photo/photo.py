"""A photograph's own values, and how a network's result gets into them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data.image_io import decodable
from data.photo.files import to_image, write_picture
from data.photo.metadata import Metadata, metadata_of
from data.reading.arrays import ArrayFile
from data.reading.notes import Range
from data.reading.picture import (
    BYTES,
    ArrayPicture,
    BytePicture,
    Picture,
    Side,
    from_array,
    in_srgb,
    upright,
)
from data.reading.pillow import opened
from data.reading.profiles import SRGB, from_srgb
from data.transforms import to_tensor
from util.errors import UserError
from util.util import range_of

PICTURES = ("jpg", "png", "webp")  # kinds that hold one or three channels of 8 or 16 bits
MEMORY = "the picture"  # instead of a path
LEAST_ALPHA = 1 / 16  # of what is fainter, nobody sees the colour
STRIP = 256  # rows that are changed at a time, so that a large picture needs little memory
KINDS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp"}  # by Pillow
NO_METADATA = Metadata()
Back = Callable[[np.ndarray], np.ndarray]  # from sRGB (..., 3) in 0..1 to a file's own colours


@dataclass
class Photo:
    """A picture with everything that its file tells, upright.

    Attributes:
        values: (H, W, C) as in the file, in its own colours.
        picture: the same as datasets read it.
        range: the values of black and white that the file tells, or None.
        has_alpha: whether the last channel is transparency.
        num_spare: how many channels after the colours are of unknown use.
        kind: of files.ENDINGS; '' if such files are only read.
        notes: what people should know of it, in parts of a sentence.
    """

    values: np.ndarray
    picture: Picture
    range: Range | None = BYTES
    metadata: Metadata = NO_METADATA
    has_alpha: bool = False
    num_spare: int = 0
    kind: str = ""
    lossless: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.values.shape[1], self.values.shape[0]

    @staticmethod
    def open(path: str | Path, max_megapixels: float | None = None) -> Photo:
        """Read a file; UserError, naming it, if it is larger or cannot be read."""
        path = Path(path)
        with decodable(path, max_megapixels) as found:
            return in_array(found) if isinstance(found, ArrayFile) else in_image(found, path)

    def columns(self, left: int, right: int) -> Photo:
        """The part between two columns, such as half of a pair side by side."""
        part = self.picture.crop((left, 0, right, self.size[1]))
        return replace(self, values=self.values[:, left:right], picture=part)

    def seen(self, side: Side) -> torch.Tensor:
        """What a network for this side sees of it: (side.num_channels, H, W) in [-1, 1], in sRGB.

        Raises UserError where its channels or values do not fit.
        """
        return to_tensor(self.picture.ready(side))

    def changed(self, seen: torch.Tensor, result: torch.Tensor, side: Side) -> Photo:
        """The photograph with the change that a network has made.

        The change from `seen` to `result`, (C, H, W) in [-1, 1], is brought into the colours of
        the file and added to its values, so that what the network leaves alone stays to the bit.
        Where the result has other channels than the file, it is all there is of colours.
        """
        limits = side.range or self.range or BYTES
        num, num_colours = len(result), self.values.shape[2] - self.has_alpha - self.num_spare
        fits = num == len(seen) and num in (num_colours, self.values.shape[2])
        if fits:
            back, alpha = self._from_srgb(num), None
            if self.has_alpha and num == num_colours:
                most = np.iinfo(self.values.dtype).max if self.values.dtype.kind in "iu" else 1
                alpha = self.values[..., -1:] / most
            values = carried(self.values, seen, result, limits, back, alpha)
            return replace(self, values=values)
        if num_colours == 1 and len(seen) == num == 3 and is_grey(result - seen, limits):
            back = self._from_srgb(1)
            return replace(self, values=carried(self.values, seen[:1], result[:1], limits, back))
        unit = result.add(1).div(2).clamp(0, 1).movedim(0, -1).numpy()
        colours = as_type(limits[0] + unit * (limits[1] - limits[0]), self.values.dtype)
        alpha = self.values[..., self.values.shape[2] - self.has_alpha :]
        values = np.concatenate([colours, alpha], 2) if self.has_alpha else colours
        profile = SRGB if self.metadata.profile and num == 3 else b""
        metadata = replace(self.metadata, profile=profile)
        notes = [*self.notes, f"the result has {num} channels instead of its {num_colours}"]
        return replace(self, values=values, metadata=metadata, num_spare=0, notes=notes)

    def _from_srgb(self, num_channels: int) -> Back | None:
        """See `from_srgb`; transparency as a further channel stays as it is."""
        num_colours = num_channels - (num_channels == self.values.shape[2] and self.has_alpha)
        back = from_srgb(self.metadata.profile, num_colours, self.values.dtype)
        if back is None or num_colours == num_channels:
            return back
        return lambda x: np.concatenate([back(x[..., :num_colours]), x[..., num_colours:]], -1)

    def writable_as(self, kind: str) -> tuple[Photo, str]:
        """This photograph as files of a kind hold it, and that kind; notes tell what it loses.

        Args:
            kind: of files.ENDINGS, or "keep" for its own. Where it cannot hold the photograph at
                all, another is returned.
        """
        wanted, notes = self.kind if kind == "keep" else kind, list(self.notes)
        if not wanted:
            wanted = "png"
            notes.append("files of its type are only read: written as png")
        if wanted in PICTURES and (self.values.shape[2] - self.has_alpha not in (1, 3)):
            notes.append(f"no {wanted} holds its {self.values.shape[2]} channels: written as tif")
            wanted = "tif"
        if wanted in PICTURES and self.range is None:
            notes.append(f"nothing tells black and white of its {self.values.dtype}: as tif")
            wanted = "tif"
        values = self.values
        if self.range is not None and wanted != "npy":
            values, note = in_whole_range(values, self.range, wanted)
            notes += [note] if note else []
        return replace(self, values=values, notes=notes), wanted

    def to_pillow(self) -> Image.Image:
        """The same in memory, with its metadata, of 8 bits, or of 16 if it is grey."""
        if self.values.dtype != np.uint8 and self.values.shape[2] == 1:
            image = Image.fromarray(self.values[..., 0])
        else:
            image = to_image(self.values, self.has_alpha)
        own = self.metadata
        dpi = own.dpi and tuple(map(round, own.dpi))
        more = {"exif": own.exif_bytes(), "icc_profile": own.profile, "dpi": dpi, "xmp": own.xmp}
        image.info |= {name: value for name, value in more.items() if value}
        image.__class__ = WithMetadata
        return image

    def write(self, path: Path, kind: str, quality: int) -> list[str]:
        """Write a file of this kind, whole or not at all, after `writable_as`; returns all notes.

        Raises UserError where the disk refuses.
        """
        return self.notes + write_picture(
            path,
            self.values,
            self.metadata,
            kind=kind,
            has_alpha=self.has_alpha,
            quality=quality,
            lossless=self.lossless,
        )


class WithMetadata(Image.Image):
    """A picture whose `save` writes what its `info` has of EXIF, XMP, profile and dpi.

    Pillow leaves most of that out unless `save` is told.
    """

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        known = ("exif", "icc_profile", "dpi", "xmp")
        own = {name: self.info[name] for name in known if name in self.info}
        super().save(fp, format, **{**own, **params})


def in_memory(values: np.ndarray, metadata: Metadata = NO_METADATA) -> Photo:
    """Of an array (H, W) or (H, W, C) of 8 or 16 bits, or floating-point in 0..1.

    With two or four channels the last is transparency. Raises UserError for other arrays.
    """
    limits = range_of(values.dtype)
    if values.ndim not in (2, 3) or limits is None or not values.size:
        raise UserError(
            f"an array {values.shape} of {values.dtype} is no picture: it should be (H, W) or "
            "(H, W, C) of uint8, uint16 or floating-point in 0..1"
        )
    values = values if values.ndim == 3 else values[..., None]
    has_alpha = values.shape[2] in (2, 4)
    picture = ArrayPicture(values, MEMORY, limits, has_alpha)
    return Photo(values, picture, limits, metadata, has_alpha)


def in_image(image: Image.Image, path: str | Path = MEMORY) -> Photo:
    """Of a file that Pillow has opened, or of a picture in memory, without a path."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return in_memory(np.asarray(image), metadata_of(image, image.size))
    own = upright(image)
    profile, notes = image.info.get("icc_profile") or b"", []
    picture = BytePicture(in_srgb(own, profile, path), path)
    metadata = metadata_of(image, own.size)
    if own.mode in ("CMYK", "LAB"):
        notes.append(f"its {own.mode} colours become sRGB")
        own, metadata = picture.image, replace(metadata, profile=SRGB)
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":  # which holds previews or depth
        notes.append(f"only the first of its {num_frames} pictures is used")
    return Photo(
        np.asarray(own).reshape(own.size[1], own.size[0], -1),
        picture,
        metadata=metadata,
        has_alpha="A" in own.mode.removesuffix("LAB"),
        kind=KINDS.get(image.format or "", ""),
        lossless=image.format != "WEBP" or (path != MEMORY and is_lossless(path)),
        notes=notes,
    )


def in_array(file: ArrayFile) -> Photo:
    """Of a file that is read as an array, with metadata if Pillow knows its format."""
    picture, notes = from_array(file), []
    if picture.premultiplied and picture.has_alpha:
        picture = unmultiplied(picture)
        notes.append("its colours are no longer multiplied by its transparency")
    metadata = Metadata(profile=file.profile)
    start = file.path.read_bytes()[:8] if file.path.suffix != ".npz" else b""
    kind = {b"\x89P": "png", b"II": "tif", b"MM": "tif", b"\x93N": "npy"}.get(start[:2], "")
    kind = "npy" if file.path.suffix == ".npz" else kind
    if kind in ("png", "tif"):
        try:
            with opened(file.path) as image:
                metadata = metadata_of(image, picture.size)
        except OSError:  # kinds of TIFF that Pillow does not know
            pass
    return Photo(
        picture.values,
        picture,
        picture.own_range,
        replace(metadata, profile=file.profile),
        picture.has_alpha,
        picture.num_spare,
        kind,
        notes=notes,
    )


def unmultiplied(picture: ArrayPicture) -> ArrayPicture:
    """The same picture with colours apart from its alpha, as other formats have them."""
    values = picture.values.astype(np.float64)
    most = np.iinfo(picture.values.dtype).max if picture.values.dtype.kind in "iu" else 1.0
    alpha = values[..., -1:] / most
    values[..., :-1] = np.divide(values[..., :-1], alpha, out=values[..., :-1], where=alpha > 0)
    straight = as_type(values, picture.values.dtype, (0, most))
    more = picture.own_range, True, False, picture.profile, picture.num_spare
    return ArrayPicture(straight, picture.path, *more)


def carried(
    own: np.ndarray,
    seen: torch.Tensor,
    result: torch.Tensor,
    limits: Range,
    back: Back | None,
    alpha: np.ndarray | None = None,
) -> np.ndarray:
    """Own values (H, W, C) plus the change of the first channels, (<= C, H, W) in [-1, 1].

    With an alpha (H, W, 1) in 0..1, the network saw the picture on white, where a colour counts by
    its alpha alone; so its change is larger.
    """
    values, span = own.copy(), limits[1] - limits[0]
    num = len(result)
    for top in range(0, len(own), STRIP):
        rows = slice(top, top + STRIP)
        before, after = (
            x[:, rows].clamp(-1, 1).add(1).div(2).movedim(0, -1).numpy() for x in (seen, result)
        )
        changed = np.nonzero((before != after).any(-1))
        old, new = before[changed], after[changed]
        delta = new - old if back is None else back(new) - back(old)
        if alpha is not None:
            delta = delta / alpha[rows][changed].clip(LEAST_ALPHA, 1)
        part = values[rows]
        moved = part[..., :num][changed] + span * delta.astype(np.float64)
        part[..., :num][changed] = as_type(moved, own.dtype, limits)
    return values


def as_type(values: np.ndarray, dtype: np.dtype, limits: Range | None = None) -> np.ndarray:
    """Rounded and cut to the type where it has whole numbers, and cut to limits."""
    if limits is not None:
        values = values.clip(*limits)
    if dtype.kind in "iu":
        most = np.iinfo(dtype)
        values = np.rint(values).clip(most.min, most.max)
    return values.astype(dtype)


def in_whole_range(values: np.ndarray, limits: Range, kind: str) -> tuple[np.ndarray, str]:
    """Values as files of this kind hold them, with white at the end of their type; and a note."""
    dtype, span = values.dtype, limits[1] - limits[0]
    whole = np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 65535
    fits = dtype == np.uint8 or (dtype == np.uint16 and kind not in ("jpg", "webp"))
    if kind in PICTURES and not fits:
        bits = 8 if kind in ("jpg", "webp") else 16
        unit = (values.astype(np.float64) - limits[0]) / span
        target = np.dtype(f"uint{bits}")
        return as_type(
            unit * np.iinfo(target).max, target
        ), f"a {kind} holds {bits} bits of {dtype}"
    if dtype in (np.uint8, np.uint16) and limits != (0, whole):
        # Such as 12 bits: whoever reads 16 bits takes 65535 for white.
        note = f"its {limits[0]:g} to {limits[1]:g} become 0 to {whole}"
        return as_type((values - limits[0]) * (whole / span), dtype), note
    return values, ""


def is_grey(change: torch.Tensor, limits: Range) -> bool:
    """Whether a change (3, H, W) in [-2, 2] alters all channels alike, to half a level."""
    unlike = (change - change.mean(0, keepdim=True)).abs().max()
    return float(unlike) / 2 * (limits[1] - limits[0]) < 0.5


def is_lossless(path: str | Path) -> bool:
    """Whether a WebP was compressed without loss (RFC 9649, 2.6)."""
    with open(path, "rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name in (b"VP8 ", b"VP8L"):
                return name == b"VP8L"
            # A frame of an animation has its picture inside, after 16 bytes.
            file.seek(16 if name == b"ANMF" else length + length % 2, 1)
    return False
