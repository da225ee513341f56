"""Colour profiles (ICC.1:2022): from the colours that a picture's profile describes to sRGB.

With 8 bits, LittleCMS converts, through Pillow, which has no more than 8 bits. Deeper pictures are
converted here in float64, if their profile is a matrix and three curves, as usual for RGB.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageCms

from data.reading import notes

MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}  # by the profile's colour space
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
TABLE = 65536  # entries of a curve
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RELATIVE = ImageCms.Intent.RELATIVE_COLORIMETRIC
STEPS = np.linspace(0, 1, 17)
GRID = np.array(list(product(STEPS, repeat=3)))  # (17 * 17 * 17, 3)


def to_srgb(image: Image.Image, profile: bytes, path: object) -> Image.Image:
    """A picture of 8 bits in the colours of sRGB: RGB, or as it is where the profile is sRGB.

    A profile that cannot be used changes nothing, and is told of.
    """
    convert = converter(profile, image.mode)
    if isinstance(convert, str):
        ignore(profile, path, convert)
        return image
    if convert is None:
        return image
    return ImageCms.applyTransform(image, convert) or image  # None only if converted in place


@cache
def converter(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | str | None:
    """The transform for pictures of this mode; None for sRGB, or why the profile is unusable."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if MODES.get(space) != mode:
            kind = {"L": "grey"}.get(mode, mode)
            return f"it describes {space.strip()} colours, and the picture is {kind}"
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB", RELATIVE, FLAGS)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return str(error) or type(error).__name__
    if mode in ("RGB", "L"):
        grid = np.rint(255 * (GRID if mode == "RGB" else np.linspace(0, 1, 256)[:, None]))
        grid = grid.astype(np.uint8)
        image = Image.fromarray(grid[None].squeeze(-1) if mode == "L" else grid[None])
        moved = np.asarray(ImageCms.applyTransform(image, transform))[0].astype(int) - grid
        if np.abs(moved).max() <= 1:
            return None
    return transform


def deep_to_srgb(values: np.ndarray, profile: bytes, path: object) -> np.ndarray:
    """Colours of more than 8 bits, (H, W, 3) or (H, W, 1) in 0..1, in sRGB."""
    convert = deep_converter(profile, values.shape[2])
    if isinstance(convert, str):
        ignore(profile, path, convert)
        return values
    return values if convert is None else convert(values)


@cache
def deep_converter(
    profile: bytes, num_channels: int
) -> Callable[[np.ndarray], np.ndarray] | str | None:
    """A function of colours (..., 3) in 0..1; None for sRGB, or why the profile is unusable."""
    try:
        space = matrix_space(profile)
        srgb = matrix_space(SRGB)
    except NotMatrixAndCurves as error:
        return str(error)
    except (ValueError, struct.error, LookupError, ArithmeticError):
        return "it is damaged"
    if num_channels != 3:
        return "it describes RGB colours, and the picture is grey"

    def convert(values: np.ndarray) -> np.ndarray:
        channels = np.moveaxis(values.astype(np.float64), -1, 0)
        linear = np.stack([curve(c) for curve, c in zip(space.curves, channels, strict=True)], -1)
        linear = linear @ (np.linalg.inv(srgb.matrix) @ space.matrix).T
        return encode(((linear - black) / (1 - black)).clip(0, 1))

    with np.errstate(all="ignore"):
        black = black_of(space)
        moved = np.abs(convert(GRID) - GRID).max()
    if not np.isfinite(moved):
        return "its curves are not finite"
    return None if moved <= 1 / 255 else convert


class NotMatrixAndCurves(ValueError):
    """A profile of another kind."""


class MatrixSpace(NamedTuple):
    """A profile of three curves to linear light, and a matrix (3, 3) from it to CIE XYZ (D50)."""

    curves: list[Callable[[np.ndarray], np.ndarray]]
    matrix: np.ndarray


def matrix_space(profile: bytes) -> MatrixSpace:
    """Read a profile of a matrix and three curves.

    Raises NotMatrixAndCurves for any other, and several types for a damaged one.
    """
    number = struct.unpack(">I", profile[128:132])[0]
    entries = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * number])
    tags = {name.decode("latin-1"): profile[at : at + size] for name, at, size in entries}
    if profile[16:20] != b"RGB " or "A2B0" in tags or "A2B1" in tags or "rXYZ" not in tags:
        raise NotMatrixAndCurves(
            "with more than 8 bits, only RGB profiles of matrix and curves are read"
        )
    columns = [struct.unpack(">3i", tags[f"{c}XYZ"][8:20]) for c in "rgb"]
    return MatrixSpace([curve_of(tags[f"{c}TRC"]) for c in "rgb"], np.array(columns).T / 65536)


