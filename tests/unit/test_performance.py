"""Speed features do not change results: exact ones not at all, bf16 within a bound."""

import copy
import shutil
from argparse import Namespace
from collections import Counter

import pytest
import torch

import data
import models
from models import networks
from models.base_model import treats_samples_alone
from models.optimizer_state import OptimizerState
from options.train_options import TrainOptions
from util import runtime
from util.errors import UserError
from util.speed.performance import (
    create_scaler,
    fuse,
    norm_without_view,
    prepare,
    resolve_precision,
    run_in,
    wants_channels_last,
)
from util.speed.recompute import recompute
from util.speed.winograd import LEAST_CHANNELS
from util.step import Steps
from util.step.ema import EMA

CPU = torch.device("cpu")


def build(pictures, model_name, *flags, prepared, dtype=torch.float32):
    """(dataset, model) of a small training, with what `prepare` does or without."""
    root = pictures.side_by_side(3, (40, 40))
    if model_name == "cycle_gan":
        root = pictures.unaligned(3, 2, size=(40, 40))
    words = ["--dataroot", root, "--model", model_name, "--ngf", "4", "--ndf", "4", "--seed", "1"]
    words += ["--netG", "resnet_6blocks", "--norm", "instance", "--no_dropout", "--num_threads"]
    words += ["0", "--load_size", "36", "--crop_size", "32", "--cache", "none", *flags]
    opt = TrainOptions(models.registry, data.registry).parse(words)
    runtime.seed_everything(opt.seed)
    dataset, model = data.create_dataset(opt), models.create_model(opt)
    model.setup(opt)
    if prepared:
        scalers = prepare(model.networks(), model.optimizers, opt, model.device)
        ema = EMA(model.networks(), model.optimizers, 0.0)
        Steps(model, ema, scalers, num_batches=opt.grad_accum)  # works by the optimizers' hooks
        model.joins_inputs = True  # as on GPUs
    else:
        model.joins_inputs = False  # one call per input, as the paper writes it
    for net in model.networks().values():
        net.to(dtype)
    return dataset, model


def batches(dataset, num_epochs, dtype=torch.float32):
    for epoch in range(num_epochs):
        dataset.set_epoch(epoch)
        for batch in dataset:
            yield {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in batch.items()}


def step(model, batch):
    """The losses of one step, (losses,)."""
    model.set_input(batch)
    model.optimize_parameters()
    return torch.tensor(list(model.get_current_losses().values()), dtype=torch.float64)


def losses_of(pictures, model_name, *flags, prepared, dtype=torch.float32, num_epochs=2):
    """Losses of each step of a small training, (steps, losses)."""
    dataset, model = build(pictures, model_name, *flags, prepared=prepared, dtype=dtype)
    return torch.stack([step(model, batch) for batch in batches(dataset, num_epochs, dtype)])


needs_compiler = pytest.mark.skipif(
    not shutil.which("c++"), reason="torch.compile needs a C++ compiler"
)
KINDS = [("pix2pix", "lsgan"), ("cycle_gan", "lsgan"), ("cycle_gan", "wgangp")]


@pytest.fixture
def winograd_everywhere(monkeypatch):
    """Even where layers are too small to benefit."""
    monkeypatch.setattr("util.speed.winograd.LEAST_CHANNELS", 1)
    monkeypatch.setattr("util.speed.winograd.LEAST_TILES", 1)


@pytest.mark.usefixtures("winograd_everywhere")
@pytest.mark.parametrize("model_name, gan_mode", KINDS)
def test_defaults_compute_the_same_in_double_precision(pictures, model_name, gan_mode):
    """In float32 rounding is amplified within a few steps; in float64 errors would show."""
    flags = ("--gan_mode", gan_mode)
    plain = losses_of(pictures, model_name, *flags, prepared=False, dtype=torch.float64)
    fast = losses_of(pictures, model_name, *flags, prepared=True, dtype=torch.float64)
    torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("winograd_everywhere")
