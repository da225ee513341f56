"""The objective of critics under --gan_mode wgangp, worked out by hand for each model that has it.

Improved training of Wasserstein GANs, arXiv:1704.00028, eq. 3, halved as the paper of each model
halves the objective of a discriminator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import data
import models
from options.train_options import TrainOptions
from util.runtime import seed_everything

TINY = "--dataroot pictures --name run --gan_mode wgangp --pool_size 0 --norm instance --ngf 2"
TINY += " --ndf 4 --netG resnet_6blocks --load_size 32 --crop_size 32 --num_threads 0 --seed 1"
TINY += " --device cpu"


def pairs(model) -> tuple[torch.Tensor, torch.Tensor]:
    of_A = model.real_A
    return torch.cat((of_A, model.real_B), 1), torch.cat((of_A, model.fake_B.detach()), 1)


# Per model and critic: its network, its real and fake inputs, and the names of its losses.
CRITICS: dict[tuple[str, str], Callable] = {
    ("pix2pix", "D"): pairs,
    ("cycle_gan", "D_A"): lambda model: (model.real_B, model.fake_B.detach()),
    ("cycle_gan", "D_B"): lambda model: (model.real_A, model.fake_A.detach()),
}
PENALTIES = {"D": "D_GP", "D_A": "GP_A", "D_B": "GP_B"}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`build("pix2pix", "0.02")`: a model in double precision that has taken a batch of noise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()

    def model_of(name: str, init_gain: str):
        line = [*TINY.split(), "--model", name, "--init_gain", init_gain]
        opt = TrainOptions(models.registry, data.registry).parse(line)
        seed_everything(opt.seed)
        model = models.create_model(opt)
        model.setup(opt)
        for net in model.networks().values():
            net.double()
        A, B = torch.rand(2, 3, 3, 32, 32, dtype=torch.float64) * 2 - 1
        model.set_input({"A": A, "B": B, "A_paths": ["a"] * 3, "B_paths": ["b"] * 3})
        return model

    return model_of


@pytest.mark.parametrize("init_gain, steep", [("0.02", False), ("0.2", True)])
@pytest.mark.parametrize("name, critic", CRITICS)
def test_objective_of_a_critic_by_hand(name, critic, init_gain, steep, build):
    """The objective and its gradients, at the points where the model computed the penalty.

    A slope below 1 is penalised like one above 1.
    """
    model = build(name, init_gain)
    seen: list[torch.Tensor] = []
    netD = model.networks()[critic]
    by_hand = copy.deepcopy(netD)
    netD.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.optimize_parameters()
    (mixed,) = (x.detach() for x in seen if x.is_leaf and x.requires_grad)

    real, fake = CRITICS[name, critic](model)
    eps = ((mixed - fake) * (real - fake)).sum((1, 2, 3)) / (real - fake).square().sum((1, 2, 3))
    assert len(eps.unique()) == 3  # one for each sample, between a real and a fake one
    assert eps.min() > 0 and eps.max() < 1
    eps = eps.view(3, 1, 1, 1)
    torch.testing.assert_close(mixed, eps * real + (1 - eps) * fake)

    def D(x: torch.Tensor) -> torch.Tensor:
        return by_hand(x).mean((1, 2, 3))  # of the map of a PatchGAN the mean is the critic's value

    mixed.requires_grad_()
    slopes = [torch.autograd.grad(D(x[None]), x, create_graph=True)[0] for x in mixed]
    norms = torch.stack([slope.square().sum().sqrt() for slope in slopes])
    assert bool((norms > 1).all() if steep else (norms < 1).all())
    penalty = 10 * ((norms - 1) ** 2).sum() / 3
    objective = (D(fake).mean() - D(real).mean() + penalty) / 2
    objective.backward()

    losses = model.get_current_losses()
    assert losses[PENALTIES[critic]] == pytest.approx(penalty.item(), rel=1e-9)
    assert getattr(model, f"loss_{critic}").item() == pytest.approx(objective.item(), rel=1e-9)
    for ours, theirs in zip(netD.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-12)
