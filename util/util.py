"""Pictures from tensors and small file help, under the names that third-party files import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn


def tensor2im(image: torch.Tensor | np.ndarray, imtype: type = np.uint8) -> np.ndarray:
    """The first picture of a batch as an (H, W, 3) array in 0..255, rounded and clamped.

    Args:
        image: (N, C, H, W) or (C, H, W) in [-1, 1] with C 1 (grey) or 3; an array passes through.
    """
    if isinstance(image, np.ndarray):
        return image.astype(imtype)
    picture = image.detach()
    picture = picture[0] if picture.ndim == 4 else picture
    if picture.shape[0] == 1:
        picture = picture.expand(3, -1, -1)
    pixels = ((picture.float() + 1) * 127.5).round().clamp(0, 255)
    return pixels.permute(1, 2, 0).cpu().numpy().astype(imtype)


def save_image(image_numpy: np.ndarray, image_path: str | Path, aspect_ratio: float = 1.0) -> None:
    """Write an (H, W, 3) uint8 array; `aspect_ratio` (width over height) stretches one side.

    A ratio above 1 widens the picture, one below 1 makes it taller: nothing is thrown away.
    """
    picture = Image.fromarray(image_numpy)
    width, height = picture.size
    if aspect_ratio > 1:
        picture = picture.resize((round(width * aspect_ratio), height), Image.Resampling.BICUBIC)
    elif aspect_ratio < 1:
        picture = picture.resize((width, round(height / aspect_ratio)), Image.Resampling.BICUBIC)
    # Of PNG's levels the first takes a quarter of the default's time for a tenth more bytes.
    picture.save(image_path, compress_level=1)


def mkdirs(paths: str | Path | Iterable[str | Path]) -> None:
    """Create one folder or several, with parents, unless they exist."""
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        Path(path).mkdir(parents=True, exist_ok=True)


def mkdir(path: str | Path) -> None:
    """Create a folder, with parents, unless it exists."""
    mkdirs(path)


def print_numpy(x: np.ndarray, val: bool = True, shp: bool = False) -> None:
    """Print what values an array has (`val`) and its shape (`shp`)."""
    if shp:
        print("shape", x.shape)
    if val:
        values = np.asarray(x, dtype=np.float64)
        print(
            f"mean {values.mean():.3f}, min {values.min():.3f}, max {values.max():.3f}, "
            f"median {np.median(values):.3f}, standard deviation {values.std():.3f}"
        )


def diagnose_network(net: nn.Module, name: str = "network") -> None:
    """Print the mean absolute gradient of a network's weights, over those that have one."""
    means = [p.grad.abs().mean() for p in net.parameters() if p.grad is not None]
    print(f"{name}: mean absolute gradient {float(torch.stack(means).mean()) if means else 0.0:g}")
