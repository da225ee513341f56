"""Bit-for-bit reproducible training on GPUs too (--deterministic)."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def be_deterministic() -> None:
    """Make PyTorch use only deterministic algorithms; it raises an error if it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs this
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


class ReflectionPad(torch.autograd.Function):
    """Reflection padding whose backward adds in the fixed order of PyTorch's CPU kernel.

    On CUDA, PyTorch's own backward adds in the order in which its threads finish. Output and
    gradient are those of nn.ReflectionPad2d on the CPU, bit for bit, in every floating-point type.

    Args:
        x: (..., H, W).
        padding: left, right, top, bottom in pixels, each smaller than the side.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, padding: tuple[int, int, int, int]) -> torch.Tensor:
        ctx.padding, ctx.size = padding, x.shape[-2:]
        return F.pad(x, padding, mode="reflect")

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        left, right, top, bottom = ctx.padding
        height, width = ctx.size
        # zeros_like on a part of the gradient keeps its memory format, such as channels_last.
        total = torch.zeros_like(grad[..., top : top + height, left : left + width])
        for rows, padded_rows, flip_rows in parts(height, top, bottom):
            for columns, padded_columns, flip_columns in parts(width, left, right):
                part = grad[..., padded_rows, padded_columns]
                total[..., rows, columns] += part.flip(flip_rows * [-2] + flip_columns * [-1])
        return total, None


def parts(size: int, before: int, after: int) -> tuple[tuple[slice, slice, bool], ...]:
    """The leading mirrored part, the middle and the trailing mirrored part of a padded side, each
    as (slice of the side, slice of the padded side, whether flipped)."""
    return (
        (slice(1, 1 + before), slice(0, before), True),
        (slice(0, size), slice(before, before + size), False),
        (slice(size - 1 - after, size - 1), slice(before + size, before + size + after), True),
    )


class DeterministicReflectionPad2d(nn.ReflectionPad2d):
    """nn.ReflectionPad2d with the backward of ReflectionPad."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ReflectionPad.apply(input, self.padding)


def replace_reflection_padding(net: nn.Module) -> None:
    """Replace each nn.ReflectionPad2d by a DeterministicReflectionPad2d; keys stay the same."""
    for name, child in net.named_children():
        if type(child) is nn.ReflectionPad2d:
            setattr(net, name, DeterministicReflectionPad2d(child.padding))
        else:
            replace_reflection_padding(child)