def curve_of(tag: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a curveType (section 10.6) or parametricCurveType (10.18) tag."""
    if tag[:4] == b"curv":
        number = struct.unpack(">I", tag[8:12])[0]
        table = np.frombuffer(tag, ">u2", number, 12).astype(np.float64)
        if number < 2:
            gamma = table[0] / 256 if number else 1.0
            return lambda x: x**gamma
        places = np.linspace(0, 1, number)
        return lambda x: np.interp(x, places, table / 65535)
    if tag[:4] != b"para":
        raise ValueError(f"its curves are of an unknown type {tag[:4]!r}")
    kind = struct.unpack(">H", tag[8:10])[0]
    number = (1, 3, 4, 5, 7)[kind]
    g, *rest = (n / 65536 for n in struct.unpack(f">{number}i", tag[12 : 12 + 4 * number]))
    # The kinds are special cases of Y = (a X + b)^g + e for X >= d, else c X + f.
    a, b, c, d, e, f = {
        0: lambda: (1, 0, 0, 0, 0, 0),
        1: lambda: (*rest, 0, -rest[1] / rest[0], 0, 0),
        2: lambda: (*rest[:2], 0, -rest[1] / rest[0], rest[2], rest[2]),
        3: lambda: (*rest, 0, 0),
        4: lambda: rest,
    }[kind]()
    return lambda x: np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)


def from_srgb(
    profile: bytes, num_channels: int, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray] | None:
    """The inverse of what the colours of a picture with this profile go through when it is read.

    A function from sRGB to its own colours, both (N, num_channels) in 0..1; None where they stay as
    they are.
    """
    if not profile or num_channels not in (1, 3):
        return None
    if dtype != np.uint8:
        deep = deep_converter(profile, num_channels)
        return to_matrix_space(matrix_space(profile)) if callable(deep) else None
    mode = "L" if num_channels == 1 else "RGB"
    forth = converter(profile, mode)
    if forth is None or isinstance(forth, str):
        return None
    try:
        return to_matrix_space(matrix_space(profile))
    except (ValueError, struct.error, LookupError, ArithmeticError):
        return through_bytes(profile, mode)


def to_matrix_space(space: MatrixSpace) -> Callable[[np.ndarray], np.ndarray]:
    """From sRGB in 0..1, with the black point that `deep_converter` takes away.

    Through the linear light of both: sRGB's curve has a formula, and the profile's is looked up
    in a table by light as sRGB encodes it, since curves are alike, and even steps of light would
    be too coarse near black. Exact to 1/65535.
    """
    black, steps = black_of(space), np.linspace(0, 1, TABLE)
    light = decode(steps)
    tables = []
    for curve in space.curves:
        of_steps = np.maximum.accumulate(curve(steps))
        tables.append(np.interp(light, of_steps, steps).astype(np.float32))
    to_space = np.linalg.inv(space.matrix) @ matrix_space(SRGB).matrix
    matrix = torch.from_numpy(to_space.T.astype(np.float32))

    def convert(values: np.ndarray) -> np.ndarray:
        # torch computes powers several times faster than NumPy.
        encoded = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        linear = torch.where(
            encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
        )
        linear = ((linear * (1 - black) + black) @ matrix).clamp_(0, 1)
        encoded = torch.where(
            linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
        )
        places = (encoded * (TABLE - 1)).round_().long().numpy()
        return np.stack([table[places[:, i]] for i, table in enumerate(tables)], -1)

    return convert


def through_bytes(profile: bytes, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """From sRGB in 0..1 by LittleCMS, in 255 steps, for profiles that are no matrix and curves."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(srgb, target, "RGB", mode, RELATIVE, FLAGS)

    def convert(values: np.ndarray) -> np.ndarray:
        rgb = np.broadcast_to(255 * values[None], (1, len(values), 3))
        image = Image.fromarray(np.rint(rgb).astype(np.uint8))
        moved = np.asarray(ImageCms.applyTransform(image, transform))[0] / 255
        return moved.reshape(len(values), -1)

    return convert


def black_of(space: MatrixSpace) -> float:
    """What black point compensation takes away, as LittleCMS does it.

    The luminance Y of black, at most half way to white in L of CIE Lab, becomes 0.
    """
    black = space.matrix[1] @ np.array([curve(np.zeros(())) for curve in space.curves])
    return min(max(float(black), 0.0), ((50 + 16) / 116) ** 3)


def decode(values: np.ndarray) -> np.ndarray:
    """The inverse of `encode`."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light in 0..1 by the transfer function of sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def ignore(profile: bytes, path: object, why: str) -> None:
    digest = hashlib.sha256(profile).hexdigest()
    notes.noticed.say(digest, f"{path}: its colour profile is not used: {why}")
