"""Open any supported picture, upright and in sRGB, or report which file is bad."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from data.reading.arrays import EIGHT_BITS, ArrayFile, array_file
from data.reading.picture import BYTES, Picture, Side, from_array, from_pillow, to_image
from data.reading.pillow import limit_pillow as limit_pillow
from data.reading.pillow import opened, orientation
from data.reading.quiet import quiet
from util.errors import UserError, first_line

__all__ = [
    "is_array",
    "kind_of",
    "limit_pillow",
    "open_picture",
    "opened",
    "picture_size",
    "read_picture",
]


def open_picture(path: str | Path, max_megapixels: float | None = None) -> Image.Image:
    """The picture as an RGB image of 8 bits; see `read_picture`."""
    return to_image(read_picture(path, max_megapixels).ready(Side("", 3)))


def read_picture(path: str | Path, max_megapixels: float | None = None) -> Picture:
    """The picture in a file, turned upright by its EXIF orientation, with all its bits.

    An embedded colour profile is converted to sRGB. Only the first frame of an animation and the
    first page of a TIFF are used. Without max_megapixels, Pillow's limit applies (see
    `limit_pillow`). Raises UserError, naming the file, if it is larger or cannot be decoded.
    """
    with decodable(path, max_megapixels) as found:
        return from_array(found) if isinstance(found, ArrayFile) else from_pillow(found, path)


@contextlib.contextmanager
def decodable(path: str | Path, max_megapixels: float | None) -> Iterator[ArrayFile | Image.Image]:
    """A file whose header has been read: as an array, or opened by Pillow.

    Raises UserError, naming the file, for what `read_picture` refuses, inside too.
    """
    # `opened` lifts Pillow's own limit.
    limit = 2 * (Image.MAX_IMAGE_PIXELS or math.inf) / 1e6
    limit = limit if max_megapixels is None else max_megapixels
    with reading(path):
        file = array_file(path)
        if file is not None:
            check_size(path, file.size, limit, file.shape[2])
            yield file
            return
        with opened(path) as picture:
            check_size(path, picture.size, limit)
            yield picture


def check_size(
    path: str | Path, size: tuple[int, int], max_megapixels: float, num_channels: int = 1
) -> None:
    """Raise UserError if a picture of this (width, height) is too large.

    Its channels count for more pixels where they are more than the four of a usual picture.
    """
    width, height = size
    if width * height * max(1, num_channels / 4) > max_megapixels * 1e6:
        many = f" of {num_channels} channels" if num_channels > 4 else ""
        raise UserError(
            f"{path}: {width}x{height} pixels{many} are more than --max_megapixels "
            f"{max_megapixels:g}; raise it if you trust the file",
            path,
        )


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Inside, a picture is read; any error becomes a UserError that names its file."""
    try:
        with quiet():
            yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such picture", path) from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read this picture", path) from None
    except Exception as error:  # decoders raise many types on damaged files
        raise unreadable(path, error) from error


def picture_size(path: str | Path) -> tuple[int, int]:
    """The (width, height) of the upright picture in pixels; reads only the header."""
    try:
        file = array_file(path)
        if file is not None:
            return file.size
        with opened(path) as picture:
            width, height = picture.size
            turned = orientation(picture, path) >= 5  # orientations 5 to 8 swap the sides
    except UserError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error
    return (height, width) if turned else (width, height)


def is_array(path: str | Path) -> bool:
    """Whether a file is read as an array, with values other than 8 bits; see `array_file`.

    A file whose ending tells that it has 8 bits is believed, and not opened.
    """
    try:
        return Path(path).suffix.lower() not in EIGHT_BITS and array_file(path) is not None
    except Exception as error:
        raise unreadable(path, error) from error


def kind_of(path: str | Path) -> str:
    """How a file holds values: their type, black and white, and its ending; '' if it is bad.

    Such as "uint16 0,4095 .tif", or with "?" where the file does not tell black and white.
    """
    try:
        file = array_file(path)
        if file is None:
            with opened(path):
                pass
    except Exception:  # reported when the picture is loaded
        return ""
    dtype, limits = (file.dtype.name, file.range) if file else ("uint8", BYTES)
    limits_text = f"{limits[0]:g},{limits[1]:g}" if limits else "?"
    return f"{dtype} {limits_text} {Path(path).suffix.lower()}"


def unreadable(path: str | Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: cannot be read as a picture ({first_line(error)}); repair or remove it", path
    )
