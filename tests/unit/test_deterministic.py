"""The reflection padding of --deterministic is PyTorch's own, bit for bit, gradients included."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.networks.generators import define_G
from util.speed.deterministic import DeterministicReflectionPad2d, replace_reflection_padding

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
CASES = (  # padding: left, right, top, bottom; height, width
    ((1, 1, 1, 1), (8, 8)),
    ((3, 3, 3, 3), (16, 9)),
    ((3, 3, 3, 3), (4, 4)),  # as wide as reflection allows: all nine parts overlap
    ((1, 2, 3, 0), (5, 7)),
    ((0, 3, 0, 1), (6, 4)),
    ((4, 0, 2, 5), (6, 5)),
    ((0, 0, 0, 0), (3, 3)),
    ((1, 1, 1, 1), (2, 2)),
)


def pad(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(output, gradient) of a layer."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(grad)
    assert x.grad is not None
    return y.detach(), x.grad


def bits(x: torch.Tensor) -> list[int]:
    """Unlike ==, this tells 0.0 from -0.0."""
    return x.contiguous().view(torch.uint8).flatten().tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("padding, size", CASES)
def test_reflection_padding_is_that_of_pytorch(padding, size, dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size).to(dtype)
    left, right, top, bottom = padding
    grad = torch.randn(2, 3, size[0] + top + bottom, size[1] + left + right).to(dtype)
    grad[0, 0] = -0.0
    ours = pad(DeterministicReflectionPad2d(padding), x, grad)
    theirs = pad(nn.ReflectionPad2d(padding), x, grad)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == dtype
        assert bits(one) == bits(other)


def test_channels_last_and_pictures_without_a_batch():
    torch.manual_seed(0)
    x, grad = torch.randn(2, 4, 6, 5), torch.randn(2, 4, 10, 9)
    ours, theirs = DeterministicReflectionPad2d(2), nn.ReflectionPad2d(2)
    last = {"memory_format": torch.channels_last}
    for a, b in ((x.to(**last), grad.to(**last)), (x[0], grad[0])):
        for one, other in zip(pad(ours, a, b), pad(theirs, a, b), strict=True):
            assert bits(one) == bits(other)
            assert one.stride() == other.stride()


def test_its_gradient_can_be_differentiated_again():
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    layer = DeterministicReflectionPad2d((3, 1, 2, 3))
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


def test_a_generator_learns_the_same():
    torch.manual_seed(0)
    net = define_G(3, 3, 4, "resnet_6blocks", "instance")
    deterministic = copy.deepcopy(net)
    replace_reflection_padding(deterministic)
    assert deterministic.state_dict().keys() == net.state_dict().keys()
    kinds = {type(m) for m in deterministic.modules()}
    assert DeterministicReflectionPad2d in kinds
    assert nn.ReflectionPad2d not in kinds

    x = torch.rand(1, 3, 32, 32)
    for one in (net, deterministic):
        one(x).square().sum().backward()
    for ours, theirs in zip(deterministic.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.gpu
def test_a_gpu_gives_the_gradient_of_the_cpu(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        x, grad = torch.randn(2, 64, 40, 40), torch.randn(2, 64, 46, 46)
        y, x_grad = pad(nn.ReflectionPad2d(3), x, grad)
        for _ in range(3):
            ours = pad(DeterministicReflectionPad2d(3), x.cuda(), grad.cuda())
            assert bits(ours[0].cpu()) == bits(y)
            assert bits(ours[1].cpu()) == bits(x_grad)
    finally:
        torch.use_deterministic_algorithms(False)
