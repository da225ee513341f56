"""Feature matching as a part of the generator's objective, worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import build

torch.set_num_threads(1)


def layers_by_hand(w: dict[str, torch.Tensor], netD: str, x: torch.Tensor) -> list[torch.Tensor]:
    """The activations of a discriminator, from its weights alone; the last is the logits."""
    pixel, depth = netD == "pixel", sum(key.endswith("weight") for key in w) - 1
    keys = ["net.0", "net.2", "net.5"]
    if not pixel:
        keys = ["model.0", *(f"model.{3 * n - 1}" for n in range(1, depth + 1))]
    found = []
    for number, key in enumerate(keys):
        stride = 1 if pixel or number >= depth - 1 else 2
        x = F.conv2d(x, w[f"{key}.weight"], w.get(f"{key}.bias"), stride, 0 if pixel else 1)
        if 0 < number < depth:
            variance = x.var((2, 3), unbiased=False, keepdim=True)
            x = (x - x.mean((2, 3), keepdim=True)) / (variance + 1e-5).sqrt()
        if number < depth:
            x = torch.maximum(x, 0.2 * x)
        found.append(x)
    return found


@pytest.mark.parametrize(
    "netD, num_layers", [("basic", 4), ("n_layers --n_layers_D 2", 3), ("pixel", 2)]
)
def test_the_objective_by_hand(netD, num_layers, tmp_path):
    """Every layer but the logits, each by its mean; only the generator gets gradients of it."""
    model = build(tmp_path, "pix2pix", *f"--lambda_feat 10 --gan_mode lsgan --netD {netD}".split())
    model.forward()
    model.backward_D()
    of_D = [p.grad.clone() for p in model.netD.parameters()]
    weights = {k: v.clone() for k, v in model.netD.state_dict().items()}
    model.set_requires_grad(model.netD, False)
    model.backward_G()
    for parameter, before in zip(model.netD.parameters(), of_D, strict=True):
        assert torch.equal(parameter.grad, before)
    ours = [p.grad.clone() for p in model.netG.parameters()]

    fake = model.netG(model.real_A)
    pairs = [torch.cat((model.real_A, picture), 1) for picture in (fake, model.real_B)]
    fakes, reals = (layers_by_hand(weights, netD.split()[0], pair) for pair in pairs)
    assert len(fakes) == num_layers + 1
    means = [(x - y).abs().sum() / x.numel() for x, y in zip(fakes[:-1], reals[:-1], strict=True)]
    expected = {
        "G_GAN": ((fakes[-1] - 1) ** 2).mean(),
        "G_feat": 10 * sum(means),
        "G_L1": 100 * (fake - model.real_B).abs().mean(),
    }
    losses = model.get_current_losses()
    assert list(losses) == [*expected, "D_real", "D_fake"]
    for name, loss in expected.items():
        assert losses[name] == pytest.approx(loss.item(), rel=1e-9)
    model.netG.zero_grad()
    sum(expected.values()).backward()
    assert model.generator_loss.item() == pytest.approx(sum(expected.values()).item(), rel=1e-9)
    for found, parameter in zip(ours, model.netG.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-7, atol=1e-10)


def test_result_and_target_are_matched_through_the_same_transform(tmp_path):
    """So that a perfect result has nothing to learn from it."""
    flags = "--lambda_feat 10 --d_augment translation,cutout,color"
    model = build(tmp_path, "pix2pix", *flags.split())
    model.fake_B = model.real_B.clone()
    model.adversarial_loss()
    assert model.loss_G_feat == 0
    model.fake_B = model.real_B.flip(3)
    model.adversarial_loss()
    assert model.loss_G_feat > 0.1