@pytest.mark.parametrize("model_name, gan_mode", KINDS)
def test_each_of_50_steps_is_the_same_to_rounding(pictures, model_name, gan_mode):
    """Each from the same weights and moments: what differs by rounding grows from step to step."""
    flags = ("--gan_mode", gan_mode, "--pool_size", "0")
    dataset, plain = build(pictures, model_name, *flags, prepared=False, dtype=torch.float64)
    _, fast = build(pictures, model_name, *flags, prepared=True, dtype=torch.float64)
    theirs, own = (OptimizerState(m.optimizers, m.schedulers, m.opt.lr) for m in (plain, fast))
    for number, batch in enumerate(batches(dataset, 17, torch.float64)):
        for name, net in fast.networks().items():
            net.load_state_dict(plain.networks()[name].state_dict())
        own.load_state_dict(copy.deepcopy(theirs.state_dict()))
        losses = []
        for model in (plain, fast):
            torch.manual_seed(number)
            losses.append(step(model, batch))
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-9)
    assert number == 50


def test_batch_norm_is_never_batched_together(pictures):
    """Statistics of real and generated pictures must not mix: one call per input, bit for bit."""
    flags = ("--norm", "batch")
    plain = losses_of(pictures, "pix2pix", *flags, prepared=False)
    fast = losses_of(pictures, "pix2pix", *flags, prepared=True)
    assert torch.equal(plain[0], fast[0])


@pytest.mark.skipif(
    resolve_precision("auto", CPU) is not torch.bfloat16, reason="the processor has no bf16"
)
def test_bf16_trains_to_nearby_losses(pictures):
    full = losses_of(pictures, "pix2pix", prepared=True, num_epochs=4)
    half = losses_of(pictures, "pix2pix", "--precision", "bf16", prepared=True, num_epochs=4)
    assert not torch.equal(full, half), "bf16 must show"
    assert ((full - half).abs() / full.abs()).mean() < 0.05


def test_bf16_falls_back_with_a_line(capsys, monkeypatch):
    monkeypatch.setattr("util.speed.performance.cpu_has", lambda *_: False)
    assert resolve_precision("bf16", CPU) is torch.float32
    assert "no bf16 arithmetic; using fp32" in capsys.readouterr().out
    assert resolve_precision("auto", CPU) is torch.float32
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name, kind, has, dtype",
    [
        ("auto", "cpu", ["avx512_bf16"], torch.bfloat16),
        ("bf16", "cpu", ["amx_bf16"], torch.bfloat16),
        ("auto", "cpu", ["avx512_fp16"], torch.float32),
        ("fp16", "cpu", ["amx_fp16"], torch.float16),
        ("fp16", "cpu", ["avx512_bf16"], torch.float32),
        ("fp32", "cpu", ["avx512_bf16"], torch.float32),
        ("auto", "mps", ["avx512_bf16", "avx512_fp16"], torch.float32),
        ("fp16", "mps", ["avx512_bf16", "avx512_fp16"], torch.float32),
        ("auto", "cuda", ["bf16"], torch.bfloat16),
        ("auto", "cuda", [], torch.float32),
        ("fp16", "cuda", [], torch.float16),
        ("fp32", "cuda", ["bf16"], torch.float32),
    ],
)
def test_precision_by_device(name, kind, has, dtype, monkeypatch, capsys):
    monkeypatch.setattr(
        "util.speed.performance.cpu_has", lambda *features: bool({*features} & {*has})
    )
    monkeypatch.setattr(
        "torch.cuda.is_bf16_supported",
        lambda including_emulation=True: "bf16" in has or including_emulation,
    )
    assert resolve_precision(name, torch.device(kind)) is dtype
    said = f"--precision {name}: this {kind} has no {name} arithmetic; using fp32\n"
    fell_back = name not in ("auto", "fp32") and dtype is torch.float32
    assert capsys.readouterr().out == (said if fell_back else "")


