"""Pictures from tensors and small file help, under the names that third-party files import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image


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


def counted(number: int, thing: str) -> str:
    """'1 image', '2 images'."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


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
