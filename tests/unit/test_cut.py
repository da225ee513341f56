"""CUT and FastCUT: the contrastive loss, where its features come from, flips, what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import models
from models import cut_model
from models.cut_model import LAYERS, Projections, draw_places, patch_nce
from options.train_options import TrainOptions
from util.errors import UserError

SMALL = "--netG resnet_6blocks --ngf 4 --ndf 4 --load_size 32 --crop_size 32 --device cpu --seed 1"


@pytest.fixture
def model(pictures, tmp_path, monkeypatch):
    def make(flags: str = "", **channels: int):
        line = f"--dataroot {pictures.unaligned(1, 1)} --name run --model cut {SMALL} {flags}"
        monkeypatch.setattr("sys.argv", ["train.py", *line.split()])
        monkeypatch.chdir(tmp_path)
        opt = TrainOptions().parse()
        torch.manual_seed(0)
        made = models.create_model(opt)
        made.setup(opt)
        return made

    return make


def batch(size: int = 2) -> dict:
    drawn = torch.Generator().manual_seed(3)
    sides = {side: torch.rand(size, 3, 32, 32, generator=drawn) * 2 - 1 for side in "AB"}
    return {**sides, "A_paths": ["a.png"] * size, "B_paths": ["b.png"] * size}


def test_patch_nce_is_the_papers_sum() -> None:
    """Equation 3, written out for each query in double precision."""
    drawn = np.random.default_rng(0).standard_normal((2, 2, 7, 5))
    queries, keys = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    total = 0.0
    for n in range(2):
        for s in range(7):
            scores = np.exp([queries[n, s] @ keys[n, k] / 0.07 for k in range(7)])
            total -= np.log(scores[s] / scores.sum()) / 14
    found = patch_nce(torch.from_numpy(queries), torch.from_numpy(keys))
    assert float(found) == pytest.approx(total, rel=1e-12)


def test_the_loss_of_equal_patches_is_that_of_guessing() -> None:
    same = torch.ones(1, 256, 256) / 16
    assert float(patch_nce(same, same)) == pytest.approx(np.log(256), rel=1e-5)


def test_places_are_as_many_as_there_are() -> None:
    for side, number in ((4, 16), (40, 256)):
        places = draw_places(torch.zeros(3, 5, side, side))
        assert len(set(places.tolist())) == number and places.max() < side**2


def test_projections_have_length_one() -> None:
    net = Projections([3, 8])
    features = [torch.rand(2, 3, 6, 6), torch.rand(2, 8, 3, 3)]
    made = net(features, [torch.tensor([0, 7, 35]), torch.tensor([8])])
    assert [tuple(x.shape) for x in made] == [(2, 3, 256), (2, 1, 256)]
    assert all(torch.allclose(x.norm(dim=2), torch.ones(1)) for x in made)


def test_features_are_the_outputs_of_the_papers_layers(model) -> None:
    cut = model()
    cut.set_input(batch())
    x = cut.real_A
    _, heard = cut.with_features(x)
    for index, layer in enumerate(cut.netG.model):
        x = layer(x)
        if index in LAYERS:
            place = LAYERS.index(index)
            # Norms and activations in place have not touched what was heard.
            assert torch.equal(heard[place], x) or index in (4, 7)
    assert [f.shape[1] for f in heard] == [3, 8, 16, 16, 16]
    assert len(heard) == len(LAYERS)


def test_both_losses_of_cut_are_halved_and_reach_all_networks(model) -> None:
    cut = model("--lambda_NCE 3")
    cut.set_input(batch())
    cut.optimize_parameters()
    wanted = cut.loss_G_GAN + (cut.loss_NCE + cut.loss_NCE_Y) / 2
    assert torch.allclose(cut.loss_G, wanted)
    assert all(p.grad is not None for net in (cut.netG, cut.netF) for p in net.parameters())
    assert float(cut.loss_NCE.detach()) > 3, "the weight counts"


def test_keys_get_no_gradient(model) -> None:
    cut = model("--lambda_GAN 0")
    cut.set_input(batch())
    cut.forward()
    assert all(key.requires_grad for key in cut.keys[1:])
    cut.nce(cut.real_B.detach(), cut.keys).backward()
    first = cut.netG.model[1].weight
    with_keys = first.grad.clone()
    first.grad = None
    cut.nce(cut.real_B.detach(), [key.detach() for key in cut.keys])
    assert with_keys.abs().sum() > 0


@pytest.mark.parametrize("flipped", [False, True])
def test_flips_are_undone_in_the_features(flipped, model, monkeypatch) -> None:
    """A generator that ignores mirrors has the same loss for a picture and its mirror image."""
    cut = model("--CUT_mode FastCUT")
    assert "idt_B" not in cut.visual_names and "NCE_Y" not in cut.loss_names
    monkeypatch.setattr(random, "random", lambda: 0.0 if flipped else 1.0)
    for layer in cut.netG.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data = (layer.weight + layer.weight.flip(3)).data
    cut.set_input(batch())
    cut.forward()
    assert cut.flipped == flipped
    # At stride 2, mirrored places fall between those of the picture; the first layer has them all.
    places = [torch.arange(8)] * len(LAYERS)
    _, queries = cut.with_features(cut.real_A.flip(3) if flipped else cut.real_A)
    first = queries[0].flip(3) if flipped else queries[0]
    assert torch.equal(first, cut.keys[0])
    assert len(cut.netF(cut.keys, places)) == len(LAYERS)
    shown = cut.get_current_visuals()["fake_B"]
    assert torch.equal(shown, cut.fake_B.flip(3) if flipped else cut.fake_B)


@pytest.mark.parametrize(
    "mode, epochs, decay, weight", [("CUT", 200, 200, 1), ("FastCUT", 150, 50, 10)]
)
def test_each_mode_has_the_numbers_of_the_paper(mode, epochs, decay, weight, model) -> None:
    opt = model(f"--CUT_mode {mode}").opt
    assert (opt.n_epochs, opt.n_epochs_decay, opt.lambda_NCE) == (epochs, decay, weight)
    assert (opt.init_type, opt.gan_mode, opt.norm, opt.no_dropout) == (
        "xavier",
        "lsgan",
        "instance",
        True,
    )
    assert (opt.lr, opt.beta1, opt.lambda_GAN, opt.netG) == (2e-4, 0.5, 1, "resnet_6blocks")


@pytest.mark.parametrize(
    "flags, line",
    [
        ("--netG unet_128 --crop_size 128 --load_size 128", "features of a ResNet"),
        ("--gan_mode wgangp", "no wgangp"),
        ("--output_nc 1", "--CUT_mode FastCUT"),
        ("--CUT_mode slow", "CUT_mode"),
    ],
)
def test_what_does_not_suit_is_refused(flags, line, model) -> None:
    with pytest.raises(UserError, match=line):
        model(flags)


def test_it_learns_to_tell_patches_apart(model) -> None:
    cut = model("--lr 0.002")
    cut.set_input(batch(1))
    losses = []
    for _ in range(25):
        cut.optimize_parameters()
        losses.append(float(cut.loss_NCE.detach()))
    assert min(losses[-3:]) < losses[0] - 0.3
    assert cut_model.NUM_PATCHES == 256
