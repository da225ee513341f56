"""Where the result matters: maps in trainW, and pairs of a target and itself."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
import models
from data.image_io import open_picture
from options.checks import advise_on_few
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness

SMALL = "--model pix2pix --netG resnet_6blocks --netD pixel --ngf 2 --ndf 2 --device cpu"
WHOLE = f"{SMALL} --preprocess none --no_flip"


def grey_profile(gamma: float) -> bytes:
    """A version 2 profile of one curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
    header = struct.pack(">II4s12s12x4s28x", 192, 0, b"\x02\x40\0\0", b"mntrGRAYXYZ ", b"acsp")
    return header + white[8:] + bytes(48) + tags + white + curve


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parse(root: str, flags: str):
    line = ["--dataroot", root, *flags.split()]
    return TrainOptions(models.registry, data.registry).parse(line)


def dataset_of(root: str, flags: str = WHOLE):
    return data.registry.find("aligned")(parse(root, flags))


def save_map(root: str, name: str, size=(64, 48)) -> np.ndarray:
    """A ramp from black to white, from left to right."""
    grey = np.tile(np.linspace(0, 255, size[0], dtype=np.uint8), (size[1], 1))
    file = Path(root) / "trainW" / name
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(grey).save(file)
    return grey


@pytest.mark.parametrize("layout", ["side_by_side", "two_folders"])
def test_maps_are_grey_shares_and_white_where_there_is_none(layout, pictures, capsys):
    root = getattr(pictures, layout)(3)
    grey = save_map(root, "p1.png")
    dataset = data.create_dataset(parse(root, WHOLE)).dataset
    samples = [dataset[index] for index in range(3)]
    assert "3 images (1 with a weight map)" in capsys.readouterr().out
    assert torch.equal(samples[1]["W"], torch.from_numpy(grey)[None] / 255)
    for index in (0, 2):
        assert torch.equal(samples[index]["W"], torch.ones(1, 48, 64))


@pytest.mark.parametrize("how", ["--cache none", "--cache ram", "--augment scale,rotation,shift"])
def test_maps_are_scaled_cropped_and_flipped_with_their_pictures(how, pictures):
    """A is the map itself, so that the two stay equal."""
    root = pictures.two_folders(1)
    grey = save_map(root, "p0.png")
    Image.fromarray(grey).convert("RGB").save(Path(root) / "trainA" / "p0.png")
    flags = f"{SMALL} --seed 1 --load_size 40 --crop_size 24 --num_threads 0 {how}"
    loader = data.create_dataset(parse(root, flags))
    lefts = set()
    for epoch in range(1, 9):
        loader.set_epoch(epoch)
        (batch,) = loader
        shown = (batch["A"][:, :1] + 1) / 2
        assert batch["W"].shape == (1, 1, 24, 24)
        torch.testing.assert_close(batch["W"], shown, atol=1e-6, rtol=0)
        lefts.add((batch["W"][0, 0, 0, 0] > batch["W"][0, 0, 0, -1]).item())
    assert lefts == {True, False}  # flipped and not


def test_a_map_of_another_size_is_refused(pictures):
    root = pictures.side_by_side(2)
    save_map(root, "p1.png", (96, 48))
    with pytest.raises(UserError, match=r"p1.png is 96x48, but its picture is 64x48"):
        dataset_of(root)


def test_a_map_without_a_pair_is_told(pictures, capsys):
    root = pictures.side_by_side(2)
    save_map(root, "other.png")
    assert "W" not in dataset_of(root)[0]
    told = capsys.readouterr().out
    assert "has the name of" in told and "other.png" in told


@pytest.mark.parametrize("layout", ["side_by_side", "two_folders"])
def test_maps_of_pairs_that_are_left_out_are_no_strays_and_not_counted(layout, pictures, capsys):
    root = getattr(pictures, layout)(5)
    for index in range(5):
        save_map(root, f"p{index}.png")
    (Path(root) / "trainB" / "p4.png").unlink(missing_ok=True)
    flags = f"{WHOLE} --max_dataset_size 4 --skip_unmatched --val_split 0.25"
    data.create_dataset(parse(root, flags))
    told = capsys.readouterr().out
    assert "has the name of" not in told
    assert "3 images (3 with a weight map)" in told


