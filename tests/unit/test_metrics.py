"""L1, PSNR and SSIM as numbers, each worked out here from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import structural_similarity

from util.metrics.pixels import image_metrics, luma_ssim


def noisy(seed: int, height: int, width: int, level: float, spread: float) -> np.ndarray:
    """(height, width, 3) uint8, other values in each channel."""
    random = np.random.default_rng(seed)
    values = random.normal([level - 20, level, level + 20], spread, (height, width, 3))
    return values.round().clip(0, 255).astype(np.uint8)


def ssim_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13-16, over all 11x11 windows of each channel."""
    distance = np.arange(11) - 5
    weights = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2)).ravel()
    weights /= weights.sum()
    x, y = (sliding_window_view(p.astype(float), (11, 11), axis=(0, 1)) for p in (x, y))
    x, y = (p.reshape(*p.shape[:3], 121) for p in (x, y))  # (H - 10, W - 10, C, 121)
    mean_x, mean_y = (x @ weights)[..., None], (y @ weights)[..., None]
    var_x, var_y = (x - mean_x) ** 2 @ weights, (y - mean_y) ** 2 @ weights
    covariance = (x - mean_x) * (y - mean_y) @ weights
    mean_x, mean_y = mean_x[..., 0], mean_y[..., 0]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return float((luminance * structure).mean())


def ssim_of_scikit_image(x: np.ndarray, y: np.ndarray, data_range: float = 255) -> float:
    return structural_similarity(
        x.astype(float),
        y.astype(float),
        channel_axis=2,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize("height, width", [(11, 11), (16, 13)])
@pytest.mark.parametrize("level, spread", [(100, 4), (128, 40), (30, 2), (240, 2)])
def test_ssim_is_that_of_the_paper(level, spread, height, width):
    """Of faint pictures too, in which its constants count most."""
    x, y = noisy(1, height, width, level, spread), noisy(2, height, width, level, spread)
    y = ((x.astype(int) + y) // 2).astype(np.uint8)  # partly alike
    assert 0.05 < ssim_by_hand(x, y) < 0.995
    assert image_metrics(x, y)["SSIM"] == pytest.approx(ssim_by_hand(x, y), abs=1e-4)
    assert image_metrics(x, y)["SSIM"] == pytest.approx(ssim_of_scikit_image(x, y), abs=1e-4)


def test_ssim_of_16_bits():
    """Float32 has digits enough for them."""
    x, y = (noisy(n, 20, 20, 200, 5).astype(np.uint16) * 257 for n in (1, 2))
    found = image_metrics(x, y, data_range=65535)["SSIM"]
    assert found == pytest.approx(ssim_of_scikit_image(x, y, 65535), abs=1e-4)


def test_ssim_of_flat_pictures():
    """Without variance its first factor is left: (2 * 10 * 30 + c1) / (10^2 + 30^2 + c1)."""
    x, y = (np.full((12, 12, 3), level, np.uint8) for level in (10, 30))
    assert image_metrics(x, y)["SSIM"] == pytest.approx(606.5025 / 1006.5025, abs=1e-4)


def test_the_ssim_of_luma_is_that_of_weighted_channels():
    """The shares of BT.601, of pictures of both kinds."""
    x, y = noisy(1, 16, 13, 100, 20), noisy(2, 16, 13, 100, 20)
    y = ((x.astype(int) + y) // 2).astype(np.uint8)
    luma_x, luma_y = (
        (0.299 * p[..., 0] + 0.587 * p[..., 1] + 0.114 * p[..., 2])[..., None] for p in (x, y)
    )
    wanted = ssim_of_scikit_image(luma_x, luma_y)
    assert luma_ssim(x, y) == pytest.approx(wanted, abs=1e-4)
    grey = luma_y.round().astype(np.uint8)
    wanted = ssim_of_scikit_image(luma_x, grey)
    assert luma_ssim(x, grey) == pytest.approx(wanted, abs=1e-4)
    assert luma_ssim(grey, x) == pytest.approx(wanted, abs=1e-4)
    assert math.isnan(luma_ssim(x[:10], y[:10]))


def test_l1_and_psnr_count_up_and_down_alike():
    """A quarter of the values 40 above the target, a quarter 20 below, half of them equal."""
    target = np.full((4, 8, 3), 128, np.uint8)
    result = target.copy()
    result[0], result[1] = 168, 108
    metrics = image_metrics(result, target)
    assert metrics["L1"] == 40 / 4 + 20 / 4
    assert metrics["PSNR"] == pytest.approx(10 * math.log10(255**2 / (40**2 / 4 + 20**2 / 4)))


def test_the_largest_difference():
    black, white = (np.full((11, 11, 3), level, np.uint8) for level in (0, 255))
    metrics = image_metrics(black, white)
    assert (metrics["L1"], metrics["PSNR"]) == (255, 0)
    assert metrics["SSIM"] == pytest.approx(1e-4, rel=0.01)  # c1 / (255^2 + c1)


def test_equal_pictures():
    picture = noisy(3, 12, 12, 100, 10)
    assert image_metrics(picture, picture.copy()) == {"L1": 0, "PSNR": math.inf, "SSIM": 1}


@pytest.mark.parametrize(
    "height, width, measurable", [(10, 20, False), (20, 10, False), (11, 11, True)]
)
def test_a_picture_smaller_than_a_window_has_no_ssim(height, width, measurable):
    x, y = noisy(1, height, width, 100, 10), noisy(2, height, width, 100, 10)
    metrics = image_metrics(x, y)
    assert math.isfinite(metrics["SSIM"]) == measurable
    assert metrics["L1"] == pytest.approx(np.abs(x.astype(int) - y).mean())
