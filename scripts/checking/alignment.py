"""How far the two pictures of a pair are off each other: shift, rotation and scale.

Small windows of A are looked for in B by phase correlation (Kuglin and Hines, 1975), and the move
that most of them agree on is found as in RANSAC (Fischler and Bolles, 1981). So retouched places,
flat areas and other colours do no harm, and pictures that are not alike, such as a label map and a
façade, are told apart: few of their windows agree, and these do not correlate.

Places are complex numbers, right + down i, from the middle of the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

WINDOW_PX = 64
COARSE_PX = 256  # the search begins at the smallest size that is at least so large
BLUR_PX = 1.0  # of peaks: high frequencies have more noise than picture
FLAT = 1.5  # levels of 255: a window that varies less has nothing to hold on to
CLEAR = 0.2  # of the peak of two equal windows
NEAR_PX = 0.6  # a window agrees with a move that is so near
AGREE, FEWEST = 0.25, 6  # so large a share of the windows agrees, and at least so many
ALIKE = 0.7  # so well windows correlate, once B is moved back
TRIALS = 300
MOST = 0.15  # by which a place may move, of its distance from the middle: 8 degrees, or 1.15 times


class Move(NamedTuple):
    """Where B shows what A shows, in pixels of A.

    Attributes:
        right, down: the shift of the middle.
        turn: in degrees, clockwise.
        scale: above 1 if B shows it larger.
        mean: how far all places are off, on average.
        larger: how much larger A is than what was measured.
    """

    right: float
    down: float
    turn: float
    scale: float
    mean: float
    larger: float = 1.0

    def enlarged(self, times: float) -> Move:
        """The same move of a picture that is so much larger."""
        right, down, mean = (times * length for length in (self.right, self.down, self.mean))
        return Move(right, down, self.turn, self.scale, mean, times * self.larger)

    def __str__(self) -> str:
        """'3.5 px right, 1.0 px up, turned 0.50 degrees, scaled 1.010'."""
        words = [
            f"{abs(way):.1f} px {names[way < 0]}"
            for way, names in ((self.right, ("right", "left")), (self.down, ("down", "up")))
            if abs(way) >= 0.05
        ]
        if abs(self.turn) >= 0.03:  # less is not measured
            words.append(f"turned {self.turn:+.2f} degrees")
        if abs(self.scale - 1) >= 0.0005:
            words.append(f"scaled {self.scale:.3f}")
        return ", ".join(words) or "0.0 px"


class Fit(NamedTuple):
    """A move z -> turn * z + shift; which share of the windows agrees; how well they correlate."""

    turn: complex = 1 + 0j
    shift: complex = 0j
    share: float = 0.0
    likeness: float = 0.0


class Seen(NamedTuple):
    """What windows show: N were tried, and M of these are clear.

    Attributes:
        number: N.
        places: their middles, (M,).
        moves: how far B is off there, (M,).
        likeness: the median of their correlation coefficients, of all N.
    """

    number: int
    places: np.ndarray
    moves: np.ndarray
    likeness: float


def find_move(a: np.ndarray, b: np.ndarray) -> Move | None:
    """Where B shows what A shows; None where they are not alike, or too small to tell.

    Finds shifts of up to about a quarter of the picture, turns of up to 5 degrees, and scales of
    up to 1.1.

    Args: a, b: luma (H, W) of the same size, in levels of 255.
    """
    levels = [(a, b)]
    while min(levels[-1][0].shape) >= 2 * COARSE_PX:
        levels.append((halved(levels[-1][0]), halved(levels[-1][1])))
    if min(a.shape) < 2 * WINDOW_PX:
        return None
    small_a, small_b = levels.pop()
    whole, _ = peaks(small_a[None], small_b[None], taper(*small_a.shape))
    tried = (improved(small_a, small_b, Fit(shift=start)) for start in (0j, complex(whole[0])))
    found = max(tried, key=lambda fit: fit.share)
    for larger_a, larger_b in reversed(levels):
        found = improved(larger_a, larger_b, found._replace(shift=2 * found.shift))
    if found.share < AGREE or found.likeness < ALIKE:
        return None
    height, width = a.shape
    x, y = (np.linspace(-n / 2, n / 2, 9) for n in (width, height))
    off = (found.turn - 1) * (x + 1j * y[:, None]) + found.shift
    turn = float(np.degrees(np.angle(found.turn)))
    shift = complex(found.shift)
    return Move(shift.real, shift.imag, turn, float(abs(found.turn)), float(np.abs(off).mean()))


def improved(a: np.ndarray, b: np.ndarray, fit: Fit) -> Fit:
    """A fit made exact by two looks: the second sees B moved back by what the first has found."""
    for _ in range(2):
        more = agreed(look(a, moved_back(b, fit), fit))
        turn, shift = fit.turn * more.turn, fit.turn * more.shift + fit.shift
        fit = more._replace(turn=turn, shift=shift)
    return fit


def moved_back(b: np.ndarray, fit: Fit) -> np.ndarray:
    """B with its places where A has them, if the fit is right."""
    height, width = b.shape
    middle = complex(width, height) / 2
    start = fit.shift + middle - fit.turn * middle
    (c, s), (x, y) = (fit.turn.real, fit.turn.imag), (start.real, start.imag)
    rows = (c, -s, x, s, c, y)
    image = Image.fromarray(b)
    return np.asarray(
        image.transform(image.size, Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC)
    )


def look(a: np.ndarray, b: np.ndarray, fit: Fit) -> Seen:
    """Try the windows that are not flat, and were inside of B before it was moved back."""
    height, width = a.shape
    step = max(WINDOW_PX // 2, min(height, width) // 16)
    y, x = (np.arange(0, n - WINDOW_PX + 1, step) for n in (height, width))
    x, y = (grid.ravel() for grid in np.meshgrid(x, y))
    middles = x + 1j * y + (1 + 1j) / 2 * WINDOW_PX - complex(width, height) / 2
    inside = np.ones(len(x), bool)
    for corner in (-1 - 1j, -1 + 1j, 1 - 1j, 1 + 1j):
        at = fit.turn * (middles + corner / 2 * WINDOW_PX) + fit.shift
        inside &= (np.abs(at.real) <= width / 2) & (np.abs(at.imag) <= height / 2)
    shape = (WINDOW_PX, WINDOW_PX)
    views = (np.lib.stride_tricks.sliding_window_view(picture, shape) for picture in (a, b))
    of_a, of_b = (view[y[inside], x[inside]] for view in views)
    tried = of_a.std((1, 2)) > FLAT
    if not tried.any():
        return Seen(0, middles[:0], middles[:0], 0.0)
    of_a, of_b, middles = of_a[tried], of_b[tried], middles[inside][tried]
    moves, heights = peaks(of_a, of_b, taper(*shape))
    clear = heights > CLEAR
    one, other = ((p - p.mean((1, 2), keepdims=True)) for p in (of_a, of_b))
    norms = np.sqrt((one**2).sum((1, 2)) * (other**2).sum((1, 2)))
    likeness = np.median((one * other).sum((1, 2)) / np.maximum(norms, 1e-6))
    return Seen(len(moves), middles[clear], moves[clear], float(likeness))


def agreed(seen: Seen) -> Fit:
    """What most of the clear windows agree on."""
    places, moves = seen.places, seen.moves
    if len(places) < FEWEST:
        return Fit()
    one, other = np.random.default_rng(0).integers(len(places), size=(2, TRIALS))
    apart = np.abs(places[one] - places[other]) > WINDOW_PX
    one, other = one[apart], other[apart]
    slopes = (moves[one] - moves[other]) / (places[one] - places[other])
    starts = moves[one] - slopes * places[one]
    kept = np.abs(slopes) < MOST
    # A plain shift is tried too: it needs one window alone.
    slopes = np.concatenate([slopes[kept], np.zeros(len(moves))])
    starts = np.concatenate([starts[kept], moves])
    agree = np.abs(slopes[:, None] * places + starts[:, None] - moves) < NEAR_PX
    near = agree[agree.sum(1).argmax()]
    slope, start = 0j, 0j
    for _ in range(3):  # least squares, of those that agree
        if near.sum() < FEWEST:
            return Fit()
        at, by = places[near].mean(), moves[near].mean()
        offsets = places[near] - at
        slope = (offsets.conj() * (moves[near] - by)).sum() / (np.abs(offsets) ** 2).sum()
        start = by - slope * at
        near = np.abs(slope * places + start - moves) < NEAR_PX
    return Fit(1 + slope, start, near.sum() / seen.number, seen.likeness)


def peaks(a: np.ndarray, b: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each of (N, H, W) in B is off that in A, and how clear that is: 1 where equal.

    A Gaussian low-pass makes peaks Gaussians, whose middle between pixels three values tell.
    """
    height, width = a.shape[1:]
    low = low_pass(height, width)
    one, other = (np.fft.rfft2((p - weighted_mean(p, window)) * window) for p in (a, b))
    cross = one.conj() * other
    found = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9) * low, (height, width))
    y, x = np.divmod(found.reshape(len(found), -1).argmax(1), width)
    n = np.arange(len(found))
    right = x + between(found[n, y, x - 1], found[n, y, x], found[n, y, (x + 1) % width])
    down = y + between(found[n, y - 1, x], found[n, y, x], found[n, (y + 1) % height, x])
    # The half of the places that are beyond the middle are negative.
    right, down = ((at + n / 2) % n - n / 2 for at, n in ((right, width), (down, height)))
    return right + 1j * down, found[n, y, x] / np.fft.irfft2(low, (height, width))[0, 0]


def between(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where a Gaussian through three neighbours has its middle, -0.5 to 0.5 from the second."""
    x, y, z = (np.log(np.maximum(values, 1e-6)) for values in (before, peak, after))
    curve = np.minimum(x - 2 * y + z, -1e-6)
    return ((x - z) / (2 * curve)).clip(-0.5, 0.5)


def weighted_mean(pictures: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (pictures * weights).sum((1, 2), keepdims=True) / weights.sum()


def low_pass(height: int, width: int) -> np.ndarray:
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    return np.exp(-2 * (np.pi * BLUR_PX) ** 2 * (x**2 + y**2)).astype(np.float32)


def taper(height: int, width: int) -> np.ndarray:
    """A Hann window: the edges, which B shows other parts of the picture at, count less."""
    return np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)


def halved(picture: np.ndarray) -> np.ndarray:
    height, width = (n // 2 for n in picture.shape)
    blocks = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return blocks.mean((1, 3))
