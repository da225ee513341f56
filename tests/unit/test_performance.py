"""Speed features change how, not what: exact ones in every digit, bf16 within a bound."""

import copy
import shutil
import socket
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest
import torch

import data
import models
from models import networks
from models.base_model import treats_samples_alone
from options.train_options import TrainOptions
from util import runtime
from util.averages import Averages
from util.errors import UserError
from util.performance import (
    create_scaler,
    fuse,
    norm_without_view,
    prepare,
    resolve_precision,
    run_in,
    wants_channels_last,
)
from util.recompute import recompute
from util.updates import Update
from util.winograd import LEAST_CHANNELS

CPU = torch.device("cpu")
PROCESS = """
import sys, torch
from util.updates import Update

port, rank = sys.argv[1:]
url = f"tcp://127.0.0.1:{port}"
torch.distributed.init_process_group("gloo", init_method=url, rank=int(rank), world_size=2)
seldom, never, often = (torch.nn.Parameter(torch.zeros(())) for _ in range(3))
update = Update(torch.optim.SGD([seldom, never, often], lr=1.0))
(often + seldom * 8 if rank == "0" else often * 2).backward()
update.optimizer.step()
assert never.grad is None
print([seldom.item(), never.item(), often.item()])
torch.distributed.destroy_process_group()
"""


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
        prepare(model.networks(), model.optimizers, opt, model.device)
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
    """Also where layers are too small to gain by it."""
    monkeypatch.setattr("util.winograd.LEAST_CHANNELS", 1)
    monkeypatch.setattr("util.winograd.LEAST_TILES", 1)


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
    for number, batch in enumerate(batches(dataset, 17, torch.float64)):
        for name, net in fast.networks().items():
            net.load_state_dict(plain.networks()[name].state_dict())
        fast.load_state_dict(copy.deepcopy(plain.state_dict()))
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
    monkeypatch.setattr("util.performance.cpu_has", lambda *_: False)
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
    monkeypatch.setattr("util.performance.cpu_has", lambda *features: bool({*features} & {*has}))
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
    """On a CPU it is slow, but the same as on a GPU."""
    monkeypatch.setattr("util.performance.cpu_has", lambda *_: True)
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
    """Below 6e-8 fp16 knows only zero."""
    net = torch.nn.Conv2d(1, 1, 1, bias=False)
    scaler = torch.amp.GradScaler("cpu")
    run_in(net, torch.float16, CPU, scaler)
    picture = torch.ones(1, 1, 2, 2, requires_grad=True)
    (net(picture).sum() * 1e-9).backward()
    assert picture.grad == pytest.approx(1e-9 * net.weight.detach().expand(1, 1, 2, 2), rel=0.01)
    assert float(net.weight.grad) == pytest.approx(4e-9 * 2**16, rel=0.01)


def test_an_overflow_in_fp16_leaves_out_the_update_and_lowers_the_scale():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu")
    update = Update(optimizer, scaler=scaler)
    scaler.scale(weight.sum()).backward()
    weight.grad[0] = torch.inf
    optimizer.step()
    assert weight.tolist() == [1, 1] and scaler.get_scale() == 2.0**15
    optimizer.zero_grad()
    scaler.scale(weight.sum()).backward()
    optimizer.step()
    assert weight.tolist() == [0, 0]
    restored = Update(torch.optim.SGD([weight], lr=1.0), scaler=torch.amp.GradScaler("cpu"))
    restored.load_state_dict(update.state_dict())
    assert restored.scaler.get_scale() == 2.0**15


def test_fp16_with_wgangp_is_refused(pictures, monkeypatch):
    monkeypatch.setattr("util.performance.cpu_has", lambda *_: True)
    flags = ("--precision", "fp16", "--gan_mode", "wgangp")
    with pytest.raises(UserError, match="--precision bf16"):
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


def test_half_an_accumulation_is_part_of_a_checkpoint():
    def updated(cut: bool) -> float:
        weight = torch.nn.Parameter(torch.zeros(()))
        update = Update(torch.optim.SGD([weight], lr=1.0), num_batches=2)
        weight.grad = torch.tensor(1.0)
        update.optimizer.step()
        assert weight == 0
        if cut:
            state = update.state_dict()
            update = Update(torch.optim.SGD([weight], lr=1.0), num_batches=2)
            update.load_state_dict(state)
        weight.grad = torch.tensor(4.0)
        update.optimizer.step()
        return weight.item()

    assert updated(cut=True) == updated(cut=False) == -2.5


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("used", ["first", "last"])
def test_a_weight_of_one_batch_alone_counts_as_zero_in_the_other(used, cut):
    """Weights of one shape, since sums of other weights would fit them too."""
    often, seldom, never = (torch.nn.Parameter(torch.zeros(())) for _ in range(3))

    def new() -> Update:
        return Update(torch.optim.SGD([seldom, never, often], lr=1.0), num_batches=2)

    update = new()
    for batch in ("first", "last"):
        if cut and batch == "last":
            state = update.state_dict()
            update = new()
            update.load_state_dict(state)
        update.optimizer.zero_grad()
        (often * 2 + seldom * 8 if batch == used else often * 2).backward()
        update.optimizer.step()
    assert (often.item(), seldom.item(), never.item()) == (-2, -4, 0)
    assert never.grad is None


