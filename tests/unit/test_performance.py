"""Speed features change how, not what: exact ones in every digit, bf16 within a bound."""

import shutil
from argparse import Namespace

import pytest
import torch

import data
import models
from models import networks
from options.train_options import TrainOptions
from util import runtime
from util.performance import fuse, prepare, resolve_precision

CPU = torch.device("cpu")


def losses_of(pictures, model_name, *flags, prepared, dtype=torch.float32, num_epochs=2):
    """Losses of each step of a small training, (steps, losses)."""
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
    else:
        model.per_sample = False  # one call per input, as the paper writes it
    for net in model.networks().values():
        net.to(dtype)
    losses = []
    for epoch in range(num_epochs):
        dataset.set_epoch(epoch)
        for batch in dataset:
            typed = {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in batch.items()}
            model.set_input(typed)
            model.optimize_parameters()
            losses.append(list(model.get_current_losses().values()))
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize(
    "model_name, gan_mode", [("pix2pix", "lsgan"), ("cycle_gan", "lsgan"), ("cycle_gan", "wgangp")]
)
def test_defaults_compute_the_same_in_double_precision(pictures, model_name, gan_mode):
    """In float32 rounding is amplified within a few steps; in float64 errors would show."""
    flags = ("--gan_mode", gan_mode)
    plain = losses_of(pictures, model_name, *flags, prepared=False, dtype=torch.float64)
    fast = losses_of(pictures, model_name, *flags, prepared=True, dtype=torch.float64)
    torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-9)


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


@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_the_same_and_keeps_its_keys():
    torch.manual_seed(0)
    net = networks.define_D(3, 4, "pixel", norm="instance")
    picture = torch.randn(1, 3, 16, 16)
    keys, plain = list(net.state_dict()), net(picture)
    prepare({"D": net}, [], Namespace(precision="fp32", channels_last="auto", compile=True), CPU)
    torch.testing.assert_close(net(picture), plain, rtol=1e-4, atol=1e-5)
    assert list(net.state_dict()) == keys


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
