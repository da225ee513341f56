"""DiffAugment: each transform against a few lines of its own, and what discriminators see of it."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import build

import data
import models
from models.networks.d_augment import DiffAugment
from options.train_options import TrainOptions
from util.errors import UserError

HEIGHT, WIDTH = 24, 32
SHIFTS = list(product(range(-3, 4), range(-4, 5)))  # an eighth of the sides

torch.set_num_threads(1)


def noise(number: int, channels: int, seed: int = 0) -> torch.Tensor:
    """(N, C, 24, 32) in [-1, 1], in double precision."""
    random = torch.Generator().manual_seed(seed)
    shape = (number, channels, HEIGHT, WIDTH)
    return torch.rand(shape, generator=random, dtype=torch.float64) * 2 - 1


def shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """x, (..., H, W), moved by whole pixels; zeros come in."""
    return F.pad(x, (right, -right, down, -down))


def shift_of(moved: torch.Tensor, still: torch.Tensor) -> tuple[int, int]:
    """By how much one sample was moved."""
    by_hand = product(*(range(-side // 8, side // 8 + 1) for side in still.shape[1:]))
    (found,) = (by for by in by_hand if torch.allclose(shifted(still, *by), moved))
    return found


def test_translation_by_hand():
    """Up to an eighth of each side, each shift as likely, and each sample by itself."""
    torch.manual_seed(1)
    x = noise(800, 1)
    moved = DiffAugment("translation")(x)
    found = [shift_of(*pair) for pair in zip(moved, x, strict=True)]
    assert set(found) == set(SHIFTS)
    counts = [found.count(by) for by in SHIFTS]
    assert max(counts) < 2.5 * 800 / len(SHIFTS)  # five standard deviations


def test_cutout_by_hand():
    """A rectangle of half the sides, centred anywhere, is mid-grey; the rest is as it was."""
    torch.manual_seed(1)
    x = noise(3000, 2)
    masked = DiffAugment("cutout")(x)
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    holes = {
        (row, column): (abs(rows - row + 0.5) < 6) & (abs(columns - column + 0.5) < 8)
        for row, column in product(range(HEIGHT), range(WIDTH))
    }
    assert {int(hole.sum()) for hole in holes.values()} >= {12 * 16, 6 * 8}
    by_mask = {hole.numpy().tobytes(): centre for centre, hole in holes.items()}
    found = []
    for before, after in zip(x, masked, strict=True):
        found.append(by_mask[(after[0] == 0).numpy().tobytes()])
        torch.testing.assert_close(after, before * ~holes[found[-1]], rtol=0, atol=0)
    assert len(set(found)) > 0.9 * len(holes)


@pytest.mark.parametrize("channels", [(3, 3), (1, 3), (3, 1), (4, 2)])
def test_color_by_hand(channels):
    """Each picture of a pair by the same values, which flat and grey pictures tell."""
    torch.manual_seed(1)
    number, total = 400, sum(channels)
    T = DiffAugment("color", channels).draw(noise(number, total))
    brightness = T(torch.zeros_like(noise(number, total)))[:, 0, 0, 0]
    slope = noise(1, 1).expand(number, total, -1, -1)
    slope = slope - slope.mean()
    contrast = (T(slope)[:, 0, 0, 0] - brightness) / slope[:, 0, 0, 0]
    for values, low, high in ((brightness, -0.5, 0.5), (contrast, 0.5, 1.5)):
        assert low <= values.min() < low + 0.02 and high - 0.02 < values.max() <= high

    pictures = noise(number, total, seed=2).split(channels, 1)
    changed = T(torch.cat(pictures, 1)).split(channels, 1)
    saturations = []
    for before, after in zip(pictures, changed, strict=True):
        mean = before.mean((1, 2, 3))
        centred = (after - (mean + brightness).view(-1, 1, 1, 1)) / contrast.view(-1, 1, 1, 1)
        wanted = before - mean.view(-1, 1, 1, 1)
        if before.shape[1] == 3:  # the grey of a pixel stays, its colour is stretched
            grey = wanted.mean(1, keepdim=True)
            factor = (centred - grey)[:, 0, 0, 0] / (wanted - grey)[:, 0, 0, 0]
            assert 0 <= factor.min() < 0.02 and 1.98 < factor.max() <= 2
            wanted = grey + (wanted - grey) * factor.view(-1, 1, 1, 1)
            saturations.append(factor)
        torch.testing.assert_close(centred, wanted, rtol=1e-9, atol=1e-9)
    for other in saturations[1:]:
        torch.testing.assert_close(other, saturations[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("names", ["translation", "cutout", "color", "translation,cutout,color"])
def test_gradients_flow_through_it(names):
    torch.manual_seed(1)
    x = (torch.rand(2, 4, 8, 16, dtype=torch.float64) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(DiffAugment(names, (1, 3)).draw(x), x)


def test_what_comes_in_from_outside_keeps_its_colour():
    """Colours change first, whatever the order of the names: holes and borders are mid-grey."""
    torch.manual_seed(1)
    both = DiffAugment("cutout,translation,color")(noise(8, 3).abs() + 0.1)
    assert all((sample == 0).all(0).sum() >= 48 for sample in both)


def test_the_same_transform_can_be_applied_again():
    torch.manual_seed(1)
    x, augment = noise(4, 3), DiffAugment("translation,cutout,color")
    T = augment.draw(x)
    assert torch.equal(T(x), T(x))
    assert not torch.equal(T(x), augment(x))


def test_without_names_nothing_is_drawn_or_changed():
    before, x = torch.get_rng_state(), noise(1, 3)
    assert DiffAugment("none")(x) is x
    assert torch.equal(torch.get_rng_state(), before)


# --- In models ------------------------------------------------------------------------------------


def inputs_of(net: torch.nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


def test_the_discriminator_of_pairs_sees_them_moved_together(tmp_path):
    """In both steps; the generator's gradients are those through the same move, by hand."""
    flags = ("--d_augment", "translation", "--lambda_L1", "0", "--gan_mode", "lsgan")
    model = build(tmp_path, "pix2pix", *flags)
    seen, netG = inputs_of(model.netD), copy.deepcopy(model.netG)
    model.optimize_parameters()
    fake = netG(model.real_A)
    pairs = [torch.cat((model.real_A, x), 1) for x in (fake, model.real_B, fake)]
    moves = [
        [shift_of(*sample) for sample in zip(judged, pair, strict=True)]
        for judged, pair in zip(seen, pairs, strict=True)
    ]
    assert len({by for move in moves for by in move}) == 6  # all are drawn anew

    of_G = [shifted(pair, *by) for pair, by in zip(pairs[2], moves[2], strict=True)]
    ((model.netD(torch.stack(of_G)) - 1) ** 2).mean().backward()
    for ours, theirs in zip(model.netG.parameters(), netG.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("model", ["cycle_gan", "colorization", "pix2pix_with_perceptual"])
def test_every_model_augments_all_that_its_discriminators_see(model, tmp_path):
    """Cutout is the one that shows: a hole of at least 8x8 pixels."""
    more = ("--use_perceptual", "off") if "perceptual" in model else ()
    built = build(tmp_path, model, "--d_augment", "cutout", *more)
    seen = [inputs_of(net) for n, net in built.networks().items() if n.startswith("D")]
    built.optimize_parameters()
    assert [len(inputs) for inputs in seen] == [3] * len(seen)
    for judged in (sample for inputs in seen for batch in inputs for sample in batch):
        assert (judged == 0).all(0).sum() >= 64


def test_the_penalty_is_of_the_pairs_that_the_critic_judges(tmp_path):
    model = build(tmp_path, "pix2pix", "--d_augment", "translation,cutout", "--gan_mode", "wgangp")
    seen = inputs_of(model.netD)
    model.optimize_parameters()
    fake, real, mixed, _ = seen
    eps = ((mixed - fake) * (real - fake)).sum((1, 2, 3)) / (real - fake).square().sum((1, 2, 3))
    eps = eps.view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed, eps * real + (1 - eps) * fake)


