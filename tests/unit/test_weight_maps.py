"""Where the result matters: maps in trainW, and pairs of a target and itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
import models
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness

SMALL = "--model pix2pix --netG resnet_6blocks --netD pixel --ngf 2 --ndf 2 --device cpu"
WHOLE = f"{SMALL} --preprocess none --no_flip"


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
    samples = [dataset_of(root)[index] for index in range(3)]
    assert "trainW: weight maps for 1 of 3 pairs" in capsys.readouterr().out
    assert torch.equal(samples[1]["W"], torch.from_numpy(grey)[None] / 255)
    for index in (0, 2):
        assert torch.equal(samples[index]["W"], torch.ones(1, 48, 64))


@pytest.mark.parametrize("how", ["--cache none", "--cache ram", "--augment scale,rotation,shift"])
def test_maps_are_scaled_cropped_and_flipped_with_their_pictures(how, pictures):
    """A is the map itself, so that the two stay equal."""
    root = pictures.two_folders(1)
    grey = save_map(root, "p0.png")
    Image.fromarray(grey).convert("RGB").save(Path(root) / "trainA" / "p0.png")
    flags = f"{SMALL} --load_size 40 --crop_size 24 --num_threads 0 {how}"
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
    assert "no pair has the name of" in told and "other.png" in told


def test_other_models_say_that_they_do_not_use_maps(pictures, capsys):
    root = pictures.two_folders(2)
    save_map(root, "p0.png")
    parse(root, f"{SMALL} --model template --dataset_mode aligned")
    assert "trainW: --model template does not use weight maps" in capsys.readouterr().out
    parse(root, SMALL)
    assert "does not use" not in capsys.readouterr().out


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
