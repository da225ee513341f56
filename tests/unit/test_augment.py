"""--augment: what it changes in training pictures, and that pairs still fit on each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import data
import models
from data.aligned_dataset import AlignedDataset
from data.augment import FLAWS, GEOMETRY, KINDS, TONES, Augmentation, Tones, View
from data.loader import Loader
from data.transforms import Augment
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness

AS_THEY_ARE = ("--preprocess", "none", "--no_flip")
MODES = ("resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none")
RANDOM = np.random.default_rng(3)


def options(dataroot: str | Path, *flags: str):
    line = ["--dataroot", str(dataroot), "--checkpoints_dir", str(Path(dataroot, "runs"))]
    line += ["--model", "pix2pix", "--netG", "resnet_6blocks", "--seed", "5"]
    line += ["--num_threads", "0", "--load_size", "40", "--crop_size", "32"]
    return TrainOptions(models.registry, data.registry).parse([*line, *flags])


def loader(dataroot: str | Path, *flags: str) -> Loader:
    return data.create_dataset(options(dataroot, *flags))


def samples(dataroot: str | Path, *flags: str, epochs: int = 1) -> list[tuple]:
    """(A, B) of all samples, each (C, H, W), as the loader gives them."""
    made, found = loader(dataroot, "--serial_batches", *flags), []
    for epoch in range(1, epochs + 1):
        made.set_epoch(epoch)
        found += [(batch["A"][0], batch["B"][0]) for batch in made]
    return found


def equal(these: list[tuple], those: list[tuple]) -> bool:
    return len(these) == len(those) and all(
        torch.equal(x, y)
        for a, b in zip(these, those, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def noise(width: int, height: int) -> Image.Image:
    """A picture that looks different wherever it is moved by a part of a pixel."""
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.fixture
def negatives(pictures, request) -> str:
    """Two pairs of noise and its negative, so that A + B is the same everywhere if they fit."""
    for index in range(2):
        b = noise(70, 61)
        a = Image.fromarray(255 - np.asarray(b))
        if request.param == "side by side":
            joined = Image.new("RGB", (140, 61))
            joined.paste(a, (0, 0))
            joined.paste(b, (70, 0))
            pictures.save(joined, f"data/train/p{index}.png")
        else:
            pictures.save(a, f"data/trainA/p{index}.png")
            pictures.save(b, f"data/trainB/p{index}.png")
    return str(pictures.root / "data")


@pytest.mark.parametrize("negatives", ["side by side", "two folders"], indirect=True)
@pytest.mark.parametrize("mode", MODES)
def test_pairs_fit_on_each_other_to_a_part_of_a_pixel(negatives, mode):
    flags = ("--preprocess", mode, "--augment")
    plain = samples(negatives, *flags, "none", epochs=3)
    moved = samples(negatives, *flags, "scale,rotation,shift", epochs=3)
    assert not equal(moved, plain)
    for (a, b), (plain_a, _) in zip(moved, plain, strict=True):
        assert a.shape == b.shape == plain_a.shape, "the size is what --preprocess makes it"
        assert float((a + b).abs().max()) < 3 / 127.5  # resizing rounds to levels of 8 bits
        assert float(a.std()) > 0.1


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_tones_are_the_same_on_both_and_flaws_on_the_input_alone(pictures, direction):
    for side in "AB":
        pictures.save(pictures.draw(1), f"pairs/train{side}/p.png")
    root = pictures.root / "pairs"
    line = ("--direction", direction, "--augment")
    for a, b in samples(root, *line, "auto", epochs=3):
        assert torch.equal(a, b)
    all_kinds = samples(root, *line, ",".join(KINDS), epochs=20)
    entries, targets = zip(*all_kinds, strict=True)
    if direction == "BtoA":
        entries, targets = targets, entries
    clean = [target for _, target in samples(root, *line, ",".join(GEOMETRY + TONES), epochs=20)]
    assert all(map(torch.equal, targets, clean))
    spoilt = [not torch.equal(a, b) for a, b in zip(entries, targets, strict=True)]
    assert 12 <= sum(spoilt) < 20, "each of three flaws is in half of the inputs"


def ramps(width: int, height: int, finer: int = 1) -> torch.Tensor:
    """(2, H, W) whose values are x and y of the middle of each pixel, divided by 1000."""
    x, y = ((torch.arange(side * finer) + 0.5) / finer / 1000 for side in (width, height))
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))]).contiguous()


def mirrored(position: torch.Tensor, size: int) -> torch.Tensor:
    around = position % (2 * size)
    return torch.minimum(around, 2 * size - around)


@pytest.mark.parametrize("finer", [1, 2])
@pytest.mark.parametrize("window", [Augment(13, 7, 140), Augment(), Augment(60, 10, 140)])
@pytest.mark.parametrize("shift", [(0.1, -0.05), (-0.8, -1.3)])
def test_a_view_shows_what_its_geometry_says(window, shift, finer):
    """Against positions computed one by one, in tiles and at reflections too."""
    width, height = 210, 165
    view = View(zoom=0.9, angle=0.3, shift=shift, finer=finer)
    shown = view(ramps(width, height, finer), window)
    across, down = (window.crop_size or side for side in (width, height))
    y, x = torch.meshgrid(torch.arange(down) + 0.5, torch.arange(across) + 0.5, indexing="ij")
    u, v = (x - across / 2) / 0.9, (y - down / 2) / 0.9
    expected = [
        window.left + across * (0.5 + shift[0]) + u * math.cos(0.3) - v * math.sin(0.3),
        window.top + down * (0.5 + shift[1]) + u * math.sin(0.3) + v * math.cos(0.3),
    ]
    for values, position, size in zip(shown, expected, (width, height), strict=True):
        at = mirrored(position, size)
        inner = (at > 3) & (at < size - 3)  # where the ramp turns, it is rounded off
        # PyTorch's bicubic interpolation bends ramps by a twentieth of a pixel.
        assert float((values * 1000 - at)[inner].abs().max()) < (0.05 if finer == 1 else 0.001)
        assert float((values * 1000 - at).abs().max()) < 1.5
    assert any(bool((position < 0).any()) for position in expected)


@pytest.mark.parametrize("kind, changes", [("scale", 0), ("rotation", 1), ("shift", 2)])
def test_each_geometry_changes_that_alone(kind, changes):
    """By the affine map from the window to the picture, fitted to ramps."""
    seen = []
    for seed in range(40):
        with isolated_randomness(seed):
            shown = Augmentation([kind], scales=True).draw(Augment())(ramps(64, 64, 2)) * 1000
        across, down = (
            (shown[:, 32, 40] - shown[:, 32, 24]) / 16,
            (shown[:, 40, 32] - shown[:, 24, 32]) / 16,
        )
        scale = math.sqrt(float(across[0] * down[1] - across[1] * down[0]))
        angle = math.degrees(math.atan2(float(across[1]), float(across[0])))
        moved = shown[:, 31:33, 31:33].mean((1, 2)) - 32
        seen.append([math.log2(scale), angle, *(moved / 64).tolist()])
    most = np.abs(np.array(seen)).max(0)
    limits = np.array([0.3, 10.0, 0.05, 0.05])
    used = np.array([changes == 0, changes == 1, changes == 2, changes == 2])
    assert np.all(most[used] <= limits[used] * 1.001) and np.all(most[used] > 0.8 * limits[used])
    assert np.all(most[~used] < 1e-4)


def changed_by(kind: str, pixels: torch.Tensor, seed: int) -> torch.Tensor:
    with isolated_randomness(seed):
        return Augmentation([kind], scales=True).draw(Augment())(pixels)


def test_exposure_is_a_gain_of_light():
    grey = torch.linspace(0, 0.7, 60).expand(3, 4, 60).contiguous()
    stops = []
    for seed in range(40):
        light = (changed_by("exposure", grey, seed)[..., 1:] / grey[..., 1:]) ** 2.2
        assert torch.allclose(light, light.mean().expand(light.shape), rtol=1e-4)
        stops.append(math.log2(float(light.mean())))
    assert -0.5 <= min(stops) < -0.35 and 0.35 < max(stops) <= 0.5


def test_white_balance_is_a_gain_of_red_and_blue():
    grey = torch.full((3, 4, 4), 0.5)
    gains = [2.2 * (changed_by("white_balance", grey, s)[:, 0, 0] / 0.5).log2() for s in range(40)]
    red, green, blue = torch.stack(gains).T
    assert float(green.abs().max()) == 0
    for stops in (red, blue):
        assert 0.15 < float(stops.abs().max()) <= 0.2001
    assert float((red - blue).abs().max()) > 0.1


def test_gamma_keeps_black_and_white():
    ends = torch.tensor([0.0, 1.0]).expand(3, 4, 2).contiguous()
    grey, exponents = torch.full((3, 4, 4), 0.5), []
    for seed in range(40):
        assert torch.equal(changed_by("gamma", ends, seed), ends)
        exponents.append(-math.log2(float(changed_by("gamma", grey, seed).mean())))
    assert 0.81 < min(exponents) < 0.84 and 1.18 < max(exponents) < 1.232


def test_what_gets_brighter_than_white_is_white():
    bright = torch.full((3, 4, 4), 0.9)
    assert torch.equal(Tones([1.2, 1.2, 1.2], 0.9)(bright), torch.ones(3, 4, 4))


@pytest.mark.parametrize("kind", FLAWS)
def test_each_flaw_of_the_input(kind, pictures):
    picture = torch.from_numpy(np.array(noise(64, 48))).permute(2, 0, 1)
    clean, only = picture / 255, Augmentation([kind], scales=True)
    found = []
    for seed in range(40):
        with isolated_randomness(seed):
            found.append(only.spoil(picture))
    spoilt = [values for values in found if not torch.equal(values, clean)]
    assert 12 <= len(spoilt) <= 28
    assert all(float(values.min()) >= 0 and float(values.max()) <= 1 for values in spoilt)
    if kind == "noise":
        inner = (clean > 0.1) & (clean < 0.9)  # not clipped
        sizes = [float((values - clean)[inner].std()) for values in spoilt]
        assert 0.015 < max(sizes) < 0.0202
    elif kind == "blur":
        kept = [float(values.std() / clean.std()) for values in spoilt]
        assert 0.25 < min(kept) < 0.4 and max(kept) < 1.0001
    else:
        levels = spoilt[0] * 255
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        errors = sorted(float((values - clean).abs().mean()) for values in spoilt)
        assert errors[-1] > 1.1 * errors[0], "qualities differ"


def test_one_kind_more_changes_nothing_of_the_others(pictures):
    """Gamma leaves black and white; so crops, flips and the geometry are seen to be the same."""
    for side in "AB":
        stripes = np.zeros((60, 60, 3), np.uint8)
        stripes[:, ::7] = stripes[::9] = 255
        pictures.save(Image.fromarray(stripes), f"pairs/train{side}/p.png")
    root, flags = pictures.root / "pairs", ("--preprocess", "crop", "--augment")
    assert equal(samples(root, *flags, "none", epochs=5), samples(root, *flags, "gamma", epochs=5))
    geometry, more = (
        samples(root, *flags, kinds, epochs=5) for kinds in ("scale,shift", "shift,gamma,scale")
    )
    for (a, _), (b, _) in zip(geometry, more, strict=True):
        exponents = (b / 2 + 0.5).clamp(1e-6).log() / (a / 2 + 0.5).clamp(1e-6).log()
        midtones = (a.abs() < 0.5) & torch.isfinite(exponents)
        assert float(exponents[midtones].std()) < 1e-3


def test_a_geometry_more_changes_nothing_of_the_flaws(pictures):
    """A flat picture is the same wherever it is moved."""
    for side in "AB":
        pictures.save(Image.new("RGB", (60, 60), "grey"), f"pairs/train{side}/p.png")
    root, flags = pictures.root / "pairs", ("--preprocess", "crop", "--augment")
    few, more = (samples(root, *flags, kinds, epochs=9) for kinds in ("noise", "noise,scale"))
    assert any(a.std() > 0 for a, _ in few)
    for (a, _), (b, _) in zip(few, more, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_things_get_larger_without_a_blur(pictures):
    """Lines too fine for the size that the network sees appear where they are enlarged."""
    lines = np.zeros((128, 128, 3), np.uint8)
    lines[:, (np.arange(128) // 4) % 2 == 0] = 255  # 16 periods, in pictures of 40 pixels
    view = View(zoom=1.23, angle=0.0, shift=(0, 0), finer=2)
    source = Image.fromarray(lines)
    fine, coarse = (
        torch.from_numpy(np.array(source.resize((side, side)))).permute(2, 0, 1)
        for side in (80, 40)
    )
    sharp = view(fine, Augment())[:, 10:-10, 10:-10].std()
    soft = View(1.23, 0.0, (0, 0), 1)(coarse, Augment())[:, 10:-10, 10:-10].std()
    assert float(sharp) > 1.15 * float(soft)


def test_fine_lines_outlast_half_a_pixel_where_nothing_is_scaled():
    wave = 0.5 + 0.5 * torch.sin(torch.arange(60) * (2 * math.pi / 3))  # a period of 3 pixels
    picture = wave.expand(3, 60, 60).contiguous()
    moved = View(1, 0, (0.5 / 60, 0), 1)(picture, Augment())[..., 3:-3]
    assert 0.6 < float(moved.std() / picture.std()) < 1  # a mean of two pixels would keep 0.5


def test_what_is_too_fine_becomes_grey_and_no_moire():
    wave = 0.5 + 0.5 * torch.sin(torch.arange(160) * (2 * math.pi / 2.2))  # period: 2.2 pixels
    shown = View(0.82, 0.1, (0.01, 0.02), 2)(wave.expand(3, 160, 160).contiguous(), Augment())
    assert float(shown.std()) < 0.25 * float(wave.std())  # single samples would keep 0.6


@pytest.mark.parametrize("scales", [True, False])
def test_the_same_for_any_number_of_threads(scales):
    """A loading process has one, but with --num_threads 0 there are many."""
    picture = torch.from_numpy(np.array(noise(423, 405))).permute(2, 0, 1)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            with isolated_randomness(6):  # draws blur and noise
                every = Augmentation([k for k in KINDS if k != "jpeg"], scales)  # which rounds
                found.append(every.spoil(every.draw(Augment(crop_size=199))(picture)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("augment", ["auto", "scale,noise,jpeg"])
def test_the_same_for_any_number_of_processes_and_from_any_image_on(pictures, augment):
    root = pictures.two_folders(5)
    flags = ("--augment", augment, "--batch_size", "2", "--crop_size", "36")
    whole, by_two = loader(root, *flags), loader(root, *flags, "--num_threads", "2")
    rest = loader(root, *flags)
    for made, start in ((whole, 0), (by_two, 0), (rest, 2)):
        made.set_epoch(3, start)
    whole, by_two, rest = ([(x["A"], x["B"]) for x in made] for made in (whole, by_two, rest))
    assert equal(whole, by_two)
    assert equal(whole[1:], rest)


@pytest.mark.parametrize(
    "flags", ["--model cycle_gan", "--model colorization", "--dataset_mode template"]
)
def test_datasets_of_other_kinds(flags, pictures):
    root = pictures.unaligned(2, 2) if "cycle" in flags else pictures.side_by_side(2)
    flags = flags.split()
    plain, changed = (samples(root, *flags, "--augment", kinds) for kinds in ("none", "auto"))
    for (a, b), (plain_a, plain_b) in zip(changed, plain, strict=True):
        assert (a.shape, b.shape) == (plain_a.shape, plain_b.shape)
        assert not torch.equal(a, plain_a) and not torch.equal(b, plain_b)
        assert float(max(a.abs().max(), b.abs().max())) <= 1


def test_unpaired_sides_draw_their_own(pictures):
    for side in "AB":
        pictures.save(pictures.draw(1), f"unpaired/train{side}/p.png")
    line = (pictures.root / "unpaired", "--model", "cycle_gan", *AS_THEY_ARE, "--augment")
    ((a, b),) = samples(*line, "none")
    assert torch.equal(a, b)
    ((a, b),) = samples(*line, "exposure")
    assert not torch.equal(a, b)


def test_validation_sees_pictures_as_they_are(pictures):
    pictures.two_folders(2, phase="val")
    root = pictures.two_folders(2)
    plain, changed = (
        data.create_judged(options(root, "--augment", kinds)) for kinds in ("none", "auto")
    )
    assert plain.validation.key == changed.validation.key
    seen = [[(x["A"], x["B"]) for x in judged.validation.loader] for judged in (plain, changed)]
    assert equal(*seen)
    for these, those in zip(plain.examples, changed.examples, strict=True):
        assert torch.equal(these["A"], those["A"])


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("mode", ["resize_and_crop", "scale_width"])
def test_the_cache_keeps_another_scale_apart(pictures, cache, mode):
    root, flags = pictures.two_folders(2), ("--preprocess", mode, "--cache")
    for augment in ("none", "auto", "none", "shift", "gamma"):
        line = ("--augment", augment)
        expected = samples(root, *flags, "none", *line, epochs=2)
        assert equal(samples(root, *flags, cache, *line, epochs=2), expected)
    files = list(Path(root, "runs", ".cache").glob("*.bin"))
    assert len(files) == (2 if cache == "disk" else 0), "as it is, and twice as fine"


@pytest.mark.parametrize("size", [(1, 60), (60, 1), (1, 1)])
@pytest.mark.parametrize("mode", ["none", "scale_width", "resize_and_crop"])
def test_pictures_one_pixel_thin(size, mode, pictures):
    for side, level in (("A", 255), ("B", 0)):
        pictures.save(Image.new("RGB", size, (level,) * 3), f"pairs/train{side}/p.png")
    flags = ("--preprocess", mode, "--load_size", "32", "--augment")
    plain = samples(pictures.root / "pairs", *flags, "none")
    for (a, b), (plain_a, _) in zip(
        samples(pictures.root / "pairs", *flags, "scale,rotation,shift,blur"), plain, strict=True
    ):
        assert a.shape == plain_a.shape
        assert float(a.min()) > 0.99999 and float(b.max()) < -0.99999, "no black from outside"


def written(root: Path, *shape: int, dtype=np.uint16, ending: str = ".tif") -> Path:
    for side in "AB":
        file = root / f"train{side}" / f"p{ending}"
        file.parent.mkdir(parents=True)
        most = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
        values = (RANDOM.uniform(0, most, shape)).astype(dtype)
        if ending == ".npy":
            np.save(file, values)
        elif ending == ".png":
            Image.fromarray(values).save(file)
        else:
            tifffile.imwrite(file, values, photometric="rgb" if shape[-1] == 3 else "minisblack")
    return root


@pytest.mark.parametrize("augment", ["auto", "noise", "blur", "scale"])
@pytest.mark.parametrize(
    "channels, dtype, ending, told",
    [
        (3, np.uint16, ".tif", ""),
        (1, np.uint16, ".tif", "without white_balance: --input_nc 1 has no colours"),
        (1, np.uint8, ".png", "without white_balance: --input_nc 1 has no colours"),
        (4, np.uint8, ".png", "--input_nc 4 is neither grey nor RGB"),
        (6, np.uint8, ".npy", "--input_nc 6 is neither grey nor RGB"),
        (3, np.float32, ".npy", "the values of side A are float32, which may be no light"),
    ],
)
def test_depths_and_channels_are_kept(channels, dtype, ending, told, augment, tmp_path, capsys):
    shape = (48, 56) if channels == 1 else (48, 56, channels)
    root = written(tmp_path, *shape, dtype=dtype, ending=ending)
    flags = ("--input_nc", str(channels), "--output_nc", str(channels), "--augment", augment)
    for a, b in samples(root, *flags, "--preprocess", "none", epochs=4):
        assert a.shape == b.shape == (channels, 48, 56)
        assert a.dtype == torch.float32 and float(a.abs().max()) <= 1
        assert len(a.unique()) > (1000 if dtype != np.uint8 else 200)
    if augment == "auto":
        assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--augment zoom", "'zoom' is not one of scale, rotation, shift, exposure, white_balance"),
        ("--augment rotaton", "(did you mean rotation?)"),
        ("--augment none,blur", "--augment: 'none,blur' is none and more"),
        ("--augment=", "--augment: '' is not one of scale, rotation"),
        ("--augment Blur", "--augment: 'Blur' is not one of scale"),
        ("--augment scale,", "--augment: '' is not one of scale"),
        ("--augment auto,jpeg --input_nc 4", "--augment jpeg: --input_nc 4 is neither grey nor"),
        ("--augment white_balance --output_nc 1", "--augment white_balance: --output_nc 1 has no"),
        ("--augment exposure --range_B -5,5", "--range_B -5,5 says that 0 is not black"),
        ("--augment scale,jpeg --range_A 0,9", "--augment jpeg: a JPEG has 8 bits, and the"),
        ("--augment jpeg --input_nc 4", "--augment jpeg: --input_nc 4 is neither grey nor RGB"),
        ("--augment noise --dataset_mode unaligned", "it changes inputs alone, and --dataset_mode"),
        ("--augment blur --model colorization", "--dataset_mode colorization has no such inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, words, pictures):
    pictures.side_by_side(2)
    pictures.two_folders(2)
    root = pictures.root / ("pairs" if "unaligned" in flags else "joined")
    with pytest.raises(UserError) as refused:
        loader(root, *flags.split())
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_deep_inputs_become_no_jpegs(tmp_path):
    root = written(tmp_path, 48, 56, 3)
    with pytest.raises(UserError, match="the pictures of side A have more"):
        loader(root, "--augment", "jpeg")


class OwnSamplesDataset(AlignedDataset):
    """Makes samples in a way that may not augment."""

    def __getitem__(self, index: int) -> dict:
        return {}


class OwnLengthDataset(AlignedDataset):
    """Makes samples as its base does."""

    def __len__(self) -> int:
        return 1


def test_a_dataset_must_say_that_it_augments(pictures):
    opt = options(pictures.two_folders(2), "--augment", "auto")
    assert OwnLengthDataset(opt).augmentation.has(TONES)
    with pytest.raises(UserError, match="does not say that it can"):
        OwnSamplesDataset(opt)
