"""Everything that makes a model faster or reduces its memory, applied from outside.

Models are written in plain fp32 PyTorch for one process and know nothing of this. `prepare` changes
in place how their networks and optimizers compute, and keeps the keys of their weights. The
defaults give the same results, up to rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from util.errors import UserError, first_line
from util.speed.deterministic import replace_reflection_padding
from util.speed.recompute import keeps_statistics, recompute
from util.speed.winograd import use_winograd

FUSED = torch.optim.Adam, torch.optim.AdamW  # but not what is derived from them


def prepare(
    networks: Mapping[str, nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    opt: argparse.Namespace,
    device: torch.device,
) -> list[torch.amp.GradScaler | None]:
    """Apply --precision, --channels_last and --compile; in training also the other speed flags.

    Args:
        networks: by name, on `device`, with their weights.
        optimizers: the model's; none in testing.

    Returns:
        for each optimizer, the GradScaler of its gradients with --precision fp16, or None.
    """
    dtype = resolve_precision(opt.precision, device)
    penalised_by = gradient_penalty_of(opt) if optimizers else ""
    if dtype is torch.float16 and penalised_by:
        raise UserError(
            f"--precision fp16 with {penalised_by}: the gradients of the gradient penalty exceed "
            "the range of fp16; pass --precision bf16 or fp32"
        )
    if opt.compile:
        require_compiler(device)
    scalers = [create_scaler(device) if dtype is torch.float16 else None for _ in optimizers]
    scaler_of: dict[int, torch.amp.GradScaler | None] = {}  # by identity of weights
    for optimizer, scaler in zip(optimizers, scalers, strict=True):
        fuse(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        scaler_of.update(dict.fromkeys(map(id, parameters), scaler))
    for name, net in called(networks):
        if optimizers and opt.deterministic and device.type == "cuda":
            replace_reflection_padding(net)
        norm_without_view(net)
        compiles = opt.compile
        if compiles and penalised_by and name.startswith("D"):
            compiles = False
            print(
                f"--compile skips network {name}: {penalised_by} differentiates its gradients again"
            )
        if wants_channels_last(opt, dtype, device):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif device.type == "cpu" and dtype is torch.float32 and not compiles:
            use_winograd(net)
        if optimizers and opt.grad_checkpoint and name.startswith("G"):
            if compiles and keeps_statistics(net.modules()):
                raise UserError(
                    "--compile with --grad_checkpoint: batch norms cannot be compiled then, since "
                    "their running averages must see each batch only once; drop one of the two "
                    "flags, or pass --norm instance"
                )
            recompute(net)
        if compiles:
            net.forward = torch.compile(net.forward, dynamic=False)  # type: ignore[method-assign]
        if dtype is not torch.float32:
            # After compiling: autocast caches cast weights between calls only if it is outside.
            run_in(net, dtype, device, scaler_of.get(id(next(net.parameters(), None))))
    return scalers


def called(networks: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """The networks that a model calls: of a list of them, which is never called, each one."""
    for name, net in networks.items():
        if isinstance(net, nn.ModuleList):
            yield from ((name, one) for one in net)
        else:
            yield name, net


def gradient_penalty_of(opt: argparse.Namespace) -> str:
    """The flag by which discriminators have a gradient penalty; '' if they have none."""
    if opt.gan_mode == "wgangp":
        return "--gan_mode wgangp"
    gamma = getattr(opt, "r1", 0.0)  # only some models have the flag
    return f"--r1 {gamma:g}" if gamma else ""


def arrange(copies: Sequence[nn.Module], opt: argparse.Namespace, device: torch.device) -> None:
    """Prepare copies of networks that share their weights, to be run while these are trained.

    Unlike the networks themselves, they are not compiled, and keep no activations. Call this before
    `prepare`, which may replace the weights' layout for both.
    """
    dtype = resolve_precision(opt.precision, device, quiet=True)
    for net in copies:
        norm_without_view(net)
        if (
            device.type == "cpu"
            and dtype is torch.float32
            and not wants_channels_last(opt, dtype, device)
        ):
            use_winograd(net)
        if dtype is not torch.float32:
            run_in(net, dtype, device, None)


def require_compiler(device: torch.device) -> None:
    """Raise UserError if torch.compile cannot work here; otherwise the first step would fail.

    Its requirements differ between systems, devices and PyTorch versions, so simply try it.
    """
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # from PyTorch's compiler, the system's compiler, or Triton
        cause = error.__cause__ or error.__context__ or error
        raise UserError(
            f"--compile: PyTorch cannot compile for {device.type} here ({first_line(cause)}); it "
            "needs a C++ compiler (Debian, Ubuntu: g++ and python3-dev; macOS: xcode-select "
            "--install; Windows: the Visual Studio Build Tools) and, for GPUs, Triton; install "
            "what is missing, or leave out --compile"
        ) from error


def wants_channels_last(opt: argparse.Namespace, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether to use channels_last; auto: on GPUs in half precision, where it suits tensor cores.

    auto does not use it with instance norm, which returns to the default layout at each layer
    (pytorch#72341), or on CPUs, where it made eager fp32 slower.
    """
    if opt.channels_last != "auto":
        return opt.channels_last
    return device.type == "cuda" and dtype is not torch.float32 and opt.norm != "instance"


