"""Training that gives the same bits each time on a GPU too (--deterministic)."""

from __future__ import annotations

import os

import torch
from torch import nn


def be_deterministic() -> None:
    """Let PyTorch use deterministic algorithms only; it raises an error where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


class DeterministicReflectionPad2d(nn.Module):
    """nn.ReflectionPad2d by slices, whose backward adds in a fixed order.

    PyTorch's own has no deterministic backward on CUDA. The output is equal bit for bit, gradients
    to rounding in the mirrored margin, where up to four values are added in another order.

    Args: padding: left, right, top, bottom in pixels, each below the side it mirrors.
    """

    def __init__(self, padding: tuple[int, int, int, int]):
        super().__init__()
        self.padding = padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        left, right, top, bottom = self.padding
        x = reflect(x, 3, left, right)
        return reflect(x, 2, top, bottom)


def reflect(x: torch.Tensor, dim: int, before: int, after: int) -> torch.Tensor:
    """Mirror `before` and `after` slices at the two ends of a dimension, the edge not repeated."""
    size = x.shape[dim]
    first = x.narrow(dim, 1, before).flip(dim)
    last = x.narrow(dim, size - 1 - after, after).flip(dim)
    return torch.cat((first, x, last), dim)


def replace_reflection_padding(net: nn.Module) -> None:
    """Put DeterministicReflectionPad2d in the place of each nn.ReflectionPad2d; keys stay."""
    for name, child in net.named_children():
        if isinstance(child, nn.ReflectionPad2d):
            setattr(net, name, DeterministicReflectionPad2d(child.padding))
        else:
            replace_reflection_padding(child)
