"""Discriminators at two sizes (--num_D), R1 (--r1), and their learning rate (--lr_D), by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import build

import data
import models
from models.adversarial import EVERY, DueUpdates, mean_of_map
from models.losses.gan import cal_gradient_penalty, r1_penalty
from models.networks.discriminators import define_D, halved
from models.optimizer_state import OptimizerState
from models.pix2pix_model import Pix2PixModel
from options.train_options import TrainOptions
from util.distributed import Share
from util.errors import UserError
from util.speed.performance import run_in
from util.step import Steps
from util.step.ema import EMA

torch.set_num_threads(1)
TWO = "--num_D 2 --netD n_layers --n_layers_D 2 --gan_mode lsgan".split()
# Each discriminator with what it judges: real pictures, generated ones, and channels of condition.
JUDGED = {
    "pix2pix": {"D": ("real_A real_B", "real_A fake_B", 3)},
    "pix2pix_with_perceptual": {"D": ("real_A real_B", "real_A fake_B", 3)},
    "colorization": {"D": ("real_A real_B", "real_A fake_B", 1)},
    "cycle_gan": {"D_A": ("real_B", "fake_B", 0), "D_B": ("real_A", "fake_A", 0)},
    "cut": {"D": ("real_B", "fake_B", 0)},
}


def model_of(folder: Path, name: str, *flags: str):
    """Without what gets in the way of sums by hand; CUT's features are of single precision."""
    more = ["--use_perceptual", "off"] if "perceptual" in name else []
    dtype = torch.float32 if name == "cut" else torch.float64
    return build(folder, name, "--pool_size", "0", *more, *flags, dtype=dtype)


def near(value: torch.Tensor | float):
    """The same up to rounding, as precise as the value is."""
    value = torch.as_tensor(value)
    return pytest.approx(value.item(), rel=1e-4 if value.dtype is torch.float32 else 1e-9)


def pictures(model, names: str) -> torch.Tensor:
    return torch.cat([getattr(model, name).detach() for name in names.split()], 1)


def half(x: torch.Tensor) -> torch.Tensor:
    """Means of up to 3x3 pixels around each second one."""
    height, width = x.shape[2:]
    rows = [
        [
            x[..., max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].mean((2, 3))
            for j in range(0, width, 2)
        ]
        for i in range(0, height, 2)
    ]
    return torch.stack([torch.stack(row, 2) for row in rows], 2)


# --- Two sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(8, 6), (7, 5)])
def test_half_the_size_by_hand(sides):
    x = torch.randn(2, 3, *sides, dtype=torch.float64)
    torch.testing.assert_close(halved(x), half(x))


@pytest.mark.parametrize("name", JUDGED)
def test_losses_are_the_sums_over_both_sizes(name, tmp_path):
    """Of the generators and the discriminators, from first principles; and what learns of it."""
    model = model_of(tmp_path, name, *TWO)
    before = copy.deepcopy(model.networks())
    model.optimize_parameters()
    losses = model.get_current_losses()
    for D, (real, fake, _) in JUDGED[name].items():
        nets = before[D], before[f"{D}_2"]
        first = [(net, change) for net, change in zip(nets, (lambda x: x, half), strict=True)]
        on_real, on_fake = (
            [net(change(pictures(model, shown))) for net, change in first] for shown in (real, fake)
        )
        real_loss = sum(((x - 1) ** 2).mean() for x in on_real)
        fake_loss = sum((x**2).mean() for x in on_fake)
        if name == "cycle_gan":
            assert losses[D] == near((real_loss + fake_loss) / 2)
        else:
            assert losses["D_real"] == near(real_loss)
            assert losses["D_fake"] == near(fake_loss)
        # pix2pix and CUT train D first, so that G is judged by what it became.
        judges = before if name == "cycle_gan" else model.networks()
        judges = judges[D], judges[f"{D}_2"]
        judged = pictures(model, fake)
        fooled = [net(x) for net, x in zip(judges, (judged, half(judged)), strict=True)]
        expected = sum(((x - 1) ** 2).mean() for x in fooled)
        assert losses["G_GAN" if D == "D" else D.replace("D", "G")] == near(expected)
    for network, net in model.networks().items():
        assert not torch.equal(next(net.parameters()), next(before[network].parameters())), network


