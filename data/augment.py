"""What --augment changes at random in training, so that a few pictures teach more.

Geometry and tones change both pictures of a pair alike, so that B stays what A should become. Flaws
change the input alone, and teach the generator to do its work on worse pictures too. All are drawn
from the generators of Python and PyTorch, which the loader seeds from (seed, epoch, index).
"""

from __future__ import annotations

import argparse
import cmath
import io
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from data.reading.picture import BYTES, Side
from data.transforms import Augment, Size, size_of, to_picture, to_pixels, to_unit
from util.errors import UserError, why_no_list

GEOMETRY = ("scale", "rotation", "shift")
TONES = ("exposure", "white_balance", "gamma")
FLAWS = ("noise", "blur", "jpeg")  # of the input alone
KINDS = (*GEOMETRY, *TONES, *FLAWS)
AUTO = (*GEOMETRY, *TONES)  # those that keep the task as it is

# Each is drawn evenly from -most to most.
MOST = {
    "scale": 0.3,  # octaves: things get 0.81 to 1.23 times as large
    "rotation": 10.0,  # degrees
    "shift": 0.05,  # of the width, and of the height
    "exposure": 0.5,  # stops: 0.71 to 1.41 times the light
    "white_balance": 0.2,  # stops, of red and of blue; green stays
    "gamma": 0.3,  # octaves: exponents from 0.81 to 1.23
}
DISPLAY_GAMMA = 2.2  # a display turns a value v in 0..1 into v ** 2.2 of its light

# Each flaw is in half of the inputs, from none to the most: those to come may have none.
MOST_NOISE = 0.02  # standard deviation, where 1 is white
MOST_BLUR_PX = 1.0  # standard deviation of the Gaussian
JPEG_QUALITY = (30, 95)

TILE_PX = 128  # side of the parts in which a picture is moved, so that each fits into a CPU's cache
REACH_PX = 3  # beyond its position, what a bicubic sample depends on


class Augmentation:
    """Draws the changes that --augment asks for.

    Pictures to be moved are kept twice as fine as the network sees them, if --preprocess scales
    them anyway: so things may get larger without a blur.

    Args:
        kinds: names from KINDS.
        scales: whether --preprocess scales pictures.
    """

    def __init__(self, kinds: Collection[str], scales: bool):
        self.kinds = frozenset(kinds)
        self.finer = 2 if scales and self.has(GEOMETRY) else 1

    def kept(self, seen: Size) -> Size:
        """The size in which a picture is kept that would be seen in this one."""
        return seen[0] * self.finer, seen[1] * self.finer

    def seen(self, kept: Size) -> Size:
        """The inverse of `kept`."""
        return kept[0] // self.finer, kept[1] // self.finer

    def has(self, kinds: Sequence[str]) -> bool:
        """Whether any of these kinds is asked for."""
        return not self.kinds.isdisjoint(kinds)

    def draw(self, window: Augment) -> Augment | Change:
        """What both pictures of a pair go through: a crop and flip and, if asked for, more."""
        if not self.kinds:
            return window

        def even(kind: str) -> float:
            # Drawn even if it is not used, so that a kind more changes nothing of the others.
            value = random.uniform(-MOST[kind], MOST[kind])
            return value if kind in self.kinds else 0.0

        view = View(
            2 ** even("scale"),
            math.radians(even("rotation")),
            (even("shift"), even("shift")),
            self.finer,
        )
        stops, red, blue = even("exposure"), even("white_balance"), even("white_balance")
        gains = [2 ** ((stops + more) / DISPLAY_GAMMA) for more in (red, 0.0, blue)]
        tones = Tones(gains, 2 ** even("gamma"))
        if not self.has(GEOMETRY + TONES):
            return window
        return Change(
            window, view if self.has(GEOMETRY) else None, tones if self.has(TONES) else None
        )

    def spoil(self, pixels: torch.Tensor) -> torch.Tensor:
        """The input of a pair with flaws, (C, H, W) float32 in 0..1; itself if none are asked for.

        Pictures of more than 8 bits lose the others in a JPEG, as they do elsewhere.
        """
        if not self.has(FLAWS):
            return pixels
        flaws = {kind for kind in FLAWS if random.random() < 0.5} & self.kinds
        blur_px, noise = random.uniform(0, MOST_BLUR_PX), random.uniform(0, MOST_NOISE)
        quality = random.randint(*JPEG_QUALITY)
        values = to_unit(pixels)
        if "blur" in flaws:
            values = blurred(values, blur_px)
        if "noise" in flaws:
            values = (values + noise * torch.randn(values.shape)).clamp_(0, 1)
        if "jpeg" in flaws:
            values = to_unit(as_jpeg(values, quality))
        return values


