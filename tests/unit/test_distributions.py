"""The distances of two sets of pictures, against plain computations and what they must tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from util.metrics.distributions import kernel_distance, patches, sliced_wasserstein


def pictures(seed: int, num: int = 6, side: int = 32, channels: int = 3) -> list[torch.Tensor]:
    """Blobs with some texture, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(num, channels, 4, 4, generator=generator)
    fine = torch.rand(num, channels, side, side, generator=generator)
    blobs = F.interpolate(coarse, size=(side, side), mode="bicubic")
    return list((blobs + 0.2 * fine - 0.6).clamp(-1, 1))


def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return sliced_wasserstein(*([patches(p, key) for key, p in enumerate(of)] for of in (a, b)))


def changed(amount: float, how: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    if how == "noise":
        return [p + amount * torch.randn(p.shape, generator=generator) for p in pictures(1)]
    return [p + amount * (F.avg_pool2d(p[None], 5, 1, 2)[0] - p) for p in pictures(1)]


# --- The pyramid and its patches ------------------------------------------------------------------


def pyramids(picture: torch.Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The Laplacian and the Gaussian pyramid, by the convolution of a picture with 25 weights."""
    row = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    kernel = torch.outer(row, row)[None, None]

    def blurred(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel)

    x, laplacian, gaussian = picture[:, None], [], []
    while min(x.shape[2:]) >= 16:
        smaller = blurred(x)[..., ::2, ::2]
        enlarged = torch.zeros_like(x)
        enlarged[..., ::2, ::2] = smaller
        laplacian.append((x - 4 * blurred(enlarged))[:, 0].numpy())
        gaussian.append(x[:, 0].numpy())
        x = smaller
    return laplacian, gaussian


@pytest.mark.parametrize(
    "height, width, sides", [(32, 48, (32, 16)), (16, 31, (16,)), (65, 97, (65, 33, 17))]
)
def test_each_level_gives_patches_of_both_pyramids_at_the_same_places(height, width, sides):
    picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = patches(picture, 5)
    laplacian, gaussian = pyramids(picture)
    assert [level.shape for level in found] == [(2, 128, 3, 7, 7)] * len(sides)
    assert [level.shape[1] for level in gaussian] == list(sides)
    for level, band, whole in zip(found, laplacian, gaussian, strict=True):
        places = set()
        for of_band, of_whole in zip(*level, strict=True):
            inside = np.abs(whole[:, :-6, :-6] - of_whole[:, :1, :1]).max(0)
            y, x = np.unravel_index(inside.argmin(), inside.shape)
            np.testing.assert_allclose(of_whole, whole[:, y : y + 7, x : x + 7], atol=1e-6)
            np.testing.assert_allclose(of_band, band[:, y : y + 7, x : x + 7], atol=1e-6)
            places.add((y, x))
        assert len(places) > 50  # chance takes some twice
        assert {0, inside.shape[0] - 1} <= {y for y, _ in places} or inside.shape[0] > 20


def test_places_depend_on_the_key_alone():
    """Not on the content, on the global random state, nor on the pictures before."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    one, other = torch.stack([y, x, y * 0]) / 32, torch.stack([y, x, y]) / 32
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = patches(one, 7)
    assert (first[0][1, :, :2] == patches(other, 7)[0][1, :, :2]).all()
    assert (first[0][1, :, :2] != patches(one, 8)[0][1, :, :2]).any()
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


# --- The sliced Wasserstein distance --------------------------------------------------------------


@pytest.mark.parametrize("side, levels", [(20, "whole"), (32, "band whole")])
def test_it_is_as_by_hand(side, levels):
    """With other directions, and ten times as many: they only differ by chance."""
    sets = [[patches(p, k) for k, p in enumerate(pictures(n, 4, side))] for n in (1, 2)]
    directions = np.random.default_rng(1).normal(size=(147, 5000))
    directions /= np.sqrt((directions**2).sum(0))
    wanted = []
    for level, kind in enumerate(levels.split()):
        ordered = []
        for of_set in sets:
            points = np.concatenate([of_one[level][int(kind == "whole")] for of_one in of_set])
            points = points.astype(float)
            for c in range(3):
                points[:, c] = (points[:, c] - points[:, c].mean()) / points[:, c].std()
            ordered.append(np.sort(points.reshape(4 * 128, 147) @ directions, axis=0))
        wanted.append(1000 * np.abs(ordered[0] - ordered[1]).mean())
    assert sliced_wasserstein(*sets) == pytest.approx(np.mean(wanted), rel=0.03)
    assert sliced_wasserstein(*sets, seed=1) != sliced_wasserstein(*sets)


def test_equal_sets_are_at_no_distance_and_the_order_does_not_count():
    a, b = ([patches(p, k) for k, p in enumerate(pictures(n))] for n in (1, 2))
    assert sliced_wasserstein(a, a) == 0
    wanted = sliced_wasserstein(a, b)
    assert wanted > 10
    assert sliced_wasserstein(a[::-1], b) == pytest.approx(wanted, rel=1e-4)
    assert sliced_wasserstein(a, b[3:] + b[:3]) == pytest.approx(wanted, rel=1e-4)
    assert sliced_wasserstein(b, a) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("how", ["noise", "blur"])
def test_it_grows_with_the_change(how):
    far = [distance(changed(amount, how), pictures(1)) for amount in (0, 0.2, 0.5, 1)]
    assert far[0] == 0
    assert far == sorted(far) and far[1] > 5 and far[3] > 1.5 * far[1]


def test_sets_of_unlike_sizes():
    """The same pictures twice are the same distribution."""
    a, b = ([patches(p, k) for k, p in enumerate(pictures(n))] for n in (1, 2))
    assert sliced_wasserstein(a + a, a) == pytest.approx(0, abs=1e-3)
    assert sliced_wasserstein(a + a, b) == pytest.approx(sliced_wasserstein(a, b), rel=1e-4)
    assert math.isfinite(sliced_wasserstein(a, b[:5]))


def test_pictures_of_unlike_sizes_share_the_finest_levels():
    """The smaller levels of larger pictures do not count."""
    large, small = pictures(1, side=64), pictures(2, side=32)
    of_large, of_small = ([patches(p, k) for k, p in enumerate(of)] for of in (large, small))
    assert (len(of_large[0]), len(of_small[0])) == (3, 2)
    wanted = sliced_wasserstein([levels[:2] for levels in of_large], of_small)
    assert sliced_wasserstein(of_large, of_small) == wanted


def test_sets_without_a_distance():
    a = [patches(p, 0) for p in pictures(1)]
    assert math.isnan(sliced_wasserstein(a, [])) and math.isnan(sliced_wasserstein([], a))
    assert patches(torch.zeros(3, 15, 40), 0) == []
    assert math.isnan(sliced_wasserstein(a, [[]]))


def test_flat_and_grey_pictures_have_one():
    flat = [torch.full((1, 32, 32), level) for level in (0.3, 0.3)]
    assert distance(flat, flat) == 0
    assert 100 < distance(flat, pictures(1, channels=1)) < 2000


# --- The kernel distance --------------------------------------------------------------------------


def test_the_kernel_distance_is_that_of_a_double_loop():
    random = np.random.default_rng(1)
    a, b = random.normal(size=(5, 8)), random.normal(0.5, 1, (3, 8))

    def mean(x: np.ndarray, y: np.ndarray, skip_same: bool) -> float:
        values = [
            (sum(p * q for p, q in zip(x[i], y[j], strict=True)) / 8 + 1) ** 3
            for i in range(len(x))
            for j in range(len(y))
            if not (skip_same and i == j)
        ]
        return sum(values) / len(values)

    wanted = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert kernel_distance(a, b) == pytest.approx(wanted, rel=1e-9)
    assert kernel_distance(a.astype(np.float32), b) == pytest.approx(wanted, rel=1e-4)


def test_the_kernel_distance_is_unbiased_and_grows():
    random = np.random.default_rng(1)
    sets = [random.normal(size=(4, 16)) for _ in range(400)]
    alike = [kernel_distance(a, b) for a, b in zip(sets[::2], sets[1::2], strict=True)]
    assert min(alike) < 0 < max(alike)
    assert abs(np.mean(alike)) < 4 * np.std(alike) / len(alike) ** 0.5
    near, far, farthest = (
        np.mean([kernel_distance(a, b + d) for a, b in zip(sets[::2], sets[1::2], strict=True)])
        for d in (0.3, 0.6, 1)
    )
    assert np.mean(alike) + 0.05 < near < far < farthest


def test_a_single_picture_has_no_kernel_distance():
    assert math.isnan(kernel_distance(np.ones((1, 4)), np.ones((3, 4))))
    assert math.isnan(kernel_distance(np.ones((3, 4)), np.ones((1, 4))))
    assert kernel_distance(np.ones((2, 4)), np.ones((2, 4))) == 0
