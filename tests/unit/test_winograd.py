"""Winograd's convolutions are convolutions: outputs, gradients, and gradients of gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import networks
from util.speed.recompute import recompute
from util.speed.winograd import LEAST_CHANNELS, Convolution, use_winograd, workspace

CASES = [  # (N, C, height, width), kernels
    ((1, 5, 18, 18), 7),  # as many tiles as fit
    ((2, 5, 21, 27), 7),  # the last tiles reach beyond the border
    ((3, 4, 3, 3), 6),  # one pixel of output
    ((1, 1, 9, 6), 1),
]


def leaves(shape, kernels, dtype=torch.float64):
    """x, weight and bias that ask for gradients."""
    torch.manual_seed(0)
    shapes = shape, (kernels, shape[1], 3, 3), (kernels,)
    return [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("strip_tiles", [512, 8, 1], ids="at most {} tiles at once".format)
@pytest.mark.parametrize("shape, kernels", CASES)
def test_outputs_and_gradients_are_those_of_a_convolution(shape, kernels, strip_tiles, monkeypatch):
    monkeypatch.setattr("util.speed.winograd.STRIP_TILES", strip_tiles)
    x, weight, bias = leaves(shape, kernels)
    expected = F.conv2d(x, weight, bias)
    found = Convolution.apply(x, weight, bias)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight, bias), upstream),
        torch.autograd.grad(expected, (x, weight, bias), upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gradients_can_be_differentiated():
    """A gradient penalty asks for it."""
    x, weight, bias = leaves((1, 3, 10, 10), 4)
    penalties = []
    for convolution in (Convolution.apply, F.conv2d):
        output = convolution(x, weight, bias).square().sum()
        (slope,) = torch.autograd.grad(output, x, create_graph=True)
        penalties.append(torch.autograd.grad(slope.norm(), (x, weight, bias)))
    torch.testing.assert_close(penalties[0], penalties[1], rtol=1e-10, atol=1e-10)


def test_rounding_stays_near_that_of_a_direct_convolution():
    exact = leaves((1, 256, 18, 18), 64)
    single = [leaf.detach().float().requires_grad_() for leaf in exact]

    def results(convolution, x, weight, bias):
        y = convolution(x, weight, bias)
        upstream = torch.linspace(-1, 1, y.numel()).view(y.shape).to(y.dtype)
        return [y, *torch.autograd.grad(y, (x, weight), upstream)]

    truth = results(F.conv2d, *exact)
    direct, found = results(F.conv2d, *single), results(Convolution.apply, *single)
    for true, usual, here in zip(truth, direct, found, strict=True):
        assert (here - true).std() < 10 * (usual - true).std()


@pytest.mark.parametrize(
    "layer, served",
    [
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3), True),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=1, bias=False), True),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS // 2, 3), False),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, stride=2), False),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding="same"), False),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 4), False),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, dilation=2), False),
        (nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, groups=2), False),
    ],
    ids=str,
)
def test_each_layer_gives_what_it_gave(layer, served):
    x = torch.randn(1, LEAST_CHANNELS, 66, 66)
    expected = layer(x)
    use_winograd(layer)
    found = layer(x)
    assert torch.equal(found, expected) is not served
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_precision_of_the_models_own_is_left_alone():
    layer = nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3)
    x = torch.randn(1, LEAST_CHANNELS, 34, 34)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        use_winograd(layer)
        assert torch.equal(layer(x), expected)


def test_a_layer_serves_training_after_inference():
    """What is cached between calls must not be inference tensors, which autograd rejects."""
    layer = nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3)
    use_winograd(layer)
    x = torch.randn(1, LEAST_CHANNELS, 50, 50, requires_grad=True)
    workspace.blocks.clear()  # of what other tests have left
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert x.grad is not None


def test_few_pixels_are_convolved_directly():
    layer = nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3)
    x = torch.randn(1, LEAST_CHANNELS, 10, 10)
    expected = layer(x)
    use_winograd(layer)
    assert torch.equal(layer(x), expected)


def test_a_generator_keeps_its_keys_and_recomputes_to_the_same_bits():
    torch.manual_seed(0)
    net = networks.define_G(3, 3, LEAST_CHANNELS // 4, "resnet_6blocks", norm="instance")
    keys, x = list(net.state_dict()), torch.randn(1, 3, 256, 256)
    use_winograd(net)
    assert list(net.state_dict()) == keys
    gradients = []
    for change in (lambda net: None, recompute):
        change(net)
        net.zero_grad()
        net(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
