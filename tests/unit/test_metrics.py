"""L1, PSNR and SSIM as numbers, each worked out here from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from util.show.metrics import image_metrics


def noisy(seed: int, height: int, width: int, level: float, spread: float) -> np.ndarray:
    """(height, width, 3) uint8, other values in each channel."""
    random = np.random.default_rng(seed)
    values = random.normal([level - 20, level, level + 20], spread, (height, width, 3))
    return values.round().clip(0, 255).astype(np.uint8)


def ssim_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13, with sample variances, over all 7x7 windows of each channel."""
    x, y = (sliding_window_view(p.astype(float), (7, 7), axis=(0, 1)) for p in (x, y))
    x, y = (p.reshape(*p.shape[:3], 49) for p in (x, y))  # (H - 6, W - 6, C, 49)
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    var_x, var_y = x.var(-1, ddof=1), y.var(-1, ddof=1)
    covariance = ((x - mean_x[..., None]) * (y - mean_y[..., None])).sum(-1) / 48
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return float((luminance * structure).mean())


@pytest.mark.parametrize("height, width", [(7, 7), (12, 9)])
@pytest.mark.parametrize("level, spread", [(100, 4), (128, 40), (30, 2)])
def test_ssim_is_that_of_the_paper(level, spread, height, width):
    """Of faint pictures too, in which its constants count most."""
    x, y = noisy(1, height, width, level, spread), noisy(2, height, width, level, spread)
    y = ((x.astype(int) + y) // 2).astype(np.uint8)  # partly alike
    assert 0.05 < ssim_by_hand(x, y) < 0.98
    assert image_metrics(x, y)["SSIM"] == pytest.approx(ssim_by_hand(x, y), abs=1e-4)


def test_ssim_of_flat_pictures():
    """Without variance its first factor is left: (2 * 10 * 30 + c1) / (10^2 + 30^2 + c1)."""
    x, y = (np.full((8, 8, 3), level, np.uint8) for level in (10, 30))
    assert image_metrics(x, y)["SSIM"] == pytest.approx(606.5025 / 1006.5025, abs=1e-5)


def test_l1_and_psnr_count_up_and_down_alike():
    """A quarter of the values 40 above the target, a quarter 20 below, half of them equal."""
    target = np.full((4, 8, 3), 128, np.uint8)
    result = target.copy()
    result[0], result[1] = 168, 108
    metrics = image_metrics(result, target)
    assert metrics["L1"] == 40 / 4 + 20 / 4
    assert metrics["PSNR"] == pytest.approx(10 * math.log10(255**2 / (40**2 / 4 + 20**2 / 4)))


def test_the_largest_difference():
    black, white = (np.full((7, 7, 3), level, np.uint8) for level in (0, 255))
    metrics = image_metrics(black, white)
    assert (metrics["L1"], metrics["PSNR"]) == (255, 0)
    assert metrics["SSIM"] == pytest.approx(1e-4, rel=0.01)  # c1 / (255^2 + c1)


def test_equal_pictures():
    picture = noisy(3, 9, 9, 100, 10)
    assert image_metrics(picture, picture.copy()) == {"L1": 0, "PSNR": math.inf, "SSIM": 1}


@pytest.mark.parametrize(
    "height, width, measurable", [(6, 20, False), (20, 6, False), (7, 7, True)]
)
def test_a_picture_smaller_than_a_window_has_no_ssim(height, width, measurable):
    x, y = noisy(1, height, width, 100, 10), noisy(2, height, width, 100, 10)
    metrics = image_metrics(x, y)
    assert math.isfinite(metrics["SSIM"]) == measurable
    assert metrics["L1"] == pytest.approx(np.abs(x.astype(int) - y).mean())