@dataclass(frozen=True)
class Change:
    """One draw for both pictures of a pair."""

    window: Augment
    view: View | None
    tones: Tones | None

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(C, H, W) float32 in 0..1 from a picture as it is kept, which is not written to."""
        if self.view is None:
            values = to_unit(self.window(pixels))
        else:
            values = Augment(flip=self.window.flip)(self.view(pixels, self.window))
        return values if self.tones is None else self.tones(values)


@dataclass(frozen=True)
class View:
    """A window that is turned, moved, and looked through from nearer or farther.

    Attributes:
        zoom: how many times larger things get.
        angle: by which they turn, in radians.
        shift: by which the window moves to the right and down, as shares of its sides.
        finer: how many pixels, along each side, of a picture as it is kept make one in the window.
    """

    zoom: float
    angle: float
    shift: tuple[float, float]
    finer: int

    def __call__(self, pixels: torch.Tensor, window: Augment) -> torch.Tensor:
        """What the window shows of a picture as it is kept, (C, height, width) float32 in 0..1.

        Outside the picture is its reflection.
        """
        width, height = (window.crop_size or side // self.finer for side in size_of(pixels))
        # Positions are complex numbers x + iy, so that a product turns and scales them.
        turn = cmath.rect(self.finer / self.zoom, self.angle)
        x, y = (0.5 + share for share in self.shift)
        middle = self.finer * complex(window.left + width * x, window.top + height * y)
        shown = torch.empty(len(pixels), height, width)
        for top in range(0, height, TILE_PX):
            for left in range(0, width, TILE_PX):
                tile = shown[:, top : top + TILE_PX, left : left + TILE_PX]
                corner = complex(left - width / 2, top - height / 2)
                tile.copy_(sampled(pixels, middle + turn * corner, turn, size_of(tile), self.finer))
        white = 1 if pixels.is_floating_point() else 255
        return shown.div_(white).clamp_(0, 1)  # bicubic interpolation overshoots at edges


def sampled(
    pixels: torch.Tensor, corner: complex, turn: complex, size: Size, finer: int
) -> torch.Tensor:
    """A rectangle out of a picture, interpolated once: (C, height, width) float32.

    Of a picture that is kept twice as fine, each value is the mean of four bilinear samples, so
    that no pixel is passed over; else it is one bicubic sample.

    Args:
        corner: where the upper left corner of the rectangle lies in the picture.
        turn: what a step of 1 to the right in the rectangle is in the picture.
        size: (width, height) of the rectangle.
    """
    width, height = size
    ends = [corner + turn * complex(x, y) for x in (0, width) for y in (0, height)]
    columns, rows = [end.real for end in ends], [end.imag for end in ends]
    full_width, full_height = size_of(pixels)
    left, right = needed(columns, full_width)
    top, bottom = needed(rows, full_height)
    part = pixels[None, :, top:bottom, left:right].float()
    inside = min(columns + rows) >= 0 and max(columns) <= full_width and max(rows) <= full_height
    # `grid_sample` counts from -1 to 1 over the part.
    across, down = 2 / (right - left), 2 / (bottom - top)
    grid = torch.arange(width) + 1j * torch.arange(height)[:, None]
    grid = grid * turn + (corner - complex(left, top))  # (height, width)
    torch.view_as_real(grid).mul_(torch.tensor([across, down])).sub_(1)
    total = torch.zeros(1, len(pixels), height, width)
    for x, y in product([(i + 0.5) / finer for i in range(finer)], repeat=2):
        step = turn * complex(x, y)
        total += functional.grid_sample(
            part,
            torch.view_as_real(grid + complex(step.real * across, step.imag * down))[None],
            "bicubic" if finer == 1 else "bilinear",
            "border" if inside else "reflection",  # the first is faster
            align_corners=False,
        )
    return total[0] / finer**2


def needed(at: Sequence[float], size: int) -> tuple[int, int]:
    """The pixels, from and up to, of 0..size that samples at these positions depend on.

    Positions outside are reflected at 0 and at `size`.
    """
    low, high = min(at), max(at)
    first = math.floor(min(low, 2 * size - high)) - REACH_PX
    last = math.ceil(max(high, -low)) + REACH_PX
    return max(0, first), min(size, last)


@dataclass(frozen=True)
class Tones:
    """A change of light, and then of contrast in the midtones; black stays black.

    Attributes:
        gains: by which the values of red, green and blue are multiplied; alike for grey.
        gamma: the exponent of the values.
    """

    gains: list[float]
    gamma: float

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """(C, H, W) float32 in 0..1, for C of 1 or 3; what gets brighter than white is clipped."""
        gains = torch.tensor(self.gains[: len(values)])[:, None, None]
        lit = (values * gains).clamp_(0, 1).numpy()
        # NumPy's power: the last bit of PyTorch's depends on the number of threads.
        return torch.from_numpy(np.power(lit, np.float32(self.gamma)))


def blurred(values: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Gaussian blur of (C, H, W)."""
    from scipy.ndimage import gaussian_filter  # slow to import and only needed here

    return torch.from_numpy(gaussian_filter(values.numpy(), (0, sigma_px, sigma_px)))


