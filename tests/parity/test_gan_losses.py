"""Adversarial losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from models import networks
from models.losses import GANLoss, cal_gradient_penalty
from util.errors import UserError

# sigmoid(ln 3) = 3/4 and sigmoid(0) = 1/2
LOGITS = torch.tensor([[[[math.log(3), 0.0]]]])


@pytest.mark.parametrize(
    "mode, is_real, value",
    [
        ("vanilla", True, (math.log(4 / 3) + math.log(2)) / 2),
        ("vanilla", False, (math.log(4) + math.log(2)) / 2),
        ("lsgan", True, ((math.log(3) - 1) ** 2 + 1) / 2),
        ("lsgan", False, math.log(3) ** 2 / 2),
        ("wgangp", True, -math.log(3) / 2),
        ("wgangp", False, math.log(3) / 2),
    ],
)
def test_values(mode, is_real, value):
    loss = GANLoss(mode)(LOGITS, is_real)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    "mode, is_real, value",
    [
        ("lsgan", True, ((math.log(3) - 0.9) ** 2 + 0.9**2) / 2),
        ("lsgan", False, ((math.log(3) + 1) ** 2 + 1) / 2),
        # -0.9 ln(p) - 0.1 ln(1 - p), for p = 3/4 and 1/2
        ("vanilla", True, (0.9 * math.log(4 / 3) + 0.1 * math.log(4) + math.log(2)) / 2),
    ],
)
def test_other_labels(mode, is_real, value):
    loss = GANLoss(mode, target_real_label=0.9, target_fake_label=-1.0)(LOGITS, is_real)
    assert loss.item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("mode", ["vanilla", "lsgan", "wgangp"])
def test_follows_device_and_precision_and_leaves_nothing_in_a_checkpoint(mode):
    loss = GANLoss(mode).to("cpu")
    prediction = torch.randn(2, 1, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    loss(prediction, True).backward()
    assert prediction.grad.abs().sum() > 0
    assert not loss.state_dict()
    assert GANLoss(mode).to("meta")(torch.empty(2, 1, device="meta"), False).device.type == "meta"


def test_large_logits_stay_finite():
    prediction = torch.tensor([1000.0, -1000.0], requires_grad=True)
    loss = GANLoss("vanilla")(prediction, True)
    assert loss.item() == pytest.approx(500.0)
    loss.backward()
    assert torch.isfinite(prediction.grad).all()


def test_unknown_mode_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"--gan_mode lsgna.*did you mean lsgan.*wgangp"):
        GANLoss("lsgna")


# --- gradient penalty


def linear_critic(w: torch.Tensor):
    """D(x) = <w, x>: its gradient is w at every x."""
    return lambda x: (x * w).flatten(1).sum(1)


@pytest.mark.parametrize("kind", ["mixed", "real", "fake"])
@pytest.mark.parametrize("constant, lambda_gp, value", [(1.0, 10.0, 160.0), (2.0, 0.5, 4.5)])
def test_penalty_of_a_linear_critic(kind, constant, lambda_gp, value):
    w = torch.zeros(2, 3, 4)
    w[0, 0, 0], w[1, 2, 3] = 3.0, 4.0  # of norm 5, over all channels and pixels at once
    real, fake = torch.randn(3, 2, 3, 4), torch.randn(3, 2, 3, 4)
    penalty, gradients = cal_gradient_penalty(
        linear_critic(w), real, fake, None, kind, constant, lambda_gp
    )
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(value)
    torch.testing.assert_close(gradients, w.flatten().expand(3, -1))


def quadratic_critic(x: torch.Tensor) -> torch.Tensor:
    """D(x) = |x|^2 / 2: its gradient is x itself, which shows where it was computed."""
    return x.pow(2).flatten(1).sum(1) / 2


def test_penalty_of_a_quadratic_critic_at_real_and_fake():
    real = torch.zeros(2, 1, 1, 2)
    real[0, 0, 0, 0], real[1, 0, 0, 1] = 3.0, -5.0
    fake = torch.full((2, 1, 1, 2), 2.0)
    penalty, gradients = cal_gradient_penalty(quadratic_critic, real, fake, type="real")
    assert penalty.item() == pytest.approx(10 * (2**2 + 4**2) / 2)
    assert torch.equal(gradients, real.flatten(1))
    penalty, gradients = cal_gradient_penalty(quadratic_critic, real, fake, type="fake")
    assert penalty.item() == pytest.approx(10 * (math.sqrt(8) - 1) ** 2)
    assert torch.equal(gradients, fake.flatten(1))


def test_mixed_takes_one_ratio_per_sample_between_real_and_fake():
    torch.manual_seed(0)
    real, fake = torch.ones(64, 3, 4, 4), -torch.ones(64, 3, 4, 4)
    _, places = cal_gradient_penalty(quadratic_critic, real, fake, device="cpu")
    assert (places == places[:, :1]).all()  # the same for all pixels of a sample
    ratios = (places[:, 0] + 1) / 2
    assert ratios.min() >= 0 and ratios.max() <= 1
    assert len(ratios.unique()) == 64
    assert ratios.mean().item() == pytest.approx(0.5, abs=0.15)  # four standard errors


def test_training_on_the_penalty_brings_the_slope_to_one():
    w = torch.full((1, 2, 2), 2.0, requires_grad=True)  # of norm 4
    optimizer = torch.optim.SGD([w], lr=0.02)
    data = torch.randn(2, 1, 2, 2)
    for _ in range(40):
        optimizer.zero_grad()
        cal_gradient_penalty(linear_critic(w), data, data)[0].backward()
        optimizer.step()
    assert w.norm().item() == pytest.approx(1.0, abs=0.01)


def test_a_flat_critic_gives_no_nan():
    w = torch.zeros(1, 2, 2, requires_grad=True)
    penalty, _ = cal_gradient_penalty(
        linear_critic(w), torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    )
    penalty.backward()
    assert penalty.item() == pytest.approx(10.0)
    assert torch.isfinite(w.grad).all()


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch", "none", "syncbatch"])
@pytest.mark.parametrize("netD", ["basic", "n_layers", "pixel"])
def test_penalty_reaches_the_weights_of_every_discriminator(netD, norm, spectral_norm):
    torch.manual_seed(0)
    net = networks.define_D(3, 4, netD, 2, norm, init_gain=0.2, spectral_norm=spectral_norm)
    real, fake = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32, requires_grad=True)
    penalty, gradients = cal_gradient_penalty(net, real, fake * 1.0)
    penalty.backward()
    assert gradients.shape == (2, 3 * 32 * 32)
    assert fake.grad is None  # the penalty is for the critic alone
    for name, p in net.named_parameters():
        if p.dim() == 4:
            assert torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0, name


def test_penalty_of_a_map_is_that_of_its_sum_or_of_what_the_caller_makes_of_it():
    def critic(x: torch.Tensor) -> torch.Tensor:  # a map of 2x2 values, each the mean of x
        return x.mean(dim=(1, 2, 3), keepdim=True).expand(-1, 1, 2, 2)

    x = torch.randn(2, 1, 4, 4)
    _, gradients = cal_gradient_penalty(critic, x, x)
    assert gradients.norm(dim=1).tolist() == pytest.approx([4 / 4] * 2)  # 4 values, slope 1/4
    _, gradients = cal_gradient_penalty(lambda x: critic(x).mean(dim=(1, 2, 3)), x, x)
    assert gradients.norm(dim=1).tolist() == pytest.approx([1 / 4] * 2)


def test_unknown_type_is_an_error():
    with pytest.raises(ValueError, match="mixed"):
        cal_gradient_penalty(quadratic_critic, LOGITS, LOGITS, type="both")
