"""Generators that make the change of their input (--residual)."""

from __future__ import annotations

import pytest
import torch

from models import networks
from util.errors import UserError

KINDS = [
    ("resnet_6blocks", "instance"),
    ("resnet_9blocks", "batch"),
    ("unet_128", "batch"),
    ("unet_128", "none"),
]


def build(netG: str, norm: str, residual: bool) -> torch.nn.Module:
    torch.manual_seed(1)
    return networks.define_G(3, 3, 4, netG, norm, residual=residual)


@pytest.mark.parametrize("netG, norm", KINDS)
def test_it_begins_with_the_input_and_draws_as_a_plain_one(netG, norm):
    plain, residual = build(netG, norm, False), build(netG, norm, True)
    drawn = torch.rand(1)
    build(netG, norm, False)
    assert torch.equal(torch.rand(1), drawn)
    picture = torch.rand(1, 3, 128, 128) * 2 - 1
    assert torch.equal(residual(picture), picture)
    assert not torch.equal(plain(picture), picture)
    ours, theirs = residual.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys()
    *_, last = (key.removesuffix(".weight") for key in theirs if theirs[key].ndim == 4)
    differing = {key for key in ours if not torch.equal(ours[key], theirs[key])}
    assert differing == {f"{last}.weight"}  # biases begin at zero anyway


@pytest.mark.parametrize("netG, norm", KINDS)
def test_its_result_is_the_input_and_the_change_within_the_range(netG, norm):
    net = build(netG, norm, False)
    picture = (torch.rand(1, 3, 128, 128) * 2 - 1).requires_grad_()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    change = net.eval()(picture)
    net.residual = True
    result = net(picture)
    total = picture + change
    assert torch.equal(result, total.clamp(-1, 1))
    assert 0 < (total.abs() > 1).sum() < total.numel()
    result.sum().backward()
    inside = total.abs() < 1
    assert picture.grad.isfinite().all() and picture.grad[inside].abs().sum() > 0


def test_a_change_needs_the_channels_of_its_input():
    with pytest.raises(UserError, match="1 in and 3 out"):
        networks.define_G(1, 3, 4, "resnet_6blocks", residual=True)