@pytest.mark.parametrize(
    "flag, norm, dtype, kind, wanted",
    [
        ("auto", "batch", torch.bfloat16, "cuda", True),
        ("auto", "instance", torch.bfloat16, "cuda", False),
        ("auto", "batch", torch.float32, "cuda", False),
        ("auto", "batch", torch.bfloat16, "cpu", False),
        (True, "instance", torch.float32, "cpu", True),
        (False, "batch", torch.bfloat16, "cuda", False),
    ],
)
def test_channels_last_by_itself_is_for_half_precision_on_gpus(flag, norm, dtype, kind, wanted):
    opt = Namespace(channels_last=flag, norm=norm)
    assert wants_channels_last(opt, dtype, torch.device(kind)) is wanted


def test_fp16_trains_with_a_scale_that_fits(pictures, monkeypatch):
    """On a CPU it is slow, but works as on a GPU."""
    monkeypatch.setattr("util.speed.performance.cpu_has", lambda *_: True)
    scales, update = [], torch.amp.GradScaler.update
    monkeypatch.setattr(
        "torch.amp.GradScaler.update", lambda self: scales.append(self.get_scale()) or update(self)
    )
    full = losses_of(pictures, "pix2pix", prepared=True)
    half = losses_of(pictures, "pix2pix", "--precision", "fp16", prepared=True, num_epochs=8)
    assert not torch.equal(full[0], half[0]), "fp16 must show"
    # Before any update; the generator's adversarial loss comes after the discriminator's.
    torch.testing.assert_close(half[0, 1:], full[0, 1:], rtol=0.01, atol=0)
    assert scales[0] >= min(scales) >= 1  # lowered until gradients do not overflow
    assert scales[-1] == scales[-3] == scales[-5]
    assert half[-3:, 1].mean() < 0.95 * half[:3, 1].mean()  # and then it learns


def test_small_gradients_survive_fp16():
    """Below 6e-8, fp16 rounds to zero."""
    net = torch.nn.Conv2d(1, 1, 1, bias=False)
    scaler = torch.amp.GradScaler("cpu")
    run_in(net, torch.float16, CPU, scaler)
    picture = torch.ones(1, 1, 2, 2, requires_grad=True)
    (net(picture).sum() * 1e-9).backward()
    assert picture.grad == pytest.approx(1e-9 * net.weight.detach().expand(1, 1, 2, 2), rel=0.01)
    assert float(net.weight.grad) == pytest.approx(4e-9 * 2**16, rel=0.01)


@pytest.mark.parametrize("penalty", ["--gan_mode wgangp", "--r1 10"])
def test_fp16_with_a_gradient_penalty_is_refused(penalty, pictures, monkeypatch):
    monkeypatch.setattr("util.speed.performance.cpu_has", lambda *_: True)
    flags = ("--precision", "fp16", *penalty.split())
    with pytest.raises(UserError, match=f"fp16 with {penalty}: .*; pass --precision bf16"):
        losses_of(pictures, "pix2pix", *flags, prepared=True)


