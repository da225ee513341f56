"""Preprocessed pixels, against Pillow and NumPy alone, and against torchvision bit for bit.

The expected pixels are computed here in plain words: resize with Pillow, cut and mirror with
NumPy, scale. Of the program only the random numbers are taken, by seeding as it does.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

import data
import models
from data.base_dataset import get_params, get_transform
from data.transforms import Augment, Resize, to_channels, to_tensor
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness
from util.torchvision_compat import import_torchvision

LOAD, CROP = 48, 32
SIZES = [(64, 64), (100, 60), (60, 100), (160, 40), (48, 33), (33, 90)]  # width, height

# What each mode resizes a picture of these sizes to, by hand. Where the width is scaled to 48,
# heights are 48, 28.8, 80, 12, 33, 130.9; those below 32 are scaled by height instead if a crop
# follows. Without one, sides are then padded to multiples of 4, and in training to 24 at least.
RESIZED = {
    "resize_and_crop": [(48, 48)] * 6,
    "crop": SIZES,
    "scale_width": [(48, 48), (48, 29), (48, 80), (48, 12), (48, 33), (48, 131)],
    "scale_width_and_crop": [(48, 48), (53, 32), (48, 80), (128, 32), (48, 33), (48, 131)],
    "none": SIZES,
}
CASES = [
    (mode, size, target)
    for mode, targets in RESIZED.items()
    for size, target in zip(SIZES, targets, strict=True)
]


def resized(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(picture.resize(size, Image.BICUBIC))


def padded(pixels: np.ndarray, mode: str, least: int) -> np.ndarray:
    """Sides extended by reflection to multiples of 4 and at least `least`, where nothing crops."""
    if mode.endswith("crop"):
        return pixels
    more = [max(-(-side // 4) * 4, least) - side for side in pixels.shape[:2]]
    return np.pad(pixels, ((0, more[0]), (0, more[1]), (0, 0)), "reflect")


def scaled(pixels: np.ndarray) -> torch.Tensor:
    """(H, W) or (H, W, C) in 0..255 to (C, H, W) in [-1, 1]."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return torch.from_numpy(pixels.astype(np.float64).transpose(2, 0, 1) / 127.5 - 1)


def single(dataroot: str, mode: str, *flags: str, testing: bool):
    """A sample of the first picture, at load size 48 and crop size 32, with its options."""
    line = ["--dataroot", dataroot, "--preprocess", mode, "--netG", "resnet_6blocks", *flags]
    line += ["--load_size", str(LOAD), "--crop_size", str(CROP)]
    line += ["--model", "test"] if testing else ["--model", "pix2pix"]
    options = TestOptions if testing else TrainOptions
    opt = options(models.registry, data.registry).parse(line)
    return data.registry.find(opt.dataset_mode)(opt)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "experiment_name").mkdir(parents=True)


