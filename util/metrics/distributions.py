"""How alike two sets of pictures are, where no picture of one belongs to one of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

SMALLEST_PX = 16  # of a level of a pyramid
PATCH_PX, NUM_PATCHES = 7, 128
NUM_DIRECTIONS, NUM_REPEATS = 128, 4
ROUNDING = 1e-6  # no picture of 8 or 16 bits in [-1, 1] has smaller differences than 3e-5


def patches(picture: torch.Tensor, key: int) -> list[np.ndarray]:
    """What `sliced_wasserstein` compares of a picture: patches of each level of its pyramid.

    Level 0 is the picture; each further level is half as large, down to sides of 16 px. A
    picture with a side below that has no levels.

    Args:
        picture: (C, H, W) in [-1, 1].
        key: decides the positions; the number of the picture, for instance.
    Returns: by level, (2, 128, C, 7, 7) float32: patches of the Laplacian pyramid, which holds what
        the next level lacks, and of the Gaussian one at the same positions. The last level in use
        counts as a whole, and only the other pictures tell which that is.
    """
    random = np.random.default_rng(key)
    level, found = picture.detach().float().cpu().numpy(), []
    while min(level.shape[1:]) >= SMALLEST_PX:
        smaller = _blurred(level)[:, ::2, ::2]
        enlarged = np.zeros_like(level)
        enlarged[:, ::2, ::2] = 4 * smaller  # the blur spreads each pixel over four
        both = np.stack([level - _blurred(enlarged), level])  # (2, C, H, W)
        windows = np.lib.stride_tricks.sliding_window_view(both, (PATCH_PX, PATCH_PX), axis=(2, 3))
        places = random.random((2, NUM_PATCHES)) * np.array(windows.shape[2:4])[:, None]
        y, x = places.astype(int)
        found.append(np.moveaxis(windows[:, :, y, x], 2, 1).copy())  # (2, 128, C, 7, 7)
        level = smaller
    return found


def _blurred(planes: np.ndarray) -> np.ndarray:
    """(C, H, W), filtered with the 5x5 binomial kernel, mirrored at the edges."""
    from scipy.ndimage import convolve1d  # slow to import and only needed here

    kernel = np.array([1, 4, 6, 4, 1], np.float32) / 16
    for axis in (1, 2):
        planes = convolve1d(planes, kernel, axis, mode="mirror")
    return planes


def sliced_wasserstein(
    of_results: Sequence[list[np.ndarray]], of_targets: Sequence[list[np.ndarray]], seed: int = 0
) -> float:
    """Sliced Wasserstein distance (SWD) of two sets of pictures, times 1000; 0 for equal sets.

    At each level, the patches of a set are points in C * 49 dimensions. They are projected on
    random directions; of each, the distance is the mean difference of the sorted projections. The
    result is the mean over the directions and over the levels that all pictures have. It depends
    on the number of pictures, so only compare figures of equally many.

    As published, each set is normalised by itself: its channels have mean 0 and standard deviation
    1. A cast of colour or a lack of contrast that all pictures share therefore does not count.

    Args:
        of_results, of_targets: `patches` of each picture, with equally many channels; the sets may
            have unlike sizes.
        seed: decides the directions.
    Returns: NaN if a set is empty, or a picture has no levels.
    Source: arXiv:1710.10196, section 5.
    """
    of_all = [*of_results, *of_targets]
    num_levels = min(map(len, of_all)) if of_results and of_targets else 0
    if not num_levels:
        return math.nan
    random = np.random.default_rng(seed)
    distances = []
    for level in range(num_levels):
        gaussian = int(level == num_levels - 1)
        a, b = (
            _normalised(np.concatenate([of_one[level][gaussian] for of_one in of_set]))
            for of_set in (of_results, of_targets)
        )
        for _ in range(NUM_REPEATS):
            directions = random.standard_normal((a.shape[1], NUM_DIRECTIONS)).astype(np.float32)
            directions /= np.linalg.norm(directions, axis=0)
            distances.append(_wasserstein(a @ directions, b @ directions))
    return 1000 * float(np.mean(distances))


def _normalised(points: np.ndarray) -> np.ndarray:
    """(N, C * 49) from (N, C, 7, 7), with mean 0 and standard deviation 1 of each channel."""
    mean, deviation = (
        f(points, axis=(0, 2, 3), keepdims=True, dtype=np.float64) for f in (np.mean, np.std)
    )
    points = (points - mean) / np.maximum(deviation, ROUNDING)  # a flat channel stays flat
    return points.reshape(len(points), -1).astype(np.float32)


def _wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over columns of the distance of the values in (N, K) from those in (M, K)."""
    num = max(len(a), len(b))
    quantiles = (np.arange(num) + 0.5) / num
    a, b = (np.sort(v, axis=0)[(quantiles * len(v)).astype(int)] for v in (a, b))
    return float(np.mean(np.abs(a - b), dtype=np.float64))


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Kernel Inception distance (KID) of two sets of pictures; about 0 if they are alike.

    It is the squared maximum mean discrepancy with the kernel k(x, y) = (x . y / D + 1)^3. The
    estimate is unbiased, so it can be slightly negative, and does not depend on the numbers of
    pictures but for its noise.

    Args: the features of the pictures of each set, (N, D) and (M, D).
    Returns: NaN if a set has fewer than two pictures.
    Source: arXiv:1801.01401, section 4.
    """
    a, b = (np.asarray(features, np.float64) for features in (features_a, features_b))
    if min(len(a), len(b)) < 2:
        return math.nan

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        values = kernel(x, x)
        return (values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())