def test_accumulated_gradients_are_those_of_a_larger_batch(pictures):
    flags = ("--serial_batches", "--pool_size", "0", "--max_dataset_size", "2")
    large = losses_of(
        *(pictures, "cycle_gan", *flags, "--batch_size", "2"),
        prepared=True,
        dtype=torch.float64,
    )
    small = losses_of(
        *(pictures, "cycle_gan", *flags, "--grad_accum", "2"),
        prepared=True,
        dtype=torch.float64,
    )
    means = (small[0::2] + small[1::2]) / 2
    torch.testing.assert_close(means, large, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("flags", [("--norm", "batch", "--no_dropout", "off"), ()])
@pytest.mark.parametrize("model_name", ["pix2pix", "cycle_gan"])
def test_recomputed_layers_give_the_same_bits(pictures, model_name, flags):
    plain = losses_of(pictures, model_name, *flags, prepared=True)
    again = losses_of(pictures, model_name, *flags, "--grad_checkpoint", prepared=True)
    assert torch.equal(plain, again)


@pytest.mark.parametrize("netG, share", [("unet_128", 0.5), ("resnet_6blocks", 0.2)])
def test_recomputing_keeps_less_and_the_same_statistics(netG, share):
    torch.manual_seed(0)
    plain = networks.define_G(3, 3, 4, netG, "batch", use_dropout=True)
    lean = copy.deepcopy(plain)
    recompute(lean)
    picture, num_bytes = torch.randn(1, 3, 128, 128), []
    for net in (plain, lean):
        kept = {}

        def note(x: torch.Tensor, kept: dict = kept) -> torch.Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            output = net(picture)
        output.square().mean().backward()
        num_bytes.append(sum(kept.values()))
        net(picture).square().mean().backward()  # statistics move on in the next step
    assert num_bytes[1] < share * num_bytes[0]
    for a, b in zip(plain.buffers(), lean.buffers(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain.parameters(), lean.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_generators_alone_are_recomputed(pictures):
    def convolutions(*flags: str) -> Counter:
        """How many layers of each network were computed in a step."""
        dataset, model = build(pictures, "pix2pix", *flags, prepared=True)
        calls = Counter()
        for name, net in model.networks().items():
            for layer in net.modules():
                if isinstance(layer, torch.nn.Conv2d):
                    layer.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
        step(model, next(batches(dataset, 1)))
        return calls

    plain, again = convolutions(), convolutions("--grad_checkpoint")
    assert again["D"] == plain["D"] > 0
    assert again["G"] > 1.5 * plain["G"]


@needs_compiler
def test_a_compiled_network_gives_the_same_and_keeps_its_keys():
    torch.manual_seed(0)
    net = networks.define_D(3, 4, "pixel", norm="instance")
    picture = torch.randn(1, 3, 16, 16)
    keys, plain = list(net.state_dict()), net(picture)
    prepare({"D": net}, [], Namespace(precision="fp32", channels_last="auto", compile=True), CPU)
    torch.testing.assert_close(net(picture), plain, rtol=1e-4, atol=1e-5)
    assert list(net.state_dict()) == keys


@needs_compiler
def test_recomputed_layers_are_compiled_whole():
    net = networks.define_D(3, 4, "pixel", norm="instance")
    picture = torch.randn(1, 3, 16, 16)
    net(picture).square().sum().backward()
    plain = [p.grad.clone() for p in net.parameters()]
    flags = Namespace(precision="fp32", channels_last="auto", compile=True, grad_checkpoint=True)
    flags.deterministic, flags.gan_mode, flags.norm = False, "lsgan", "instance"
    prepare({"G": net}, [torch.optim.Adam(net.parameters())], flags, CPU)
    net.zero_grad()
    torch._dynamo.utils.counters.clear()
    net(picture).square().sum().backward()
    assert not torch._dynamo.utils.counters["graph_break"]
    for parameter, gradient in zip(net.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-3)


@needs_compiler
def test_recomputed_batch_norms_are_not_compiled():
    net = networks.define_D(3, 4, "pixel", norm="batch")
    flags = Namespace(precision="fp32", channels_last="auto", compile=True, grad_checkpoint=True)
    flags.deterministic, flags.gan_mode, flags.norm = False, "lsgan", "batch"
    with pytest.raises(UserError, match="--compile with --grad_checkpoint"):
        prepare({"G": net}, [torch.optim.Adam(net.parameters())], flags, CPU)


@needs_compiler
@pytest.mark.parametrize("gan_mode, r1", [("wgangp", 0), ("lsgan", 10)])
def test_a_critic_whose_gradients_are_differentiated_is_not_compiled(gan_mode, r1, capsys):
    """PyTorch's compiler cannot; with other objectives a discriminator is compiled."""
    flags = Namespace(precision="fp32", channels_last="auto", compile=True, grad_checkpoint=False)
    flags.deterministic, flags.gan_mode, flags.norm, flags.r1 = False, gan_mode, "instance", r1
    nets = {name: networks.define_D(3, 4, "pixel", norm="instance") for name in ("G", "D")}
    prepare(nets, [torch.optim.Adam(nets["D"].parameters())], flags, CPU)
    real, fake = torch.randn(2, 1, 3, 8, 8)
    penalty, _ = networks.cal_gradient_penalty(nets["D"], real, fake, CPU)
    penalty.backward()
    assert all(parameter.grad.any() for parameter in nets["D"].parameters() if parameter.ndim > 1)
    by = f"--r1 {r1}" if r1 else "--gan_mode wgangp"
    assert f"--compile skips network D: {by} differentiates" in capsys.readouterr().out
    assert hasattr(nets["G"].forward, "_torchdynamo_orig_callable")


def test_compile_without_a_compiler_is_one_line(run_cli, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    flags = ["--dataroot", pictures.side_by_side(), "--name", "run", "--model", "pix2pix"]
    flags += ["--ngf", "4", "--ndf", "4", "--device", "cpu", "--compile", "--dry_run"]
    nothing = {"PATH": str(tmp_path / "empty"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    run = run_cli("train.py", *flags, **nothing)
    assert run.status == 2
    assert run.stderr.startswith("train.py: error: --compile: ")
    assert run.stderr.count("\n") == 1 and "leave out --compile" in run.stderr


@pytest.mark.parametrize(
    "flags, served",
    [
        ({}, True),
        pytest.param({"compile": True}, False, marks=needs_compiler),
        ({"channels_last": True}, False),
        ({"precision": "bf16"}, resolve_precision("bf16", CPU) is torch.float32),
    ],
    ids=str,
)
def test_winograd_is_for_plain_single_precision(flags, served):
    layer = torch.nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3)
    usual = {"precision": "fp32", "channels_last": "auto", "compile": False, "norm": "instance"}
    prepare({"G": layer}, [], Namespace(**{**usual, **flags}), CPU)
    assert ("convolve" in repr(layer.forward)) is served


@pytest.mark.parametrize("num_pictures", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"eps": 0.5, "affine": True}], ids=str)
def test_instance_norm_gives_the_same_bits(settings, num_pictures):
    x = torch.randn(num_pictures, 4, 9, 9)
    norm, results = torch.nn.InstanceNorm2d(4, **settings), []
    for parameter in norm.parameters():
        torch.nn.init.uniform_(parameter, 1, 2)
    for change in (lambda net: None, norm_without_view):
        net = torch.nn.Sequential(copy.deepcopy(norm), torch.nn.ReLU(inplace=True))
        change(net)
        leaf = x.clone().requires_grad_()
        y = net(leaf)
        results.append([y, *torch.autograd.grad(y.square().sum(), leaf)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize(
    "layer, alone",
    [
        (torch.nn.InstanceNorm2d(4), True),
        (torch.nn.BatchNorm2d(4), False),
        (torch.nn.Dropout(), False),
    ],
    ids=str,
)
def test_what_mixes_samples_is_seen_in_the_network(layer, alone):
    assert treats_samples_alone(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), layer)) is alone


class Encoder(torch.nn.Module):
    """A generator of a model file, which may give a list of features instead."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 3)

    def forward(self, x, features=False):
        y = self.layer(x)
        return [y, y.sum()] if features else y


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_networks_of_model_files_take_names_and_give_lists(dtype):
    net = Encoder()
    x = torch.rand(1, 3, 8, 8)
    run_in(net, dtype, CPU, create_scaler(CPU) if dtype is torch.float16 else None)
    y, total = net(x, features=True)
    assert y.dtype == total.dtype == torch.float32
    assert torch.equal(net(x), y)
    other = copy.deepcopy(net)
    torch.nn.init.zeros_(other.layer.weight)
    assert torch.equal(net(x), y) and not torch.equal(other(x), y)


def test_channels_last_changes_the_layout_alone():
    torch.manual_seed(0)
    net = networks.define_G(3, 3, 4, "resnet_6blocks", "instance")
    picture = torch.randn(1, 3, 16, 16)
    plain = net(picture)
    prepare({"G": net}, [], Namespace(precision="fp32", channels_last=True, compile=False), CPU)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convolutions)
    torch.testing.assert_close(net(picture), plain, rtol=1e-3, atol=1e-4)


def test_only_adam_is_fused():
    weight = torch.nn.Parameter(torch.ones(2))
    adam, sgd = torch.optim.Adam([weight]), torch.optim.SGD([weight], lr=0.1)
    fuse(adam)
    fuse(sgd)
    assert adam.param_groups[0]["fused"] and not sgd.param_groups[0].get("fused")
