"""First weights: their distribution, their order under a seed, and what is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models import networks


def test_normal_draws_weights_norms_and_biases_as_the_papers_say():
    torch.manual_seed(0)
    net = networks.define_D(3, 32, "basic", 3, "batch", "normal", 0.02)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            spread = 0.02 * 5 / math.sqrt(2 * layer.weight.numel())  # five standard errors
            assert layer.weight.std().item() == pytest.approx(0.02, abs=spread)
            assert abs(layer.weight.mean().item()) < 0.02 * 5 / math.sqrt(layer.weight.numel())
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.02)
            assert 0.01 < layer.weight.std().item() < 0.03
        if getattr(layer, "bias", None) is not None:
            assert not layer.bias.any()


FAN_IN, FAN_OUT = 16 * 9, 32 * 9


@pytest.mark.parametrize(
    "init_type, gain, std",
    [
        ("normal", 0.02, 0.02),
        ("normal", 0.5, 0.5),
        ("xavier", 0.02, 0.02 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("xavier", 3.0, 3.0 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("kaiming", 0.02, math.sqrt(2 / FAN_IN)),
        ("kaiming", 3.0, math.sqrt(2 / FAN_IN)),
    ],
)
def test_init_gain_means_what_it_says(init_type, gain, std):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 32, 3)
    networks.init_weights(conv, init_type, gain)
    assert conv.weight.std().item() == pytest.approx(std, rel=0.05)
    assert abs(conv.weight.mean().item()) < 0.1 * std
    assert not conv.bias.any()


@pytest.mark.parametrize("gain", [0.02, 3.0])
def test_orthogonal_rows_have_the_length_of_the_gain(gain):
    conv = nn.Conv2d(16, 32, 3)
    networks.init_weights(conv, "orthogonal", gain)
    rows = conv.weight.detach().flatten(1) / gain
    torch.testing.assert_close(rows @ rows.T, torch.eye(32), rtol=0, atol=1e-5)


@pytest.mark.parametrize("init_type", ["normal", "xavier", "kaiming", "orthogonal"])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_norm_weights_vary_by_the_gain_under_every_init_type(norm, init_type):
    torch.manual_seed(0)
    layer = norm(4000)
    nn.init.ones_(layer.bias)
    networks.init_weights(layer, init_type, 0.1)
    assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert layer.weight.std().item() == pytest.approx(0.1, rel=0.1)
    assert not layer.bias.any()


def test_syncbatch_starts_with_the_weights_of_batch():
    def weights(norm: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return networks.define_G(3, 3, 2, "resnet_6blocks", norm).state_dict()

    batch, syncbatch = weights("batch"), weights("syncbatch")
    assert batch.keys() == syncbatch.keys()
    assert all(torch.equal(batch[key], syncbatch[key]) for key in batch)


@pytest.mark.parametrize("name", ["resnet_6blocks", "unet_128"])
def test_layers_draw_in_the_order_of_their_keys(name):
    net = networks.define_G(3, 3, 2, name, "batch")
    torch.manual_seed(5)
    networks.init_weights(net, "normal", 0.02)
    torch.manual_seed(5)
    for key, value in net.state_dict().items():
        if key.endswith("weight"):
            mean = 0.0 if value.dim() == 4 else 1.0
            assert torch.equal(value, torch.empty_like(value).normal_(mean, 0.02)), key


def test_a_seed_gives_the_weights_that_plain_layers_drawn_in_order_give():
    """Nothing else draws in between: a seed picks the same weights as it does elsewhere."""
    torch.manual_seed(7)
    net = networks.define_D(3, 4, "pixel", 3, "batch")
    torch.manual_seed(7)
    layers = [nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 1, 1, bias=False)]
    first = nn.init.normal_(layers[0].weight, 0, 0.02)
    second = nn.init.normal_(layers[1].weight, 0, 0.02)
    norm = torch.empty(8).normal_(1, 0.02)
    third = nn.init.normal_(layers[2].weight, 0, 0.02)
    for index, wanted in ((0, first), (2, second), (3, norm), (5, third)):
        assert torch.equal(net.net[index].weight, wanted)


def test_instance_norm_and_linear_layers():
    net = nn.Sequential(nn.Linear(200, 200), nn.InstanceNorm2d(4), nn.Identity())
    networks.init_weights(net, "normal", 0.3)
    assert net[0].weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert not net[0].bias.any()
