"""Convert tensors to pictures, and small helpers, under the names that third-party files import."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn


def tensor2im(image: torch.Tensor | np.ndarray, imtype: type = np.uint8) -> np.ndarray:
    """The first picture of a batch as an (H, W, 3) array in 0..255, rounded and clamped.

    Args:
        image: (N, C, H, W) or (C, H, W) in [-1, 1], for C see `to_array`; arrays pass through.
    """
    if isinstance(image, np.ndarray):
        return image.astype(imtype)
    return to_array(to_bytes(image[0] if image.ndim == 4 else image)).astype(imtype)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Values in [-1, 1] as uint8 in 0..255, rounded and clamped, on the same device."""
    pixels = images.detach().float().add(1).mul_(127.5)
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def to_batch(pictures: torch.Tensor | np.ndarray) -> torch.Tensor:
    """(N, C, H, W) in [-1, 1] from what a model shows.

    That is a tensor (H, W), (C, H, W) or (N, C, H, W) in [-1, 1]; or, from models that convert
    their pictures themselves, an array (H, W), (H, W, C) or (N, H, W, C) in 0..255. Raises
    ValueError for anything else.
    """
    if isinstance(pictures, torch.Tensor) and 2 <= pictures.ndim <= 4:
        missing = 4 - pictures.ndim
        return pictures[(None,) * missing] if missing else pictures
    if isinstance(pictures, np.ndarray) and 2 <= pictures.ndim <= 4:
        pixels = np.atleast_3d(pictures)  # (H, W) becomes (H, W, 1)
        batch = pixels if pixels.ndim == 4 else pixels[None]
        return torch.tensor(batch.transpose(0, 3, 1, 2) / 127.5 - 1)
    shape = f" of shape {tuple(pictures.shape)}" if hasattr(pictures, "shape") else ""
    raise ValueError(f"a {type(pictures).__name__}{shape} is not a picture")


def to_array(pixels: torch.Tensor) -> np.ndarray:
    """(H, W, 3) from (C, H, W) on any device.

    Shows the first three channels, or with only one or two the first as grey. Callers that show
    pictures also report `channels_note`.
    """
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return pixels.permute(1, 2, 0).cpu().numpy()


def channels_note(label: str, image: torch.Tensor) -> str:
    """A note on the channels of (..., C, H, W) that `to_array` omits, or "" if there are none."""
    channels = image.shape[-3]
    if channels in (1, 3):
        return ""
    shown = "the first three are shown" if channels > 3 else "the first is shown, as grey"
    return f"{label} has {channels} channels, of which {shown}"


def range_of(dtype: np.dtype) -> tuple[float, float] | None:
    """The values of black and white of a type, where all files agree on them, or None."""
    if dtype.kind in "bf":
        return 0.0, 1.0
    return (0.0, float(np.iinfo(dtype).max)) if dtype in (np.uint8, np.uint16) else None


def cut(image: torch.Tensor, share: tuple[float, float]) -> torch.Tensor:
    """The upper left of pictures (..., H, W), with a share of their height and width.

    Shares also suit models that change the size.
    """
    height, width = (round(s * n) for s, n in zip(share, image.shape[-2:], strict=True))
    return image[..., :height, :width]


def finite_pictures(images: torch.Tensor) -> list[bool]:
    """Whether all values are finite, for each picture of (N, C, H, W); waits for the device."""
    sides = (1, 2, 3)  # the extremes over them are many times faster to compute than a norm
    return (images.amax(sides).isfinite() & images.amin(sides).isfinite()).tolist()


def all_finite(tensors: list[torch.Tensor]) -> bool:
    """Whether all values of all tensors are finite; waits for the device."""
    if not tensors:
        return True
    largest = torch._foreach_norm(tensors, ord=math.inf)  # unlike other norms, cannot overflow
    return bool(torch.stack(largest).isfinite().all())


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def counted(number: int, thing: str) -> str:
    """'1 image', '2 images'."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def save_image(
    image_numpy: np.ndarray,
    image_path: str | Path,
    aspect_ratio: float = 1.0,
    *,
    quality: int = 95,
) -> None:
    """Write an (H, W, 3) uint8 array as PNG, or as JPEG if the path ends so.

    `aspect_ratio` (width over height) stretches one side; `quality` is that of JPEG.

    A ratio above 1 widens the picture, and one below 1 makes it taller, so no pixels are lost.
    """
    picture = Image.fromarray(image_numpy)
    width, height = picture.size
    if aspect_ratio > 1:
        picture = picture.resize((round(width * aspect_ratio), height), Image.Resampling.BICUBIC)
    elif aspect_ratio < 1:
        picture = picture.resize((width, round(height / aspect_ratio)), Image.Resampling.BICUBIC)
    if Path(image_path).suffix.lower() in (".jpg", ".jpeg"):
        picture.save(image_path, quality=quality, subsampling=0)
        return
    tag = PngInfo()
    tag.add(b"sRGB", b"\1")  # its colours, for relative colorimetric rendering
    # Searching only for runs of equal bytes takes a quarter of the default's time. The files are as
    # small for photographs, which have few repetitions, and for flat colours.
    picture.save(image_path, compress_level=1, compress_type=zlib.Z_RLE, pnginfo=tag)


def mkdirs(paths: str | Path | Iterable[str | Path]) -> None:
    """Create one or several folders, with their parents, unless they exist."""
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        Path(path).mkdir(parents=True, exist_ok=True)


def mkdir(path: str | Path) -> None:
    """Create a folder, with its parents, unless it exists."""
    mkdirs(path)


def print_numpy(x: np.ndarray, val: bool = True, shp: bool = False) -> None:
    """Print statistics of an array's values (`val`) and its shape (`shp`)."""
    if shp:
        print("shape", x.shape)
    if val:
        values = np.asarray(x, dtype=np.float64)
        print(
            f"mean {values.mean():.3f}, min {values.min():.3f}, max {values.max():.3f}, "
            f"median {np.median(values):.3f}, standard deviation {values.std():.3f}"
        )


def diagnose_network(net: nn.Module, name: str = "network") -> None:
    """Print the mean absolute gradient of those of a network's weights that have one."""
    means = [p.grad.abs().mean() for p in net.parameters() if p.grad is not None]
    print(f"{name}: mean absolute gradient {float(torch.stack(means).mean()) if means else 0.0:g}")
