"""How far the pictures of a pair are off each other, measured on pairs made for that."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from scripts.checking.alignment import find_move
from scripts.checking.pairs import luma

PORTRAITS = Path(__file__).resolve().parents[2] / "datasets" / "portrait_retouch"
PORTRAIT = Image.open(PORTRAITS / "trainB" / "obama.jpg").convert("RGB")


def moved(picture: Image.Image, *, right=0.0, down=0.0, turn=0.0, scale=1.0) -> Image.Image:
    """The picture with what it shows moved, turned clockwise around the middle, and scaled."""
    x, y = (side / 2 for side in picture.size)
    c, s = (f(math.radians(turn)) / scale for f in (math.cos, math.sin))
    x_from, y_from = x - c * (x + right) - s * (y + down), y + s * (x + right) - c * (y + down)
    rows = (c, s, x_from, -s, c, y_from)
    return picture.transform(picture.size, Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC)


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def graded(picture: Image.Image) -> Image.Image:
    """Darker, warmer, with less contrast in the lights."""
    red, green, blue = picture.split()
    blue = blue.point(lambda v: v * 0.7)
    picture = Image.merge("RGB", (red, green, blue))
    return picture.point(lambda v: 180 * (v / 255) ** 1.5)


@pytest.mark.parametrize(
    "move",
    [
        {},
        {"right": 1},
        {"right": 3.5, "down": -0.5},
        {"right": -20, "down": 7},
        {"down": 60},
        {"turn": 0.5},
        {"turn": -2},
        {"turn": 5},
        {"scale": 1.01},
        {"right": 8, "turn": 1, "scale": 0.99},
    ],
    ids=str,
)
@pytest.mark.parametrize("is_graded", [False, True])
def test_known_moves_are_found(move, is_graded):
    b = compressed(moved(PORTRAIT, **move), 70)
    found = find_move(luma(PORTRAIT), luma(graded(b) if is_graded else b))
    assert (found.right, found.down) == pytest.approx(
        (move.get("right", 0), move.get("down", 0)), abs=0.1
    )
    assert found.turn == pytest.approx(move.get("turn", 0), abs=0.03)
    assert found.scale == pytest.approx(move.get("scale", 1), abs=0.0005)
    assert (found.mean < 0.2) == (not move)


def test_a_larger_picture_is_searched_from_coarse_to_fine():
    large = PORTRAIT.resize((1024, 1024), Image.Resampling.LANCZOS)
    found = find_move(luma(large), luma(moved(large, right=90, turn=3)))
    assert (found.right, found.down, found.turn) == pytest.approx((90, 0, 3), abs=0.1)


@pytest.mark.parametrize("name", ["collins", "hopper", "obama"])
def test_retouched_portraits_are_aligned(name):
    a, b = (luma(Image.open(PORTRAITS / f"train{side}" / f"{name}.jpg")) for side in "AB")
    found = find_move(a, b)
    assert found.mean < 0.1 and str(found) == "0.0 px"


def test_what_is_not_alike_has_no_move():
    """Another face, a negative, noise, nothing at all, and pictures too small to tell."""
    a = luma(PORTRAIT)
    other = luma(Image.open(PORTRAITS / "trainB" / "hopper.jpg"))
    noise = np.random.default_rng(0).uniform(0, 255, a.shape).astype(np.float32)
    for b in (other, 255 - a, noise, np.zeros_like(a)):
        assert find_move(a, b) is None
    assert find_move(np.zeros_like(a), a) is None
    assert find_move(a[:100, :100], a[:100, :100]) is None


def test_a_label_map_is_not_alike_though_its_edges_are_where_those_of_the_photograph_are():
    """Flat areas in other colours, as façades and their labels have."""
    labels = ImageOps.posterize(PORTRAIT.convert("L"), 1).convert("RGB")
    mixed = Image.merge("RGB", [labels.getchannel(0).point(lambda v: 200 - v)] * 3)
    assert find_move(luma(mixed), luma(PORTRAIT)) is None


def test_moves_in_words():
    found = find_move(luma(PORTRAIT), luma(moved(PORTRAIT, right=3.5, down=-2, turn=1)))
    assert str(found) == "3.5 px right, 2.0 px up, turned +1.00 degrees"
    assert str(found.enlarged(10)) == "35.0 px right, 20.0 px up, turned +1.00 degrees"
