"""CycleGAN's training step against the paper, computed by hand on copies of its networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import data
import models
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import seed_everything

TINY = ["--netG", "resnet_6blocks", "--ngf", "2", "--ndf", "2", "--load_size", "32"]
TINY += ["--crop_size", "32", "--num_threads", "0", "--device", "cpu", "--seed", "1"]
LOSSES = "D_A G_A cycle_A idt_A D_B G_B cycle_B idt_B"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`build("--lambda_A", "3")`: a model ready to be trained, in double precision."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()

    def model_of(*flags: str):
        line = ["--dataroot", "pictures", "--name", "run", "--model", "cycle_gan", *TINY, *flags]
        opt = TrainOptions(models.registry, data.registry).parse(line)
        seed_everything(opt.seed)
        model = models.create_model(opt)
        model.setup(opt)
        for net in model.networks().values():
            net.double()
        model.criterionGAN.double()
        return model

    return model_of


def batch(step: int = 0, size: int = 1, channels: int = 3) -> dict:
    """Noise in [-1, 1], different at each step."""
    random = torch.Generator().manual_seed(step)
    shape = (2, size, channels, 32, 32)
    A, B = torch.rand(shape, generator=random, dtype=torch.float64) * 2 - 1
    paths = [f"{i}.png" for i in range(size)]
    return {"A": A, "B": B, "A_paths": paths, "B_paths": paths}


def train(model, step: int = 0, **kwargs: int) -> dict[str, float]:
    model.set_input(batch(step, **kwargs))
    model.optimize_parameters()
    return model.get_current_losses()


def distance(gan_mode: str, prediction: torch.Tensor, target: float) -> torch.Tensor:
    loss = F.binary_cross_entropy_with_logits if gan_mode == "vanilla" else F.mse_loss
    return loss(prediction, torch.full_like(prediction, target))


@pytest.mark.parametrize("gan_mode", ["lsgan", "vanilla"])
@pytest.mark.parametrize("identity", [0.25, 0.0])
def test_steps_by_hand(gan_mode, identity, build):
    """Equations 1 to 3 and the identity loss: a step on both G, then one on both D, halved."""
    a, b = 3.0, 7.0
    weights = ["--lambda_A", f"{a}", "--lambda_B", f"{b}", "--lambda_identity", f"{identity}"]
    model = build(*weights, "--gan_mode", gan_mode, "--pool_size", "0")
    nets = copy.deepcopy(model.networks())
    G, F_, D_Y, D_X = nets["G_A"], nets["G_B"], nets["D_A"], nets["D_B"]  # as the paper has them
    adam = {"lr": 0.0002, "betas": (0.5, 0.999)}
    optimizer_G = torch.optim.Adam([*G.parameters(), *F_.parameters()], **adam)
    optimizer_D = torch.optim.Adam([*D_Y.parameters(), *D_X.parameters()], **adam)

    for step in range(3):
        sample = batch(step, size=2)
        x, y = sample["A"], sample["B"]
        fake_y, fake_x = G(x), F_(y)
        expected = {
            "D_A": (distance(gan_mode, D_Y(y), 1) + distance(gan_mode, D_Y(fake_y.detach()), 0))
            / 2,
            "G_A": distance(gan_mode, D_Y(fake_y), 1),
            "cycle_A": a * F.l1_loss(F_(fake_y), x),
            "idt_A": b * identity * F.l1_loss(G(y), y),
            "D_B": (distance(gan_mode, D_X(x), 1) + distance(gan_mode, D_X(fake_x.detach()), 0))
            / 2,
            "G_B": distance(gan_mode, D_X(fake_x), 1),
            "cycle_B": b * F.l1_loss(G(fake_x), y),
            "idt_B": a * identity * F.l1_loss(F_(x), x),
        }
        of_G = ["G_A", "cycle_A", "idt_A", "G_B", "cycle_B", "idt_B"]
        optimizer_G.zero_grad()
        sum(expected[name] for name in of_G).backward(retain_graph=True)
        optimizer_D.zero_grad()  # the gradients left by the generators' objective
        torch.autograd.backward(
            [expected["D_A"], expected["D_B"]], inputs=[*D_Y.parameters(), *D_X.parameters()]
        )
        gradients = {k: [p.grad.clone() for p in net.parameters()] for k, net in nets.items()}
        optimizer_G.step()
        optimizer_D.step()

        losses = train(model, step, size=2)
        assert " ".join(expected) == LOSSES
        if not identity:
            expected = {k: v for k, v in expected.items() if not k.startswith("idt")}
        assert list(losses) == list(expected)
        for name, loss in losses.items():
            assert loss == pytest.approx(expected[name].item(), rel=1e-9), name
        total = sum(expected[n].item() for n in of_G if n in expected)
        assert model.generator_loss.item() == pytest.approx(total, rel=1e-9)
        for name, net in model.networks().items():
            for parameter, gradient in zip(net.parameters(), gradients[name], strict=True):
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-7, atol=1e-12)
    for name, net in model.networks().items():
        for key, value in nets[name].state_dict().items():
            torch.testing.assert_close(net.state_dict()[key], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "flag, default, scaled",
    [
        ("--lambda_A", 10, ["cycle_A", "idt_B"]),
        ("--lambda_B", 10, ["idt_A", "cycle_B"]),
        ("--lambda_identity", 0.5, ["idt_A", "idt_B"]),
    ],
)
def test_a_weight_scales_its_losses_alone(flag, default, scaled, build):
    losses, doubled = train(build()), train(build(flag, str(2 * default)))
    expected = {name: loss * (2 if name in scaled else 1) for name, loss in losses.items()}
    assert doubled == pytest.approx(expected, rel=1e-9)
    assert all(loss > 0 for loss in losses.values())


def test_without_identity_loss_nothing_is_computed_for_it(build):
    seen = {}
    for weight in ("0.5", "0"):
        model = build("--lambda_identity", weight)
        for name in ("G_A", "G_B"):
            key = (weight, name)
            seen[key] = 0

            def count(_, inputs, key=key):
                seen[key] += len(inputs[0])

            model.networks()[name].register_forward_pre_hook(count)
        losses = train(model)
        model.compute_visuals()
        visuals = " ".join(model.get_current_visuals())
        if weight == "0":
            assert " ".join(losses) == "D_A G_A cycle_A D_B G_B cycle_B"
            assert visuals == "real_A fake_B rec_A real_B fake_A rec_B"
        else:
            assert " ".join(losses) == LOSSES
            assert visuals == "real_A fake_B rec_A idt_B real_B fake_A rec_B idt_A"
    pictures = {("0.5", "G_A"): 3, ("0.5", "G_B"): 3, ("0", "G_A"): 2, ("0", "G_B"): 2}
    assert seen == pictures


def test_visuals_are_what_their_names_say(build):
    model = build()
    nets = copy.deepcopy(model.networks())
    train(model)
    G, F_ = nets["G_A"], nets["G_B"]
    A, B = batch()["A"], batch()["B"]
    expected = {
        "real_A": A,
        "fake_B": G(A),
        "rec_A": F_(G(A)),
        "idt_B": F_(A),
        "real_B": B,
        "fake_A": F_(B),
        "rec_B": G(F_(B)),
        "idt_A": G(B),
    }
    visuals = model.get_current_visuals()
    assert list(visuals) == list(expected)
    for name, visual in visuals.items():
        torch.testing.assert_close(visual, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("direction, first, second", [("AtoB", "A", "B"), ("BtoA", "B", "A")])
def test_results_are_named_after_the_picture_they_start_from(direction, first, second, build):
    model = build("--direction", direction)
    sample = {**batch(), "A_paths": ["A"], "B_paths": ["B"]}
    model.set_input(sample)
    assert torch.equal(model.real_A, sample[first]) and torch.equal(model.real_B, sample[second])
    assert model.get_image_paths() == [first]
    paths = model.get_visual_paths()
    assert list(paths) == model.visual_names
    of_first = {name for name, sources in paths.items() if sources == [first]}
    assert of_first == {"real_A", "fake_B", "rec_A", "idt_B"}
    of_second = {name for name, sources in paths.items() if sources == [second]}
    assert of_second == {"real_B", "fake_A", "rec_B", "idt_A"}


@pytest.mark.parametrize("side", ["A", "B"])
def test_discriminators_see_the_pool(side, build):
    """The D losses show which picture was judged: the newest, or one from an earlier step."""
    fake, real = ("fake_B", "real_B") if side == "A" else ("fake_A", "real_A")
    judged = {}
    for pool_size in ("0", "1"):
        model = build("--pool_size", pool_size)
        made, judged[pool_size] = [], []
        for step in range(8):
            netD = copy.deepcopy(model.networks()[f"D_{side}"])
            loss = train(model, step)[f"D_{side}"]
            made.append(getattr(model, fake).detach())
            on_real = distance("lsgan", netD(getattr(model, real)), 1)
            candidates = [(on_real + distance("lsgan", netD(p), 0)).item() / 2 for p in made]
            ages = [
                step - i for i, c in enumerate(candidates) if c == pytest.approx(loss, rel=1e-9)
            ]
            assert len(ages) == 1
            judged[pool_size] += ages
    assert judged["0"] == [0] * 8
    assert judged["1"][0] == 0
    assert max(judged["1"]) > 0


def test_dropout_on_request(build):
    for flags, expected in (([], False), (["--no_dropout", "False"], True)):
        nets = build(*flags).networks()
        for name in ("G_A", "G_B"):
            layers = [m for m in nets[name].modules() if isinstance(m, torch.nn.Dropout)]
            assert bool(layers) is expected


def test_identity_loss_needs_equal_channels(build):
    with pytest.raises(UserError) as caught:
        build("--input_nc", "1")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("--lambda_identity 0.5", "--input_nc 1", "--output_nc 3", "--lambda_identity 0"):
        assert part in message
    model = build("--input_nc", "1", "--lambda_identity", "0")
    sample = {**batch(), "A": batch(channels=1)["A"]}
    model.set_input(sample)
    model.optimize_parameters()
    assert model.fake_B.shape[1] == model.rec_B.shape[1] == 3
    assert model.fake_A.shape[1] == model.rec_A.shape[1] == 1


def test_wgangp_adds_penalties(build):
    """Improved training of Wasserstein GANs, equation 3; the critic's loss is halved as others."""
    model = build("--gan_mode", "wgangp", "--pool_size", "0")
    before = copy.deepcopy(model.networks())
    losses = train(model)
    assert " ".join(losses) == "D_A G_A cycle_A idt_A GP_A D_B G_B cycle_B idt_B GP_B"
    for side, real, fake in (
        ("A", model.real_B, model.fake_B),
        ("B", model.real_A, model.fake_A),
    ):
        netD, penalty = before[f"D_{side}"], losses[f"GP_{side}"]
        assert penalty > 0
        assert losses[f"G_{side}"] == pytest.approx(-netD(fake).mean().item(), rel=1e-9)
        critic = (netD(fake).mean() - netD(real).mean()).item()
        assert losses[f"D_{side}"] == pytest.approx((critic + penalty) / 2, rel=1e-9)