def norm_without_view(net: nn.Module) -> None:
    """Make instance norm return a new tensor with the same bits.

    PyTorch's instance norm returns a view. If a ReLU then changes the view in place, autograd
    copies the gradient three times.
    """
    for norm in net.modules():
        if type(norm) is nn.InstanceNorm2d and not norm.track_running_stats:
            norm.forward = partial(normalize, norm)  # type: ignore[method-assign]


def normalize(norm: nn.InstanceNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Apply `norm` to x, (N, C, H, W)."""
    if x.ndim != 4:
        return nn.InstanceNorm2d.forward(norm, x)
    weight, bias = (p if p is None else p.repeat(len(x)) for p in (norm.weight, norm.bias))
    alone = x.reshape(1, -1, *x.shape[2:])  # as the channels of a single sample
    y = F.batch_norm(alone, None, None, weight, bias, training=True, eps=norm.eps)
    return torch.ops.aten._unsafe_view(y, x.shape)  # no view to autograd


def resolve_precision(name: str, device: torch.device, *, quiet: bool = False) -> torch.dtype:
    """The type that --precision selects on a device; says so if it falls back to fp32."""
    if name == "fp32":
        return torch.float32
    if name == "fp16":
        if device.type == "cuda" or (device.type == "cpu" and cpu_has("avx512_fp16", "amx_fp16")):
            return torch.float16
    elif device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
    elif device.type == "cpu" and cpu_has("avx512_bf16", "amx_bf16"):
        return torch.bfloat16
    if name != "auto" and not quiet:
        print(f"--precision {name}: this {device.type} has no {name} arithmetic; using fp32")
    return torch.float32


def cpu_has(*features: str) -> bool:
    """Whether the CPU supports one of these instruction sets."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(feature) for feature in features)


def run_in(
    net: nn.Module,
    dtype: torch.dtype,
    device: torch.device,
    scaler: torch.amp.GradScaler | None,
) -> None:
    """Make a network compute in `dtype` where that is safe; inputs and outputs stay float32.

    Weights stay float32, and so do all losses, which are computed outside the networks. With a
    scaler, gradients are multiplied where they enter the network and divided where they leave it
    towards its inputs, so that small ones are not lost in fp16 (arXiv:1710.03740, section 3.2).
    The optimizer's update divides the gradients of the weights.
    """
    forward = partial(run_mixed, net.forward, device.type, dtype)
    if scaler is not None:
        forward = partial(run_scaled, forward, scaler, device)
    net.forward = forward  # type: ignore[method-assign]


def run_mixed(
    forward: Callable[..., Any], kind: str, dtype: torch.dtype, *inputs: Any, **named: Any
) -> Any:
    with torch.autocast(kind, dtype):
        output = forward(*inputs, **named)
    return on_floats(torch.Tensor.float, output)


def run_scaled(
    forward: Callable[..., Any],
    scaler: torch.amp.GradScaler,
    device: torch.device,
    *inputs: Any,
    **named: Any,
) -> Any:
    scale = scaler.scale(torch.ones((), device=device))
    inputs, named = on_floats(lambda x: ScaleGradient.apply(x, 1 / scale), (inputs, named))
    return on_floats(lambda x: ScaleGradient.apply(x, scale), forward(*inputs, **named))


def on_floats(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Apply `change` to each floating-point tensor in `value`: in tuples, lists and dicts too."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: on_floats(change, inner) for key, inner in value.items()}
    if type(value) in (tuple, list):
        return type(value)(on_floats(change, inner) for inner in value)
    return value


def create_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Start with a scale at which gradients rarely overflow: each overflow skips an update."""
    return torch.amp.GradScaler(device.type, init_scale=2.0**9)


class ScaleGradient(torch.autograd.Function):
    """The identity, but with its gradient multiplied by a factor."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.factor, None


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Make Adam update all weights in one pass; equal to its loop over tensors up to rounding."""
    if type(optimizer) in FUSED:
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
