"""A decoded picture of either kind, and how it becomes the channels of a network.

Pictures of 8 bits stay Pillow's; all others are float32 arrays (H, W, C) in 0..1 once their range
is known. `Ready` is either, with the right number of channels: what is resized and cropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageOps

from data.reading import notes
from data.reading.arrays import ArrayFile
from data.reading.notes import Range, range_flag
from data.reading.profiles import deep_to_srgb, to_srgb
from util.errors import UserError

Ready = Image.Image | np.ndarray
Box = tuple[int, int, int, int]  # left, top, right, bottom
LUMA = np.array([19595, 38470, 7471]) / 65536  # ITU-R BT.601, as Pillow rounds it
BYTES: Range = (0.0, 255.0)


class Side(NamedTuple):
    """What a side of a dataset asks of its pictures.

    Attributes:
        name: A, B, or nothing where it is unknown.
        num_channels: those of the network.
        range: the stated values of black and white (--range_A), or None.
        flag: sets the number of channels.
    """

    name: str
    num_channels: int
    range: Range | None = None
    flag: str = "--input_nc or --output_nc"


class Picture(Protocol):
    """A decoded picture, upright.

    Attributes:
        own_range: the values of black and white that the file tells, or None.
    """

    own_range: Range | None

    @property
    def size(self) -> tuple[int, int]: ...

    def crop(self, box: Box) -> Picture: ...

    def ready(self, side: Side) -> Ready:
        """The channels that a side asks for. UserError where they do not fit, naming the file."""


class BytePicture:
    """A picture of 8 bits in sRGB: RGB, or with transparency RGBA or LA."""

    own_range: Range | None = BYTES

    def __init__(self, image: Image.Image, path: str | Path):
        self.image, self.path = image, path

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    def crop(self, box: Box) -> BytePicture:
        return BytePicture(self.image.crop(box), self.path)

    def ready(self, side: Side) -> Ready:
        if side.range not in (None, BYTES):
            values = np.asarray(self.image)
            return ArrayPicture(values, self.path, BYTES, "A" in self.image.mode).ready(side)
        if len(self.image.getbands()) == side.num_channels:
            return self.image
        rgb = on_white(self.image)
        if side.num_channels == 1:
            return rgb.convert("L")
        if side.num_channels == 3:
            return rgb
        raise wrong_channels(self.path, len(self.image.getbands()), side)


class ArrayPicture:
    """A picture of other values, (H, W, C) as in the file.

    Args:
        own_range: the values of black and white that the file tells, or None.
        has_alpha, premultiplied, profile, num_spare: see ArrayFile.
    """

    def __init__(
        self,
        values: np.ndarray,
        path: str | Path,
        own_range: Range | None,
        has_alpha: bool = False,
        premultiplied: bool = False,
        profile: bytes = b"",
        num_spare: int = 0,
    ):
        self.values, self.path, self.own_range = values, path, own_range
        self.has_alpha, self.premultiplied, self.profile = has_alpha, premultiplied, profile
        self.num_spare = num_spare

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[1], self.values.shape[0]

    def crop(self, box: Box) -> ArrayPicture:
        left, top, right, bottom = box
        part = self.values[top:bottom, left:right]
        rest = self.has_alpha, self.premultiplied, self.profile, self.num_spare
        return ArrayPicture(part, self.path, self.own_range, *rest)

    def ready(self, side: Side) -> np.ndarray:
        """(H, W, num_channels) float32 in 0..1."""
        if self.num_spare and side.num_channels in (1, 3):
            total, used = self.values.shape[2], self.values.shape[2] - self.num_spare
            notes.noticed.say(
                "spare",
                f"{self.path}: only the first {used} of its {total} channels are used, as RGB; "
                f"pass {side.flag} {total} to use all",
            )
            spared = self.values[..., :used]
            return ArrayPicture(spared, self.path, self.own_range, profile=self.profile).ready(side)
        if self.values.dtype.kind == "f" and not np.isfinite(self.values).all():
            raise UserError(
                f"{self.path}: some of its values are not finite (NaN or infinity)", self.path
            )
        lays = self.has_alpha and self.values.shape[2] != side.num_channels
        colours = self.values.shape[2] - self.has_alpha
        shown = self.values[..., :colours] if lays else self.values
        values = to_unit(shown, self.path, self.own_range, side)
        if self.profile:
            srgb = deep_to_srgb(values[..., :colours], self.profile, self.path)
            values = np.concatenate([srgb, values[..., colours:]], 2)
        if lays:
            alpha = self.alpha(side)
            values = (values if self.premultiplied else values * alpha) + (1 - alpha)
        if values.shape[2] == 1 and side.num_channels == 3:
            values = values.repeat(3, 2)
        elif values.shape[2] == 3 and side.num_channels == 1:
            values = values @ LUMA[:, None]
        elif values.shape[2] != side.num_channels:
            raise wrong_channels(self.path, self.values.shape[2], side)
        return values.astype(np.float32)

    def alpha(self, side: Side) -> np.ndarray:
        """(H, W, 1) in 0..1: the last channel as transparency, whose white is always the type's.

        Raises UserError where it is outside, and so must be something else.
        """
        kind, last = self.values.dtype.kind, self.values[..., -1:].astype(np.float64)
        most = np.iinfo(self.values.dtype).max if kind in "iu" else 1
        alpha = last / (self.own_range[1] if self.own_range else most)
        if alpha.min() < 0 or alpha.max() > 1:
            raise UserError(
                f"{self.path}: its last channel is from {last.min():g} to {last.max():g}, so it is "
                f"no transparency; pass {side.flag} {self.values.shape[2]} to keep it",
                self.path,
            )
        return alpha


def from_pillow(picture: Image.Image, path: str | Path) -> BytePicture:
    """The picture in a file that Pillow has opened."""
    image = in_srgb(upright(picture), picture.info.get("icc_profile"), path)
    return BytePicture(image, path)


def upright(picture: Image.Image) -> Image.Image:
    """Turned by EXIF, in its own colours: RGB, L, CMYK or LAB, or with transparency RGBA or LA."""
    image = ImageOps.exif_transpose(picture)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return in_mode(image, "LA" if image.mode in ("LA", "La") else "RGBA")
    image = image.convert("L") if image.mode == "1" else image
    return image if image.mode in ("L", "CMYK", "LAB") else in_mode(image, "RGB")


def in_srgb(image: Image.Image, profile: bytes | None, path: str | Path) -> Image.Image:
    """An `upright` picture as RGB, or with transparency as RGBA or LA."""
    if image.mode not in ("RGBA", "LA"):
        return in_mode(to_srgb(image, profile, path) if profile else image, "RGB")
    if profile:
        alpha = image.getchannel("A")
        image = to_srgb(image.convert(image.mode.removesuffix("A")), profile, path)
        image.putalpha(alpha)
    return image


def from_array(file: ArrayFile) -> ArrayPicture:
    """The picture in a file that is read as an array."""
    values = file.values()  # only now is it known whether a PNG has transparency
    rest = file.has_alpha, file.premultiplied, file.profile, file.num_spare
    return ArrayPicture(values, file.path, file.range, *rest)


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, with its transparency, if any, laid on white."""
    if "A" in image.mode:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return in_mode(image, "RGB")


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode of Pillow's, itself if it is; `convert` would copy it."""
    return image if image.mode == mode else image.convert(mode)


