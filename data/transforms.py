"""From a decoded picture to the tensor a network sees: resize, crop, flip, scale to [-1, 1].

The first step, `Resize`, depends only on the picture; only `Augment` is random. Between the two, a
picture becomes pixels: a planar tensor (C, H, W), so that a crop is a slice; uint8 in 0..255, or
float32 in 0..1 for pictures of more than 8 bits. Everything here is a plain class, so that it can
be pickled to worker processes on every system.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from data.reading.picture import Ready, to_image
from util.errors import UserError

Size = tuple[int, int]  # (width, height) in pixels, in Pillow's order


@dataclass(frozen=True)
class Resize:
    """The deterministic part of --preprocess.

    resize_and_crop scales to a square of side load_size, whatever the aspect ratio. scale_width and
    scale_width_and_crop scale the width to load_size and keep the aspect ratio; if a crop follows
    and the height would fall below crop_size, it is scaled to crop_size instead. crop and none do
    not scale. If no crop follows, both sides are then padded to multiples of `multiple`, and to
    `minimum` at least.
    """

    preprocess: str
    load_size: int
    crop_size: int
    multiple: int = 1
    minimum: int = 1
    max_megapixels: float = math.inf

    @property
    def crops(self) -> bool:
        return self.preprocess.endswith("crop")

    @property
    def scales(self) -> bool:
        return self.preprocess not in ("crop", "none")

    def target(self, size: Size) -> Size:
        """The size to which a picture of this size is resized.

        Raises UserError if it is so narrow that the result exceeds max_megapixels.
        """
        width, height = size
        if self.preprocess == "resize_and_crop":
            return self.load_size, self.load_size
        if self.preprocess.startswith("scale_width"):
            scale = self.load_size / width
            if self.crops and round(height * scale) < self.crop_size:
                scale = self.crop_size / height
            width, height = (max(1, round(side * scale)) for side in (width, height))
            if width * height > self.max_megapixels * 1e6:
                raise UserError(
                    f"a picture of {size[0]}x{size[1]} becomes {width}x{height} with --preprocess "
                    f"{self.preprocess}, more than --max_megapixels {self.max_megapixels:g}; "
                    "remove it or use --preprocess resize_and_crop"
                )
        return width, height

    def whole(self, size: Size) -> Size:
        """The size of a whole picture that shows things as large as in testing, its shape kept."""
        width, height = size
        if not self.scales:
            return size
        longest = width if self.preprocess.startswith("scale_width") else max(width, height)
        scale = self.load_size / longest
        return max(1, round(width * scale)), max(1, round(height * scale))

    def padded(self, size: Size, *, always: bool = False) -> Size:
        """The size to which a resized picture of this size is padded, if no crop follows.

        With `always`, a crop does not matter.
        """
        if self.crops and not always:
            return size
        sides = (max(side, self.minimum) for side in size)
        width, height = (-(-side // self.multiple) * self.multiple for side in sides)
        return width, height

    def __call__(
        self,
        picture: Ready,
        target: Size | None = None,
        method: Image.Resampling = Image.Resampling.BICUBIC,
    ) -> Ready:
        if isinstance(picture, Image.Image):
            target = target or self.target(picture.size)
            if picture.size == target:
                return picture
            if "A" in picture.mode:  # here a channel like others; Pillow would weigh colours by it
                bands = [band.resize(target, method) for band in picture.split()]
                return Image.merge(picture.mode, bands)
            return picture.resize(target, method)
        size = picture.shape[1], picture.shape[0]
        target = target or self.target(size)
        if size == target:
            return picture
        planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(picture, 2, 0)]
        planes = [np.asarray(Image.fromarray(plane).resize(target, method)) for plane in planes]
        return np.stack(planes, 2).clip(0, 1)  # the filter overshoots at edges


@dataclass(frozen=True)
class Augment:
    """One choice of crop and flip; both pictures of a pair share it."""

    left: int = 0
    top: int = 0
    crop_size: int | None = None  # None: no crop
    flip: bool = False

    @staticmethod
    def draw(size: Size, crop_size: int | None, *, at_random: bool, flips: bool) -> Augment:
        """Choose a crop and flip for a resized picture, with Python's random generator.

        Without `at_random` the crop is centred. Raises UserError if the picture is smaller than the
        crop.
        """
        left = top = 0
        if crop_size is not None:
            spare = size[0] - crop_size, size[1] - crop_size
            if min(spare) < 0:
                raise UserError(
                    f"a picture of {size[0]}x{size[1]} is smaller than --crop_size {crop_size}; "
                    "use a smaller --crop_size or --preprocess resize_and_crop"
                )
            left, top = (
                (random.randint(0, spare[0]), random.randint(0, spare[1]))
                if at_random
                else (spare[0] // 2, spare[1] // 2)
            )
        return Augment(left, top, crop_size, flips and random.random() > 0.5)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.crop_size is not None:
            right, bottom = self.left + self.crop_size, self.top + self.crop_size
            pixels = pixels[:, self.top : bottom, self.left : right]
        return pixels.flip(-1) if self.flip else pixels


def to_channels(picture: Image.Image, num_channels: int) -> Image.Image:
    """An RGB picture unchanged for 3 channels, or converted to grey (ITU-R 601 luma) for 1."""
    return picture.convert("L") if num_channels == 1 else picture


def to_pixels(picture: Ready) -> torch.Tensor:
    """(C, H, W) from a picture: uint8 in 0..255, or float32 in 0..1 from an array."""
    pixels = np.array(picture)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def to_picture(pixels: torch.Tensor) -> Image.Image:
    """An RGB or grey picture of 8 bits from pixels; the inverse of `to_pixels`."""
    values = pixels.permute(1, 2, 0).numpy()
    if pixels.is_floating_point():
        return to_image(values)
    return Image.fromarray(values[..., 0] if len(pixels) == 1 else values)


def pad(pixels: torch.Tensor, size: Size) -> torch.Tensor:
    """Extend pixels (C, H, W) to the right and below by reflection, as often as needed."""
    right, below = size[0] - pixels.shape[2], size[1] - pixels.shape[1]
    if not (right or below):
        return pixels
    return torch.from_numpy(np.pad(pixels.numpy(), ((0, 0), (0, below), (0, right)), "reflect"))


def to_tensor(picture: Ready | torch.Tensor) -> torch.Tensor:
    """(C, H, W) float32 in [-1, 1] from a picture or its pixels."""
    pixels = picture if isinstance(picture, torch.Tensor) else to_pixels(picture)
    # In this order the result equals ToTensor followed by Normalize(0.5, 0.5), bit for bit.
    unit = pixels.clone() if pixels.is_floating_point() else to_unit(pixels)
    return unit.sub_(0.5).div_(0.5)


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels as float32 in 0..1; themselves if they are."""
    return pixels if pixels.is_floating_point() else pixels.float().div_(255)


def size_of(pixels: torch.Tensor) -> Size:
    """The (width, height) of a picture (C, H, W)."""
    return pixels.shape[2], pixels.shape[1]