@pytest.mark.parametrize(
    "flags, who",
    [
        ("--model template --dataset_mode aligned", "--model template does"),
        ("--dataset_mode unaligned", "--dataset_mode unaligned does"),
        ("--model cycle_gan", "--dataset_mode unaligned and --model cycle_gan do"),
    ],
)
def test_maps_that_are_not_used_are_told_and_not_loaded(flags, who, pictures, capsys):
    root = pictures.two_folders(2)
    save_map(root, "p0.png", (3, 3))  # of a size that would be refused
    opt = parse(root, f"{WHOLE} {flags} --num_threads 0")
    batch = next(iter(data.create_dataset(opt)))
    told = capsys.readouterr().out
    assert f"trainW: {who} not use it" in told
    assert told.count("trainW") == 1 and "weight map)" not in told and "W" not in batch
    parse(root, SMALL)
    assert "not use" not in capsys.readouterr().out


def test_maps_are_one_of_the_things_that_help_with_few_pairs(pictures, capsys):
    root = pictures.two_folders(2)
    advise_on_few(parse(root, SMALL), 2)
    assert "only 2 pairs" in capsys.readouterr().out
    save_map(root, "p0.png")
    advise_on_few(parse(root, SMALL), 2)
    assert "only 2 pairs" not in capsys.readouterr().out


def test_a_profile_changes_no_weight(pictures):
    """A grey PNG from an editor often has one, of another gamma than sRGB."""
    root = pictures.two_folders(1)
    grey = save_map(root, "p0.png")
    file = Path(root) / "trainW" / "p0.png"
    Image.open(file).save(file, icc_profile=grey_profile(1.0))
    assert np.asarray(open_picture(file))[..., 0].max() == 255  # it is one that is used:
    assert np.abs(np.asarray(open_picture(file))[..., 0] - grey.astype(int)).max() > 20
    assert torch.equal(dataset_of(root)[0]["W"], torch.from_numpy(grey)[None] / 255)


def test_maps_of_more_bits_or_in_rgb_are_the_same(pictures):
    root = pictures.two_folders(4)
    grey = save_map(root, "p0.png")
    folder = Path(root) / "trainW"
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "p1.png")
    np.save(folder / "p2.npy", grey.astype(np.float32) / 255)
    Image.merge("RGBA", [*[Image.fromarray(grey)] * 3, Image.new("L", (64, 48), 255)]).save(
        folder / "p3.png"
    )
    dataset = dataset_of(root)
    for index in range(4):
        torch.testing.assert_close(dataset[index]["W"], torch.from_numpy(grey)[None] / 255)


@pytest.mark.parametrize(
    "values, words",
    [
        (np.full((48, 64), 1.5, np.float32), "has values from 1.5 to 1.5"),
        (np.full((48, 64), np.nan, np.float32), "has values from nan to nan"),
        (np.full((48, 64, 3), (200, 100, 0), np.uint8), "has colours"),
        (np.full((48, 64, 4), (9, 9, 9, 128), np.uint8), "is transparent in places"),
        (np.full((48, 64, 4), (900, 900, 900, 128), np.uint16), "is transparent in places"),
    ],
)
def test_what_is_no_map(values, words, pictures):
    root = pictures.two_folders(1)
    folder = Path(root) / "trainW"
    folder.mkdir()
    if values.dtype == np.uint8:
        Image.fromarray(values).save(folder / "p0.png")
    else:
        np.save(folder / "p0.npy", values)
    dataset = dataset_of(root)
    with pytest.raises(UserError, match=words) as raised:
        dataset[0]
    assert "p0" in str(raised.value) and "--range" not in str(raised.value)


def test_a_map_whose_header_tells_that_it_is_none_is_refused_at_the_start(pictures):
    root = pictures.side_by_side(1)
    (Path(root) / "trainW").mkdir()
    np.save(Path(root) / "trainW" / "p0.npy", np.zeros((48, 64), np.int32))
    with pytest.raises(UserError, match=r"p0.npy has values of int32: a weight map is"):
        dataset_of(root)