def to_unit(
    values: np.ndarray, path: str | Path, own_range: Range | None, side: Side
) -> np.ndarray:
    """Values as float64 in 0..1, where 0 is black and 1 is white.

    Values outside a stated range are clipped and counted. Raises UserError where neither the file
    nor a flag says which values are black and white.
    """
    low, high = side.range or own_range or (0.0, 0.0)
    least, most = float(values.min()), float(values.max())
    if side.range is None and (own_range is None or not low <= least <= most <= high):
        form = ".0f" if values.dtype.kind in "iu" else "g"  # whole numbers with all their digits
        example = f", such as {least:{form}},{most:{form}}" if least < most else ""
        raise UserError(
            f"{path}: its values are {values.dtype} from {least:{form}} to {most:{form}}, and "
            "nothing tells which of them are black and white; say so with "
            f"{range_flag(side.name)} LOW,HIGH{example}",
            path,
        )
    if side.range is not None:
        outside = np.count_nonzero(values < low) + np.count_nonzero(values > high)
        notes.noticed.clip(side.name, side.range, int(outside))
    return ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)


def wrong_channels(path: str | Path, number: int, side: Side) -> UserError:
    return UserError(
        f"{path}: it has {number} channels, which cannot become the {side.num_channels} of "
        f"{side.flag} {side.num_channels}; pass {side.flag} {number}, or convert the picture",
        path,
    )


def to_image(ready: Ready) -> Image.Image:
    """With 8 bits, for files and programs that know no more: RGB, or grey for one channel."""
    if isinstance(ready, Image.Image):
        return ready
    pixels = np.rint(ready * 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