@pytest.mark.parametrize("name", JUDGED)
def test_all_other_networks_begin_as_without_it(name, tmp_path):
    plain, both = model_of(tmp_path, name, *TWO[2:]), model_of(tmp_path, name, *TWO)
    assert plain.networks().keys() < both.networks().keys()
    for network, net in plain.networks().items():
        for ours, theirs in zip(
            both.networks()[network].parameters(), net.parameters(), strict=True
        ):
            assert torch.equal(ours, theirs)
    for network in both.networks().keys() - plain.networks().keys():
        first, second = both.networks()[network.removesuffix("_2")], both.networks()[network]
        assert list(second.state_dict()) == list(first.state_dict())
        assert not torch.equal(next(first.parameters()), next(second.parameters()))
    both.save_networks("latest")
    files = {file.name for file in (tmp_path / "run").glob("*.pth")}
    assert files == {f"latest_net_{network}.pth" for network in both.networks()}


def test_features_of_both_sizes_are_matched(tmp_path):
    model = model_of(tmp_path, "pix2pix", *TWO, "--lambda_feat", "10")
    model.forward()
    model.adversarial_loss()
    expected = 0.0
    for net, change in ((model.netD, lambda x: x), (model.netD_2, half)):
        _, of_fake = net(change(pictures(model, "real_A fake_B")), with_features=True)
        _, of_real = net(change(pictures(model, "real_A real_B")), with_features=True)
        assert len(of_fake) == 3
        expected += sum(F.l1_loss(x, y).item() for x, y in zip(of_fake, of_real, strict=True))
    assert model.loss_G_feat.item() == pytest.approx(10 * expected, rel=1e-9)


@pytest.mark.parametrize("name", ["pix2pix", "cycle_gan"])
def test_critics_at_both_sizes_have_the_penalty_of_wgangp(name, tmp_path):
    model = model_of(tmp_path, name, *TWO, "--gan_mode", "wgangp")
    model.forward()
    for D, (real, fake, _) in JUDGED[name].items():
        first, second = model.networks()[D], model.networks()[f"{D}_2"]
        real, fake = pictures(model, real), pictures(model, fake)
        torch.manual_seed(4)
        found = model.gradient_penalty(first, real, fake)
        torch.manual_seed(4)
        expected, _ = cal_gradient_penalty(mean_of_map(first), real, fake)
        more, _ = cal_gradient_penalty(mean_of_map(second), half(real), half(fake))
        assert found.item() == pytest.approx((expected + more).item(), rel=1e-9)


