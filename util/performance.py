"""Everything that makes a model faster or leaner, applied to it from outside.

Models are written in plain fp32 PyTorch and know nothing of this. `prepare` changes how their
networks and optimizers compute; what is on by default gives the same numbers to rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

import torch
from torch import nn


def prepare(
    networks: Iterable[nn.Module],
    optimizers: Iterable[torch.optim.Optimizer],
    opt: argparse.Namespace,
    device: torch.device,
) -> None:
    """Apply --precision, --channels_last and --compile, and the fastest exact optimizer.

    Args:
        networks: on `device`, with their weights.
        optimizers: of the model; none in testing.
    """
    dtype = resolve_precision(opt.precision, device)
    for net in networks:
        if opt.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if opt.compile:
            net.forward = torch.compile(net.forward, dynamic=False)  # type: ignore[method-assign]
        if dtype is not torch.float32:
            run_in(net, dtype, device)  # outside: what autocast enters is not cached when compiled
    for optimizer in optimizers:
        fuse(optimizer, device)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that --precision stands for on a device; says so if it has to be fp32 instead."""
    if name == "fp32":
        return torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and cpu_has_bf16()
    if fast:
        return torch.bfloat16
    if name == "bf16":
        print(f"--precision bf16: this {device.type} has no bf16 arithmetic; using fp32")
    return torch.float32


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 numbers itself (AVX512_BF16 or AMX)."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def run_in(net: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Let a network compute in `dtype` where that is safe; it takes and gives float32 as before.

    Weights stay float32, as do all losses, which lie outside the networks.
    """
    forward: Callable[..., torch.Tensor] = net.forward

    def mixed(*inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype):
            output = forward(*inputs)
        return output.float()

    net.forward = mixed  # type: ignore[method-assign]


def fuse(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let Adam update all weights in one pass; to rounding the same as its loop over tensors."""
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW) and device.type in ("cpu", "cuda"):
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
