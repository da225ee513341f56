"""Open any supported picture as upright 8-bit RGB, or report which file is bad."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from util.errors import UserError


def limit_pillow(max_megapixels: float) -> None:
    """Set Pillow's own limit, for third-party files that open pictures without `open_picture`."""
    most = min(max_megapixels, 1e9)  # 1e308 megapixels would overflow to infinity in pixels
    Image.MAX_IMAGE_PIXELS = int(most * 1e6 / 2)  # Pillow raises at twice this number


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture of any size with Pillow; `open_picture` has its own limit and message."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as picture:
            yield picture
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def open_picture(path: str | Path, max_megapixels: float | None = None) -> Image.Image:
    """The picture as an RGB image, turned upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit pictures are converted, transparency is blended onto white, and
    only the first frame of an animation is used. Without max_megapixels, Pillow's limit applies
    (see `limit_pillow`). Raises UserError, naming the file, if it is larger or cannot be decoded.
    """
    if max_megapixels is None:
        max_megapixels = 2 * (Image.MAX_IMAGE_PIXELS or math.inf) / 1e6
    try:
        with opened(path) as picture:
            width, height = picture.size
            if width * height > max_megapixels * 1e6:
                raise UserError(
                    f"{path}: {width}x{height} pixels are more than --max_megapixels "
                    f"{max_megapixels:g}; raise it if you trust the file",
                    path,
                )
            return to_rgb(ImageOps.exif_transpose(picture))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such picture", path) from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read this picture", path) from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise UserError(
            f"{path}: cannot be read as a picture ({error}); repair or remove it", path
        ) from error


def picture_size(path: str | Path) -> tuple[int, int]:
    """The (width, height) of the upright picture in pixels; reads only the header."""
    try:
        with opened(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 swap the sides
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as a picture ({error}); repair or remove it", path
        ) from error
    return (height, width) if turned else (width, height)


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture in any Pillow mode to 8-bit RGB.

    Floating-point values must be in 0..1, or in 0..255 if any is above 1; else ValueError.
    """
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float64)
        if picture.mode == "F":
            if not (values.min() >= 0 and values.max() <= 255):
                raise ValueError(
                    f"its values range from {values.min():g} to {values.max():g}, but those of "
                    "floating-point pictures must be in 0 to 1, or in 0 to 255"
                )
            values = values * 255 if values.max() <= 1 else values
        elif values.max(initial=0) > 255:  # 16 bits per pixel
            values = values / 257
        picture = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    elif "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