def parse(tmp_path: Path, *flags: str):
    line = ["--dataroot", str(tmp_path), "--checkpoints_dir", str(tmp_path), "--model", "pix2pix"]
    return TrainOptions(models.registry, data.registry).parse([*line, *flags])


@pytest.mark.parametrize(
    "text, value",
    [
        ("cutout", "cutout"),
        ("cutout,translation", "translation,cutout"),
        ("cutout,color,cutout", "color,cutout"),
        ("none", "none"),
    ],
)
def test_names_are_a_set(text, value, tmp_path):
    assert parse(tmp_path, "--d_augment", text).d_augment == value
    assert parse(tmp_path).d_augment == "none"


@pytest.mark.parametrize("text", ["cutot", "translation,flip", "none,cutout", "", "cutout,"])
def test_other_names_are_refused_with_those_there_are(text, tmp_path):
    with pytest.raises(UserError) as error:
        parse(tmp_path, "--d_augment", text)
    line = str(error.value)
    assert "\n" not in line and line.startswith("--d_augment: ")
    assert ("none and more" if text == "none,cutout" else "color, translation, cutout") in line
    assert ("did you mean cutout?" in line) is (text == "cutot")


def test_colours_in_Lab_are_left_alone(tmp_path):
    with pytest.raises(UserError) as error:
        build(tmp_path, "colorization", "--d_augment", "cutout,color")
    line = str(error.value)
    assert "\n" not in line and "--d_augment color" in line and "Lab" in line
    assert "pass --d_augment cutout" in line
