"""The perceptual loss and the model with it: values, gradients, memory, weights, plain pix2pix."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import data
import models
from models.losses.perceptual import LAYERS, PerceptualLoss
from options.train_options import TrainOptions
from util.errors import UserError

CONVOLUTIONS = {  # the first four blocks, by torchvision's numbers
    "vgg16": [(0, 2), (5, 7), (10, 12, 14), (17, 19, 21)],
    "vgg19": [(0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25)],
}
WIDTHS = (64, 128, 256, 512)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights in the shape of each VGG, with spreads that keep values in range."""
    torch.manual_seed(0)
    files = {}
    for vgg, blocks in CONVOLUTIONS.items():
        state, before = {}, 3
        for block, width in zip(blocks, WIDTHS, strict=True):
            for number in block:
                spread = (2 / (9 * before)) ** 0.5
                state[f"features.{number}.weight"] = torch.randn(width, before, 3, 3) * spread
                state[f"features.{number}.bias"] = torch.randn(width) * 0.1
                before = width
        files[vgg] = tmp_path_factory.mktemp("weights") / f"{vgg}.pth"
        torch.save(state, files[vgg])
    return files


@pytest.fixture(scope="module")
def loss16(weights: dict[str, Path]) -> PerceptualLoss:
    return PerceptualLoss("vgg16", weights["vgg16"])


def activations(file: Path, vgg: str, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every reluBLOCK_CONVOLUTION of a picture in [-1, 1], the straightforward way."""
    state = torch.load(file, weights_only=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = picture.repeat(1, 3 // picture.shape[1], 1, 1)
    x = ((x * 0.5 + 0.5) - mean[:, None, None]) / std[:, None, None]
    found = {}
    for b, block in enumerate(CONVOLUTIONS[vgg], 1):
        for c, number in enumerate(block, 1):
            kernel, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
            x = found[f"relu{b}_{c}"] = torch.relu(F.conv2d(x, kernel, bias, padding=1))
        x = F.max_pool2d(x, 2)
    return found


def pictures(channels: int = 3, height: int = 32, width: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(2, channels, height, width, generator=generator) * 2 - 1 for _ in "ab")


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("vgg", ["vgg16", "vgg19"])
def test_values_and_gradients_are_those_of_plain_layers(weights, vgg, channels):
    fake, real = pictures(channels, 33, 46)  # odd sides: pooling leaves a row over
    fake.requires_grad_(True)
    loss = PerceptualLoss(vgg, weights[vgg])(fake, real)
    (gradient,) = torch.autograd.grad(loss, fake)

    a, b = activations(weights[vgg], vgg, fake), activations(weights[vgg], vgg, real)
    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    wanted = sum(0.25 * (a[layer] - b[layer]).abs().mean() for layer in layers)
    (wanted_gradient,) = torch.autograd.grad(wanted, fake)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-7)
    assert gradient.abs().max() > 1e-4


def test_the_layers_asked_for_count_by_their_weights(weights):
    fake, real = pictures()
    layers = {"relu2_1": 3.0, "relu1_1": 0.5}
    loss = PerceptualLoss("vgg16", weights["vgg16"], layers)
    a, b = activations(weights["vgg16"], "vgg16", fake), activations(weights["vgg16"], "vgg16", real)
    wanted = sum(w * (a[layer] - b[layer]).abs().mean() for layer, w in layers.items())
    torch.testing.assert_close(loss(fake, real), wanted)
    assert len(list(loss.parameters())) == 2 * 3  # nothing after relu2_1 is there


def test_equal_pictures_are_at_no_distance(loss16):
    fake, real = pictures()
    assert loss16(real, real) == 0
    assert loss16(fake, real) > 0.01


def test_gradients_flow_to_the_fake_alone(loss16):
    fake, real = (picture.requires_grad_(True) for picture in pictures())
    loss16(fake, real).backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss16.parameters())


def test_stays_in_eval_mode_when_its_owner_trains(loss16):
    nn.ModuleList([loss16]).train()
    assert not any(module.training for module in loss16.modules())


def test_the_graph_keeps_no_activations(loss16):
    """Only bytes and places, and of the real picture no more than the signs of differences."""
    fake, real = pictures()
    fake.requires_grad_(True)
    parameters = {p.data_ptr() for p in loss16.parameters()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        loss16(fake, real)
    kept = [t for t in kept if t.data_ptr() not in parameters]
    plain = sum(a.nbytes for a in activations_of(loss16, fake)) 
    assert sum(t.nbytes for t in kept) < 0.3 * plain