# --- R1 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_given", [0, 2])
def test_r1_of_a_linear_discriminator_by_hand(num_given):
    """Its slope is its weights, whatever the pictures; that of the condition is left out."""
    weights = torch.randn(1, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(
        lambda x: F.conv2d(x, weights), torch.randn(6, 5, 4, 3, dtype=torch.float64), num_given
    )
    penalty.backward()
    of_y = weights.detach().clone()
    of_y[:, :num_given] = 0
    assert penalty.item() == pytest.approx(of_y.square().sum().item() / 2, rel=1e-12)
    torch.testing.assert_close(weights.grad, of_y)


@pytest.mark.parametrize("gan_mode", ["lsgan", "vanilla"])
@pytest.mark.parametrize("name", JUDGED)
def test_r1_in_the_objective_by_hand(name, gan_mode, tmp_path):
    """In the first of 16 updates, 16-fold, of both sizes; then not until the seventeenth."""
    flags = [*TWO, "--gan_mode", gan_mode]
    model, plain = model_of(tmp_path, name, *flags, "--r1", "3"), model_of(tmp_path, name, *flags)
    before = copy.deepcopy(model.networks())
    model.optimize_parameters()
    plain.optimize_parameters()
    for D, (real, _, num_given) in JUDGED[name].items():
        first, second = before[D], before[f"{D}_2"]
        shown = pictures(model, real)
        total = torch.zeros((), dtype=shown.dtype)
        for net, x in ((first, shown), (second, half(shown))):
            for sample in x:
                y = sample[num_given:].clone().requires_grad_()
                value = net(torch.cat((sample[:num_given], y))[None]).mean()
                (slope,) = torch.autograd.grad(value, y, create_graph=True)
                total = total + slope.square().sum() / len(x)
        penalty = total * 3 / 2 * 16
        penalty.backward()
        key = "D_GP" if D == "D" else D.replace("D", "GP")
        assert key not in plain.get_current_losses()
        assert model.get_current_losses()[key] == near(penalty)
        for network, net in ((D, first), (f"{D}_2", second)):
            by_hand, ours, theirs = (
                [p.grad for p in n.parameters()]
                for n in (net, model.networks()[network], plain.networks()[network])
            )
            assert sum(grad is not None and bool(grad.any()) for grad in by_hand) > 2
            for added, with_it, without in zip(by_hand, ours, theirs, strict=True):
                added = 0 if added is None else added / 2  # the objective of D is halved
                rtol, atol = (1e-3, 1e-4) if name == "cut" else (1e-7, 1e-10)
                torch.testing.assert_close(with_it, without + added, rtol=rtol, atol=atol)
    penalties = []
    for _ in range(16):
        model.optimize_parameters()
        penalties.append([v for k, v in model.get_current_losses().items() if "GP" in k])
    assert all(value == 0 for values in penalties[:15] for value in values)
    assert all(value > 0 for value in penalties[15])


def test_r1_sees_what_the_discriminator_judges(tmp_path):
    """With --d_augment, the changed pictures."""
    model = model_of(tmp_path, "cut", "--r1", "1", "--d_augment", "cutout", *TWO[2:])
    seen: list[torch.Tensor] = []
    model.netD.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model.optimize_parameters()
    real, _, penalised, _ = seen
    assert torch.equal(real, penalised) and not torch.equal(real, model.real_B)


@pytest.mark.parametrize("num_batches", [1, 3])
def test_a_penalty_is_due_in_all_batches_of_an_update(num_batches):
    updates = DueUpdates(num_batches)
    due = [updates.is_due("D") for _ in range(33 * num_batches)]
    assert EVERY == 16
    expected = [update in (0, 16, 32) for update in range(33) for _ in range(num_batches)]
    assert due == expected
    assert updates.is_due("D_B")  # which has its own count


def test_updates_are_counted_where_they_were(tmp_path):
    """Also with another --grad_accum, or other processes, as half an update begins again."""
    updates = DueUpdates(4)
    for _ in range(15 * 4 + 2):
        updates.is_due("D")
    torch.save(updates.state_dict(), tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)

    def batches_to_the_next(num_batches: int, *, processes_changed: bool = False) -> int:
        resumed = DueUpdates(num_batches)
        if processes_changed:
            resumed.redistribute([state, {}])
        else:
            resumed.load_state_dict(state)
        return [resumed.is_due("D") for _ in range(9)].index(True)

    assert batches_to_the_next(4) == 2
    assert batches_to_the_next(2) == 2  # from the beginning of update 16
    assert batches_to_the_next(5) == 3
    assert batches_to_the_next(4, processes_changed=True) == 4


def test_accumulated_r1_is_that_of_a_larger_batch(tmp_path):
    """Two halves of a batch, in an update with R1 and in one without."""

    def weights_after(num_batches: int) -> list[torch.Tensor]:
        flags = ["--r1", "100", "--grad_accum", str(num_batches), *TWO]
        model = model_of(tmp_path, "cycle_gan", *flags)
        scalers = [None for _ in model.optimizers]
        steps = Steps(model, EMA({}, model.optimizers, 0.0), scalers, num_batches=num_batches)
        A, B = model.real_A, model.real_B
        for _ in range(2):
            for a, b in zip(A.chunk(num_batches), B.chunk(num_batches), strict=True):
                names = [str(number) for number in range(len(a))]
                model.set_input({"A": a, "B": b, "A_paths": names, "B_paths": names})
                with steps.step(Share(0, len(a), len(a), 1.0)):
                    model.optimize_parameters()
        return [p.detach() for net in model.networks().values() for p in net.parameters()]

    for small, large in zip(weights_after(2), weights_after(1), strict=True):
        torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_r1_in_bf16_is_near_that_of_fp32(norm):
    """Its gradients pass the casts twice, in both directions."""
    torch.manual_seed(1)
    net = define_D(5, 8, "basic", norm=norm, init_gain=0.1)
    real = torch.rand(2, 5, 32, 32) * 2 - 1
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        other = copy.deepcopy(net)
        if dtype is torch.bfloat16:
            run_in(other, dtype, torch.device("cpu"), None)
        penalty = r1_penalty(mean_of_map(other), real, 2)
        penalty.backward()
        of_weights = [p.grad.flatten() for p in other.parameters() if p.grad is not None]
        found.append((penalty.item(), torch.cat(of_weights)))
    (exact, exactly), (rounded, roughly) = found
    assert rounded == pytest.approx(exact, rel=0.05)
    assert F.cosine_similarity(roughly, exactly, dim=0) > 0.99


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, flags, told",
    [
        ("pix2pix", "--r1 5 --gan_mode wgangp", "--r1 5 with --gan_mode wgangp"),
        ("cycle_gan", "--r1 5 --norm batch --batch_size 2", "normalises 2 pictures together"),
        ("pix2pix", "--r1 5 --norm syncbatch --batch_size 3", "normalises 3 pictures together"),
        ("cut", "--num_D 2", "--crop_size 32: too small for --netG resnet_6blocks and --netD basic "
         "with --num_D 2, which need at least 48"),
        ("pix2pix", "--r1 -1", "--r1"),
        ("pix2pix", "--num_D 3", "--num_D"),
        ("template", "--lr_D 1e-3", "--lr_D 0.001: TemplateModel has no optimizer of the networks"),
        ("template", "--num_D 2", "--num_D: it belongs to"),
        ("template", "--r1 1", "--r1: it belongs to"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_line(name, flags, told, tmp_path):
    with pytest.raises(UserError) as error:
        build(tmp_path, name, *flags.split())
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("norm", ["batch", "syncbatch"])
def test_one_picture_at_a_time_is_normalised_alone(norm, tmp_path):
    model = model_of(tmp_path, "pix2pix", "--r1", "5", "--norm", norm, "--batch_size", "1")
    model.set_input(
        {side: torch.rand(1, 3, 32, 32, dtype=torch.float64) for side in "AB"}
        | {"A_paths": ["a"], "B_paths": ["b"]}
    )
    model.optimize_parameters()
    assert model.loss_D_GP > 0


def test_the_smallest_size_leaves_both_a_logit(tmp_path):
    model = model_of(tmp_path, "cycle_gan", *"--num_D 2 --load_size 48 --crop_size 48".split())
    for size, shape in ((48, (1, 1)), (50, (1, 1)), (64, (2, 2))):
        _, small = model.judge(model.netD_A, torch.zeros(1, 3, size, size, dtype=torch.float64))
        assert small.shape[2:] == shape


# --- The learning rate ----------------------------------------------------------------------------


def rates(model) -> list[list[float]]:
    return [[group["lr"] for group in optimizer.param_groups] for optimizer in model.optimizers]


@pytest.mark.parametrize("name", JUDGED)
def test_discriminators_learn_at_their_own_rate(name, tmp_path):
    """With the schedule of all; the rate that is shown is that of the generators."""
    flags = ["--lr", "0.01", "--n_epochs", "1", "--n_epochs_decay", "3", *TWO]
    plain = model_of(tmp_path, name, *flags)
    model = model_of(tmp_path, name, *flags, "--lr_D", "0.04")
    assert rates(plain) == [[0.01], [0.01, 0.01]]
    assert rates(model) == [[0.01], [0.04, 0.04]]
    before = {n: next(net.parameters()).clone() for n, net in model.networks().items()}
    model.optimize_parameters()
    for network, net in model.networks().items():  # Adam's first step is as long as the rate
        moved = (next(net.parameters()) - before[network]).abs().max().item()
        assert moved == pytest.approx(0.04 if network.startswith("D") else 0.01, rel=0.01)
    assert model.learning_rate == 0.01
    model.update_learning_rate()
    assert model.learning_rate == pytest.approx(0.0075)
    assert rates(model) == [[pytest.approx(0.0075)], [pytest.approx(0.03)] * 2]


@pytest.mark.parametrize("flags, resumed_at", [("", 0.008), ("--lr_D 0.2", 0.04)])
def test_a_rate_that_plateau_has_lowered_follows_another_lr_D(flags, resumed_at, tmp_path):
    line = ["--lr_policy", "plateau", "--lr", "0.01", "--lr_D", "0.04", *TWO]
    before, after = (model_of(tmp_path, "pix2pix", *line, *more) for more in ([], flags.split()))
    before.metric = 1.0
    for _ in range(7):
        before.update_learning_rate()
    states = [OptimizerState(m.optimizers, m.schedulers, m.opt.lr) for m in (before, after)]
    states[1].load_state_dict(states[0].state_dict())
    assert rates(after) == [[pytest.approx(0.002)], [pytest.approx(resumed_at)] * 2]


def test_a_second_discriminator_joins_a_run_whose_rate_has_fallen(tmp_path):
    """Moments of the others are kept; it has none yet, and their rate."""
    line = ["--lr_policy", "plateau", "--lr", "0.01", "--lr_D", "0.04"]
    before = model_of(tmp_path, "pix2pix", *line, *TWO[2:])
    before.optimize_parameters()
    before.metric = 1.0
    for _ in range(7):
        before.update_learning_rate()
    after = model_of(tmp_path, "pix2pix", *line, *TWO)
    states = [OptimizerState(m.optimizers, m.schedulers, m.opt.lr) for m in (before, after)]
    states[1].load_state_dict(states[0].state_dict())
    assert rates(after) == [[pytest.approx(0.002)], [pytest.approx(0.008)] * 2]
    theirs, ours = (list(m.optimizer_D.state.values()) for m in (before, after))
    assert len(ours) == len(theirs) == len(list(after.netD.parameters()))
    assert all(torch.equal(x["exp_avg"], y["exp_avg"]) for x, y in zip(ours, theirs, strict=True))
    after.metric = 1.0
    for _ in range(7):
        after.optimize_parameters()
        after.update_learning_rate()
    assert len(after.optimizer_D.state) == 2 * len(theirs)


class OwnOptimizer(Pix2PixModel):
    def __init__(self, opt):
        super().__init__(opt)
        self.optimizer_D = torch.optim.SGD(self.netD.parameters(), lr=0.5)
        self.optimizers = [self.optimizer_G, self.optimizer_D]


class OwnSchedule(OwnOptimizer):
    def __init__(self, opt):
        super().__init__(opt)
        torch.optim.lr_scheduler.StepLR(self.optimizer_D, 1)


def options(folder: Path, *flags: str):
    line = ["--dataroot", str(folder), "--checkpoints_dir", str(folder), "--model", "pix2pix"]
    return TrainOptions(models.registry, data.registry).parse([*line, "--device", "cpu", *flags])


def test_optimizers_of_their_own_heed_it_too(tmp_path):
    """As in model files of others; but not where a schedule has been made of the rate."""

    def made(kind: type[Pix2PixModel], *flags: str):
        small = "--ngf 2 --ndf 2 --netG resnet_6blocks".split()
        model = kind(options(tmp_path, *small, *flags))
        model.setup(model.opt)
        return model

    assert rates(made(OwnOptimizer)) == rates(made(OwnSchedule)) == [[0.0002], [0.5]]
    assert rates(made(OwnOptimizer, "--lr_D", "0.3")) == [[0.0002], [0.3]]
    for kind, flags, told in (
        (OwnOptimizer, "--num_D 2", "--num_D 2: OwnOptimizer has its own discriminators"),
        (OwnSchedule, "--lr_D 0.3", "--lr_D 0.3: OwnSchedule makes a schedule of its own"),
    ):
        with pytest.raises(UserError) as error:
            made(kind, *flags.split())
        assert told in str(error.value) and "\n" not in str(error.value)


def test_by_default_nothing_is_there(tmp_path):
    opt = options(tmp_path)
    assert (opt.num_D, opt.r1, opt.lr_D) == (1, 0.0, 0.0)
    model = model_of(tmp_path, "pix2pix")
    assert [*model.networks()] == ["G", "D"] and "D_GP" not in model.loss_names
    assert [*model.memories()] == ["fake_AB_pool"]