def as_jpeg(values: torch.Tensor, quality: int) -> torch.Tensor:
    """What is left of (C, H, W) in 0..1, RGB or grey, in a JPEG: uint8."""
    file = io.BytesIO()
    to_picture(values).save(file, "jpeg", quality=quality)
    with Image.open(file) as picture:
        return to_pixels(picture)


def choose(
    opt: argparse.Namespace, offered: Collection[str], sides: Sequence[Side]
) -> tuple[str, ...]:
    """The kinds that --augment asks for, in the order of KINDS; prints them if auto is among them.

    Args:
        offered: the kinds that the dataset applies.
        sides: what it asks of its pictures, the input first.

    Raises:
        UserError: a kind is unknown, or makes no sense for these pictures.
    """
    if opt.augment == "none":
        return ()
    if why := why_no_list(opt.augment, (*KINDS, "auto")):
        raise UserError(f"--augment: {why}")
    names = opt.augment.split(",")
    asked = [kind for kind in KINDS if kind in names or ("auto" in names and kind in AUTO)]
    unfit = {kind: why for kind in asked if (why := why_unfit(kind, opt, offered, sides))}
    chosen = tuple(kind for kind in asked if kind not in unfit)
    named = [kind for kind in unfit if kind in names]
    if named or not chosen:
        why = unfit[named[0]] if named else next(iter(unfit.values()))
        raise UserError(f"--augment {named[0] if named else 'auto'}: {why}; leave it out")
    if "auto" in names:
        rest = f"; without {', '.join(unfit)}: {next(iter(unfit.values()))}" if unfit else ""
        print(f"--augment {opt.augment}: {', '.join(chosen)}{rest}")
    return chosen


def why_unfit(
    kind: str, opt: argparse.Namespace, offered: Collection[str], sides: Sequence[Side]
) -> str:
    """Why a kind makes no sense for the pictures of these sides; '' if it does."""
    if not offered:
        return f"--dataset_mode {opt.dataset_mode} does not say that it can (BaseDataset.augments)"
    if kind not in offered:
        return f"it changes inputs alone, and --dataset_mode {opt.dataset_mode} has no such inputs"
    if kind in TONES:
        return next(filter(None, (why_no_light(kind, opt, side) for side in sides)), "")
    return why_no_jpeg(opt, sides[0]) if kind == "jpeg" else ""


def why_no_light(kind: str, opt: argparse.Namespace, side: Side) -> str:
    """Why a change of tones makes no sense for the pictures of a side; '' if it does."""
    if side.num_channels not in (1, 3):
        return f"{side.flag} {side.num_channels} is neither grey nor RGB"
    if kind == "white_balance" and side.num_channels == 1:
        return f"{side.flag} 1 has no colours"
    if side.range is not None and side.range[0] != 0:
        return f"--range_{side.name} {side.range} says that 0 is not black, so values are no light"
    if values_in(opt, side).startswith("float"):
        return f"the values of side {side.name} are {values_in(opt, side)}, which may be no light"
    return ""


def why_no_jpeg(opt: argparse.Namespace, side: Side) -> str:
    """Why the pictures of a side cannot become JPEGs; '' if they can."""
    if side.num_channels not in (1, 3):
        return f"{side.flag} {side.num_channels} is neither grey nor RGB"
    if side.range not in (None, BYTES) or values_in(opt, side) not in ("", "uint8"):
        return f"a JPEG has 8 bits, and the pictures of side {side.name} have more"
    return ""


def values_in(opt: argparse.Namespace, side: Side) -> str:
    """The type of the values in a side's files, such as uint8; '' if it is unknown."""
    return getattr(opt, f"files_{side.name}").partition(" ")[0]
