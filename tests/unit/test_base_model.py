"""What BaseModel does for every model: losses as they come, and optimizers under other settings."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch

import data
import models
from models.optimizer_state import OptimizerState, as_own
from options.train_options import TrainOptions
from util.errors import UserError
from util.speed.performance import fuse

SETTINGS = [*itertools.product((False, True), repeat=2)]  # fused, channels_last


def build(pictures, *flags):
    words = ["--dataroot", pictures.side_by_side(2, (32, 32)), "--model", "pix2pix", *flags]
    words += "--netG resnet_6blocks --ngf 4 --ndf 4 --crop_size 32 --load_size 32".split()
    opt = TrainOptions(models.registry, data.registry).parse([*words, "--device", "cpu"])
    model = models.create_model(opt)
    model.setup(opt)
    return model


def settle(model, is_fused: bool, is_channels_last: bool) -> None:
    """As --precision and --channels_last would have it."""
    for net in model.networks().values():
        if is_channels_last:
            net.to(memory_format=torch.channels_last)
    for optimizer in model.optimizers if is_fused else []:
        fuse(optimizer)


def state_of(model) -> OptimizerState:
    return OptimizerState(model.optimizers, model.schedulers, model.opt.lr)


def step(model, seed: int) -> None:
    """An update by gradients that are a function of the seed."""
    torch.manual_seed(seed)
    for optimizer in model.optimizers:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape))
        optimizer.step()


def weights(model) -> list[torch.Tensor]:
    return [p.detach().clone() for net in model.networks().values() for p in net.parameters()]


@pytest.mark.parametrize("saved", SETTINGS, ids=str)
@pytest.mark.parametrize("own", SETTINGS, ids=str)
def test_optimizers_go_on_under_other_settings(saved, own, pictures):
    """Kernels take moments as they lie: in another layout than the weights', for other weights'."""
    before, after = build(pictures, "--lr", "0.01"), build(pictures, "--lr", "0.01")
    settle(before, *saved)
    for seed in range(3):
        step(before, seed)
    file = io.BytesIO()
    networks = [net.state_dict() for net in before.networks().values()]
    torch.save([state_of(before).state_dict(), networks], file)
    state, networks = torch.load(io.BytesIO(file.getvalue()), weights_only=True)

    settle(after, *own)
    for net, values in zip(after.networks().values(), networks, strict=True):
        net.load_state_dict(values)
    state_of(after).load_state_dict(state)
    for seed in (3, 4):
        step(before, seed)
        step(after, seed)
    exactly = {"rtol": 0, "atol": 0} if saved == own else {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(weights(after), weights(before), **exactly)
    assert after.optimizers[0].param_groups[0].get("fused") is (own[0] or None)


@pytest.mark.parametrize("lr, resumed_at", [("0.01", 0.002), ("0.1", 0.02)])
def test_a_rate_that_plateau_has_lowered_follows_another_lr(lr, resumed_at, pictures):
    """The seventh epoch without a gain has lowered it to a fifth; by how much is kept."""
    before = build(pictures, "--lr_policy", "plateau", "--lr", "0.01")
    before.metric = 1.0
    for expected in [*[0.01] * 6, 0.002]:
        before.update_learning_rate()
        assert before.learning_rate == pytest.approx(expected)
    after = build(pictures, "--lr_policy", "plateau", "--lr", lr)
    state_of(after).load_state_dict(state_of(before).state_dict())
    for optimizer in after.optimizers:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(resumed_at)
    assert after.schedulers[0].best == 1.0


@pytest.mark.parametrize("is_fused", [False, True])
def test_counts_of_steps_are_where_the_kernel_reads_them(is_fused):
    """Fused: on the device. Else on the processor, where reading one does not wait."""
    there = torch.nn.Parameter(torch.zeros(2, 3, 1, 1))
    theirs = torch.optim.Adam([there], fused=not is_fused)
    there.grad = torch.ones_like(there)
    theirs.step()
    here = torch.nn.Parameter(torch.zeros(2, 3, 1, 1, device="meta"))  # stands for a GPU
    ours = torch.optim.Adam([here], lr=0.5)
    ours.param_groups[0]["fused"] = is_fused
    ours.load_state_dict(as_own(ours, theirs.state_dict(), 0.1))
    state = ours.state[here]
    assert state["step"].device.type == ("meta" if is_fused else "cpu")
    assert state["exp_avg"].device.type == "meta"
    assert ours.param_groups[0]["lr"] == pytest.approx(1e-4)  # the saved one, lowered by a tenth


OTHERS = {
    "Adafactor": lambda weights: torch.optim.Adafactor(weights, lr=0.1),
    "LBFGS": lambda weights: torch.optim.LBFGS(weights, lr=0.1, max_iter=2),
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=list(OTHERS))
def test_other_optimizers_resume(make):
    """Their moments may have other shapes than the weights, or be numbers and lists."""
    before, after = (torch.nn.Parameter(torch.zeros(3, 2)) for _ in range(2))
    target = torch.arange(6.0).reshape(3, 2)

    def update(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = ((weight - target) ** 4).sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    first, second = make([before]), make([after])
    update(before, first)
    file = io.BytesIO()
    torch.save(OptimizerState([first], [], 0.1).state_dict(), file)
    state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    OptimizerState([second], [], 0.1).load_state_dict(state)
    after.data.copy_(before.data)
    for weight, optimizer in ((before, first), (after, second)):
        update(weight, optimizer)
    assert torch.equal(before, after)


def test_losses_may_be_numbers(pictures):
    """As `loss_idt_A = 0` of model files that switch a loss off."""
    model = build(pictures)
    model.loss_names, model.loss_G_off, model.loss_G_on = ["G_off", "G_on"], 0, torch.ones(1, 1)
    assert model.get_current_losses() == {"G_off": 0.0, "G_on": 1.0}
    assert model.generator_loss.item() == 1.0
    model.loss_G = 0.5
    assert model.generator_loss.item() == 0.5

    model.loss_G_on = np.array([2.5])
    assert model.get_current_losses() == {"G_off": 0.0, "G_on": 2.5}
    for wrong in (None, torch.ones(2), np.ones(3), "1,5"):
        model.loss_G_on = wrong
        with pytest.raises(UserError, match=r"loss_G_on of the model is not a single number"):
            model.get_current_losses()

    model.device = torch.device("meta")  # stands for a GPU
    model.loss_G_on = torch.ones((), device="meta")
    assert torch.stack(list(model.losses().values())).shape == (2,)
    assert model.generator_loss.device == model.device


def test_a_name_without_its_attribute_is_told(pictures):
    model = build(pictures)
    model.model_names, model.loss_names, model.visual_names = ["G", "X"], ["Y"], ["Z"]
    for read, names, attribute in (
        (model.networks, "model_names", "netX"),
        (model.losses, "loss_names", "loss_Y"),
        (model.get_current_visuals, "visual_names", "Z"),
    ):
        promise = f"Pix2PixModel.{names} promises an attribute {attribute}, which is not set"
        with pytest.raises(AttributeError, match=f"^{promise}$"):
            read()
