"""From a decoded picture to the tensor a network sees: resize, crop, flip, scale to [-1, 1].

The first step, `Resize`, depends only on the picture; only `Augment` is random. Between the two, a
picture becomes pixels: a planar uint8 tensor (C, H, W), so that a crop is a slice. Everything here
is a plain class, so that it can be pickled to worker processes on every system.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from util.errors import UserError

Size = tuple[int, int]  # (width, height) in pixels, in Pillow's order


@dataclass(frozen=True)
class Resize:
    """The deterministic part of --preprocess.

    resize_and_crop scales to a square of side load_size, whatever the aspect ratio. scale_width and
    scale_width_and_crop scale the width to load_size and keep the aspect ratio; if the height would
    fall below crop_size, they scale the height to crop_size instead. crop and none do not scale. If
    no crop follows, both sides are rounded to a multiple of `multiple`.
    """

    preprocess: str
    load_size: int
    crop_size: int
    multiple: int = 1
    minimum: int = 1
    max_megapixels: float = math.inf

    def target(self, size: Size) -> Size:
        """The size to which a picture of this size is resized.

        Raises UserError if it is too small, or so narrow that the result exceeds max_megapixels.
        """
        width, height = size
        if self.preprocess == "resize_and_crop":
            return self.load_size, self.load_size
        if self.preprocess.startswith("scale_width"):
            scale = self.load_size / width
            if round(height * scale) < self.crop_size:
                scale = self.crop_size / height
            width, height = round(width * scale), round(height * scale)
            if width * height > self.max_megapixels * 1e6:
                raise UserError(
                    f"a picture of {size[0]}x{size[1]} becomes {width}x{height} with --preprocess "
                    f"{self.preprocess}, more than --max_megapixels {self.max_megapixels:g}; "
                    "remove it or use --preprocess resize_and_crop"
                )
        if self.preprocess in ("scale_width", "none"):
            width, height = (
                max(1, round(side / self.multiple)) * self.multiple for side in (width, height)
            )
            if min(width, height) < self.minimum:
                raise UserError(
                    f"a picture of {size[0]}x{size[1]} is too small: the networks need at least "
                    f"{self.minimum} pixels; remove it or use --preprocess resize_and_crop"
                )
        return width, height

    def rounds(self, size: Size) -> bool:
        """Whether rounding to the multiple changes the target size of a picture of this size."""
        exact = Resize(self.preprocess, self.load_size, self.crop_size, multiple=1)
        return self.target(size) != exact.target(size)

    def __call__(
        self,
        picture: Image.Image,
        target: Size | None = None,
        method: Image.Resampling = Image.Resampling.BICUBIC,
    ) -> Image.Image:
        target = target or self.target(picture.size)
        if picture.size == target:
            return picture
        return picture.resize(target, method)


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


def to_pixels(picture: Image.Image) -> torch.Tensor:
    """(C, H, W) uint8 from an RGB (C = 3) or grey (C = 1) picture."""
    pixels = np.array(picture)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def to_picture(pixels: torch.Tensor) -> Image.Image:
    """An RGB or grey picture from (C, H, W) uint8; the inverse of `to_pixels`."""
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy())


def to_tensor(picture: Image.Image | torch.Tensor) -> torch.Tensor:
    """(C, H, W) float32 in [-1, 1] from an RGB (C = 3) or grey (C = 1) picture or its pixels."""
    pixels = picture if isinstance(picture, torch.Tensor) else to_pixels(picture)
    # In this order the result equals ToTensor followed by Normalize(0.5, 0.5), bit for bit.
    return pixels.float().div_(255).sub_(0.5).div_(0.5)