def test_processes_may_use_different_weights():
    """A weight that one of two does not use has half the gradient of the other there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROCESS, str(port)]
    root = Path(__file__).resolve().parents[2]
    processes = [
        subprocess.Popen([*command, rank], cwd=root, stdout=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    assert [p.communicate(timeout=60)[0].strip() for p in processes] == ["[-4.0, 0.0, -1.5]"] * 2


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


def test_an_overflow_in_fp16_is_no_update_of_averages(pictures, monkeypatch):
    monkeypatch.setattr("util.performance.cpu_has", lambda *_: True)
    dataset, model = build(pictures, "pix2pix", "--precision", "fp16", prepared=True)
    step(model, next(batches(dataset, 1)))  # of which on there is a scale
    averages = Averages(model.networks(), model.optimizers, 0.9)
    for value, updates in ((torch.inf, 0), (1.0, 1)):
        for parameter in model.netG.parameters():
            parameter.grad = torch.full_like(parameter, value)
        before = next(model.netG.parameters()).detach().clone()
        model.optimizer_G.step()
        assert averages.state_dict() == {"G": updates}
        assert torch.equal(next(model.netG.parameters()), before) is (updates == 0)


def test_averages_go_on_from_their_files_or_begin_with_the_present_weights(tmp_path, capsys):
    def trained(seed: int):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        return net, optimizer, Averages({"G": net}, [optimizer], 0.75)

    def step(net, optimizer) -> torch.Tensor:
        net(torch.randn(2, 1, 2, 2)).pow(3).sum().backward()
        optimizer.step()
        return net[0].weight.detach().clone()

    first, optimizer, averages = trained(1)
    step(first, optimizer)
    step(first, optimizer)
    average = averages.networks["G_ema"][0].weight.clone()
    torch.save(averages.networks["G_ema"].state_dict(), tmp_path / "G_ema.pth")

    second, optimizer, resumed = trained(2)
    resumed.load(lambda name: tmp_path / f"{name}.pth")
    resumed.load_state_dict(averages.state_dict())
    assert torch.equal(resumed.networks["G_ema"][0].weight, average)
    now = step(second, optimizer)
    expected = 0.75 * average + 0.25 * now
    torch.testing.assert_close(resumed.networks["G_ema"][0].weight, expected)
    assert capsys.readouterr().out == ""

    third, optimizer, begun = trained(3)
    begun.load(lambda name: tmp_path / f"none_{name}.pth")
    begun.load_state_dict({})
    now = step(third, optimizer)
    assert torch.equal(begun.networks["G_ema"][0].weight, now)
    assert "none_G_ema.pth is not there, so averages begin now" in capsys.readouterr().out


def test_averages_follow_a_generator_of_two_optimizers_and_one_without_weights():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.5) for layer in net]
    averages = Averages({"G": net, "G_fixed": torch.nn.Identity()}, optimizers, 0.75)
    for optimizer, updates in zip(optimizers, (0, 1), strict=True):  # one of each step
        net(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        assert averages.state_dict() == {"G": updates, "G_fixed": 0}


def test_averages_follow_the_formula_and_leave_the_rest_alone():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.BatchNorm2d(1))
    other = torch.nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    averages = Averages({"G": net, "D": other}, [optimizer], 0.75)
    assert list(averages.networks) == ["G_ema"]
    expected = None
    for _ in range(3):
        net(torch.randn(1, 1, 2, 2)).square().sum().backward()
        optimizer.step()
        now = net[0].weight.detach().clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
    torch.testing.assert_close(averages.networks["G_ema"][0].weight, expected)
    assert torch.equal(averages.networks["G_ema"][1].running_mean, net[1].running_mean)
    assert not Averages({"G": net}, [optimizer], 0.0).networks


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
    flags.grad_accum, flags.gan_mode, flags.norm = 1, "lsgan", "instance"
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
    flags.grad_accum, flags.gan_mode, flags.norm = 1, "lsgan", "batch"
    with pytest.raises(UserError, match="--compile with --grad_checkpoint"):
        prepare({"G": net}, [torch.optim.Adam(net.parameters())], flags, CPU)


@needs_compiler
def test_a_critic_whose_gradients_are_differentiated_is_not_compiled(capsys):
    """PyTorch's compiler cannot; with other objectives a discriminator is compiled."""
    flags = Namespace(precision="fp32", channels_last="auto", compile=True, grad_checkpoint=False)
    flags.grad_accum, flags.gan_mode, flags.norm = 1, "wgangp", "instance"
    nets = {name: networks.define_D(3, 4, "pixel", norm="instance") for name in ("G", "D")}
    prepare(nets, [torch.optim.Adam(nets["D"].parameters())], flags, CPU)
    real, fake = torch.randn(2, 1, 3, 8, 8)
    penalty, _ = networks.cal_gradient_penalty(nets["D"], real, fake, CPU)
    penalty.backward()
    assert all(parameter.grad.any() for parameter in nets["D"].parameters() if parameter.ndim > 1)
    assert "leaves out network D" in capsys.readouterr().out
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
    fuse(adam, CPU)
    fuse(sgd, CPU)
    assert adam.param_groups[0]["fused"] and not sgd.param_groups[0].get("fused")