@pytest.mark.parametrize("mode, size, target", CASES)
def test_testing_resizes_and_cuts_the_centre(mode, size, target, pictures):
    picture = pictures.draw(3, *size)
    pictures.save(picture, "photos/x.png")
    sample = single("photos", mode, testing=True)[0]["A"]

    pixels = resized(picture, target)
    if mode.endswith("crop"):
        top, left = (pixels.shape[0] - CROP) // 2, (pixels.shape[1] - CROP) // 2
        pixels = pixels[top : top + CROP, left : left + CROP]
    pixels = padded(pixels, mode, 8)
    assert sample.dtype == torch.float32
    assert sample.shape == (3, *pixels.shape[:2])
    torch.testing.assert_close(sample.double(), scaled(pixels), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode, size, target", CASES)
def test_training_cuts_and_mirrors_at_random(mode, size, target, pictures):
    """The dataset's sample is one of all crops and flips of the resized picture."""
    pair = pictures.pair(3, *size)
    for side, picture in zip("AB", pair, strict=True):
        pictures.save(picture, f"photos/train{side}/x.png")
    with isolated_randomness(7):
        dataset = single("photos", mode, testing=False)
        sample = dataset[0]

    a, b = (padded(resized(picture, target), mode, 24) for picture in pair)
    height, width = (CROP, CROP) if mode.endswith("crop") else a.shape[:2]
    cuts = {
        np.ascontiguousarray(a[top : top + height, left : left + width][:, ::step]).tobytes(): (
            top,
            left,
            step,
        )
        for top in range(a.shape[0] - height + 1)
        for left in range(a.shape[1] - width + 1)
        for step in (1, -1)
    }
    given = ((sample["A"].double() + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
    top, left, step = cuts[given.contiguous().numpy().tobytes()]
    same_of_b = b[top : top + height, left : left + width][:, ::step]
    torch.testing.assert_close(sample["B"].double(), scaled(same_of_b), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode, size, target", CASES)
def test_aspect_ratio_is_kept(mode, size, target):
    """All modes but resize_and_crop keep circles round, up to half a pixel per side."""
    if mode == "resize_and_crop":
        return
    assert Resize(mode, LOAD, CROP, multiple=4).target(size) == target
    scale = max(target[0] / size[0], target[1] / size[1])
    for side, original in zip(target, size, strict=True):
        assert abs(side - original * scale) <= 1
    assert mode != "scale_width_and_crop" or min(target) >= CROP


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_grey_and_colour_pictures_for_1_and_3_channels(channels, kind, pictures):
    picture = pictures.draw(4, 64, 64)
    stored = picture.convert("L") if kind == "grey" else picture
    pictures.save(stored, "photos/x.png")
    sample = single("photos", "none", "--input_nc", str(channels), testing=True)[0]["A"]
    if channels == 1:
        red, green, blue = np.moveaxis(np.asarray(picture).astype(float), 2, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
        assert sample.shape == (1, 64, 64)
        assert (sample[0].double() - torch.from_numpy(luma / 127.5 - 1)).abs().max() <= 1 / 127.5
    else:
        expected = np.asarray(stored.convert("RGB"))
        torch.testing.assert_close(sample.double(), scaled(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_scaling_is_torchvisions_bit_for_bit(mode):
    transforms = import_torchvision("torchvision.transforms")
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(levels)
    if mode == "RGB":
        picture = Image.merge("RGB", [picture, picture.rotate(90), picture.rotate(180)])
    half = (0.5,) * len(mode)
    both = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])
    ours = to_tensor(to_channels(picture.convert("RGB"), len(mode)))
    assert torch.equal(ours, both(picture))
    assert (ours.min(), ours.max()) == (-1, 1)
    assert ours.is_contiguous()


def test_resizing_is_torchvisions_bicubic(pictures):
    transforms = import_torchvision("torchvision.transforms")
    picture = pictures.draw(5, 100, 70)
    theirs = transforms.Resize((48, 48), transforms.InterpolationMode.BICUBIC)(picture)
    assert np.array_equal(Resize("resize_and_crop", LOAD, CROP)(picture), theirs)


def test_crop_may_lie_anywhere_with_equal_chances():
    random.seed(0)
    drawn = [Augment.draw((35, 34), 32, at_random=True, flips=True) for _ in range(4800)]
    counts = {
        (left, top, flip): 0 for left in range(4) for top in range(3) for flip in (False, True)
    }
    for augment in drawn:
        counts[augment.left, augment.top, augment.flip] += 1
    assert all(140 < count < 270 for count in counts.values())  # 200 each, and 5 sigma


@pytest.mark.parametrize("size", [(31, 40), (40, 31)])
def test_a_picture_below_the_crop_is_refused(size):
    with pytest.raises(UserError, match=f"{size[0]}x{size[1]}.*--crop_size 32"):
        Augment.draw(size, 32, at_random=True, flips=False)


# --- The functions that other people's datasets import --------------------------------------------


@pytest.fixture
def training_options(pictures):
    """Options of training by resize_and_crop, with --no_flip or without."""
    pictures.two_folders(1)
    return lambda *flags: single("pairs", "resize_and_crop", *flags, testing=False).opt


@pytest.mark.parametrize("flip", [False, True])
def test_a_transform_does_what_its_params_say(flip, pictures, training_options):
    opt, picture = training_options(), pictures.draw(3, 100, 60)
    params = {"crop_pos": (5, 11), "flip": flip}

    def expected(picture: Image.Image, method: Image.Resampling) -> np.ndarray:
        pixels = np.asarray(picture.resize((LOAD, LOAD), method))
        return pixels[11 : 11 + CROP, 5 : 5 + CROP][:, :: -1 if flip else 1]

    theirs = import_torchvision("torchvision.transforms").InterpolationMode
    for name in ("NEAREST", "BICUBIC"):
        pixels = expected(picture, Image.Resampling[name])
        for kind in (Image, Image.Resampling, theirs):  # all that such files pass
            transform = get_transform(opt, params, method=getattr(kind, name), convert=False)
            np.testing.assert_array_equal(transform(picture), pixels)
    made = get_transform(opt, params)(picture)
    torch.testing.assert_close(made.double(), scaled(pixels), rtol=0, atol=1e-6)
    grey = get_transform(opt, params, grayscale=True)(picture)
    pixels = expected(picture.convert("L"), Image.BICUBIC)
    torch.testing.assert_close(grey.double(), scaled(pixels), rtol=0, atol=1e-6)


def test_params_are_drawn_for_the_resized_picture(pictures, training_options):
    random.seed(0)
    opt, straight = training_options(), training_options("--no_flip")
    drawn = [get_params(opt, (100, 60)) for _ in range(200)]
    lefts, tops = zip(*(params["crop_pos"] for params in drawn), strict=True)
    assert set(lefts) == set(tops) == set(range(LOAD - CROP + 1))
    assert len({*zip(lefts, tops, strict=True)}) > 100  # each apart from the other
    assert 70 < sum(params["flip"] for params in drawn) < 130
    assert not any(get_params(straight, (100, 60))["flip"] for _ in range(30))

    pictures.save(pictures.draw(3), "photos/x.png")
    testing = single("photos", "resize_and_crop", testing=True).opt
    assert get_params(testing, (100, 60)) == {"crop_pos": (8, 8), "flip": False}


def test_without_params_each_call_draws_its_own(pictures, training_options):
    random.seed(0)
    transform, picture = get_transform(training_options()), pictures.draw(3)
    assert len({transform(picture).numpy().tobytes() for _ in range(12)}) > 9