def test_a_black_map_is_told(pictures, capsys):
    root = pictures.side_by_side(2)
    save_map(root, "p0.png")
    Image.new("L", (64, 48)).save(Path(root) / "trainW" / "p1.png")
    for _ in data.create_dataset(parse(root, f"{WHOLE} --num_threads 0")):
        pass
    told = [line for line in capsys.readouterr().out.splitlines() if "all black" in line]
    assert len(told) == 1 and "p1.png" in told[0]


def losses(root: str, flags: str = "") -> tuple[float, torch.Tensor]:
    """The L1 loss of the first picture, and its gradient at the result."""
    opt = parse(root, f"{WHOLE} --lambda_L1 1 --seed 1 --num_threads 0 {flags} --serial_batches")
    torch.manual_seed(1)
    model = models.create_model(opt)
    batch = next(iter(data.create_dataset(opt)))
    model.set_input(batch)
    model.forward()
    (gradient,) = torch.autograd.grad(model.reconstruction_loss(), model.fake_B)
    distance = (model.fake_B - model.real_B).detach().abs().double()
    return model.loss_G_L1.item(), gradient, distance, batch.get("W")


def test_the_loss_is_the_mean_of_the_weighted_distance(pictures):
    root = pictures.two_folders(1)
    plain, plain_gradient, distance, _ = losses(root)
    assert plain == pytest.approx(distance.mean().item(), rel=1e-5)
    grey = save_map(root, "p0.png")
    loss, gradient, distance, weights = losses(root)
    expected = (distance.numpy() * (grey / 255.0)[None, None]).mean()
    assert loss == pytest.approx(expected, rel=1e-5) and loss < 0.9 * plain
    torch.testing.assert_close(gradient, plain_gradient * weights)
    assert not gradient[..., 0].any() and gradient[..., -1].all()


def test_maps_keep_their_tones(pictures):
    root = pictures.two_folders(1)
    grey = save_map(root, "p0.png")
    dataset = dataset_of(root, f"{WHOLE} --augment exposure,gamma")
    assert torch.equal(dataset[0]["W"], torch.from_numpy(grey)[None] / 255)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_some_samples_are_a_target_and_itself(direction, pictures):
    root = pictures.two_folders(1)
    flags = f"{WHOLE} --direction {direction}"
    plain, mixed = dataset_of(root, flags), dataset_of(root, f"{flags} --identity_pairs 0.3")
    target = "B" if direction == "AtoB" else "A"
    alike = 0
    for epoch in range(200):
        with isolated_randomness(epoch):
            sample = mixed[0]
        with isolated_randomness(epoch):
            expected = plain[0]
        assert torch.equal(sample[target], expected[target])
        if torch.equal(sample["A"], sample["B"]):
            alike += 1
        else:
            assert torch.equal(sample["A"], expected["A"])
    assert 40 <= alike <= 80


def test_validation_has_the_pairs_as_they_are(pictures):
    """So doing nothing scores the same whatever the share is."""
    root = pictures.two_folders(6)
    seen = []
    for share in ("0", "0.99"):
        opt = parse(root, f"{WHOLE} --val_split 0.5 --identity_pairs {share} --seed 3")
        judged = data.create_judged(opt)
        seen.append([(b["A"], b["B"]) for b in [*judged.validation.loader, *judged.examples]])
    assert len(seen[0]) == 6
    for plain, mixed in zip(*seen, strict=True):
        assert all(map(torch.equal, plain, mixed))


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--identity_pairs 1", "--identity_pairs 1 is no share"),
        ("--identity_pairs -0.1", "--identity_pairs -0.1 is no share"),
        ("--identity_pairs 0.1 --input_nc 1", "the same channels and range"),
        ("--identity_pairs 0.1 --range_A 0,4095", "the same channels and range"),
    ],
)
def test_shares_that_are_none(flags, words, pictures):
    with pytest.raises(UserError, match=words):
        dataset_of(pictures.two_folders(2), f"{SMALL} {flags}")
