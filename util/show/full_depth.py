"""Results with all their bits and channels, where the page's pictures of 8 bits hold fewer."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from util.packages import needed

ARRAYS = (".npy", ".npz")


class Depth(NamedTuple):
    """How a file holds values: their type, those of black and white, and the file's ending."""

    dtype: np.dtype
    range: tuple[float, float]
    ending: str

    def is_needed(self, image: torch.Tensor) -> bool:
        """Whether a page's picture of 8 bits does not hold all of (N, C, H, W)."""
        return self.dtype != np.uint8 or image.shape[1] not in (1, 3)

    @property
    def span(self) -> float:
        return self.range[1] - self.range[0]

    def values(self, image: torch.Tensor) -> np.ndarray:
        """(H, W, C) of this type from (C, H, W) in [-1, 1]; values outside are clipped."""
        low, high = self.range
        unit = image.detach().cpu().double().add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy()
        values = low + unit * (high - low)
        return (values if self.dtype.kind == "f" else np.rint(values)).astype(self.dtype)

    def write(self, image: torch.Tensor, path: Path) -> None:
        """Write a picture (C, H, W) in [-1, 1] to a path with this ending."""
        values = self.values(image)
        colour = values.shape[2] in (3, 4)
        values = values[..., 0] if values.shape[2] == 1 else values
        if self.ending == ".npy":
            np.save(path, values)
            return
        from PIL import ImageCms

        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        needed("tifffile", "a TIFF").imwrite(
            path,
            values,
            photometric="rgb" if colour else "minisblack",
            iccprofile=srgb if colour else None,
            compression="zlib",
        )


def depths_of(opt: argparse.Namespace, labels: Iterable[str], input_side: str) -> dict[str, Depth]:
    """By label of a picture, how a file holds all of it.

    A label shows the input's side (A or B) if it ends in _A or is `real`, else the output's. The
    types are those of the pictures that the run was trained on (see `kind_of` in data.image_io).
    """
    found = {}
    for label in labels:
        is_input = label.endswith("_A") or label == "real"
        side = input_side if is_input else {"A": "B", "B": "A"}[input_side]
        dtype, limits, ending = (getattr(opt, f"files_{side}") or "uint8 0,255 .png").split()
        low, high = (0, 1) if limits == "?" else map(float, limits.split(","))
        stated = getattr(opt, f"range_{side}") or (low, high)
        found[label] = Depth(np.dtype(dtype), stated, ".npy" if ending in ARRAYS else ".tif")
    return found
