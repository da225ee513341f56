"""A picture through a generator in strips: what it needs, and the result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import nn

from models.strips.maps import Parked, strips
from models.strips.walk import Walk


def in_strips(
    network: nn.Module,
    picture: torch.Tensor,
    *,
    rows: int = 0,
    most_bytes: float = float("inf"),
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], object] = lambda done: None,
) -> torch.Tensor:
    """The network's result (1, C', H, W) in [-1, 1] for a picture (1, C, H, W), on the CPU.

    Args:
        rows: of the picture in a strip, or 0 for as many as suit the memory.
        most_bytes: of parked maps in memory; those beyond are in temporary files.
        dtype: in which the network computes.
        progress: called with shares of a map that are done.

    Raises NotWalkable for a network with an unknown layer, and UserError if the disk is full.
    """
    device = next(network.parameters()).device
    walk = Walk(device, picture.shape[2], rows=rows, most_bytes=most_bytes, progress=progress)
    mixed = dtype is not torch.float32
    with torch.no_grad(), torch.autocast(device.type, dtype, enabled=mixed):
        made = walk.through(network, Parked(picture[0], device))
        result = torch.empty(1, made.channels, made.height, made.width)
        for first, last in strips(made.height, walk.rows_for(made)):
            result[:, :, first:last] = made.rows(first, last).float()
            progress((last - first) / made.height)
    return result


def parked_bytes(network: nn.Module, multiple: int, channels: int) -> float:
    """Bytes of parked maps for each pixel of a picture, found with a small one."""
    side = max(multiple, 64)
    device = next(network.parameters()).device
    walk = Walk(device, side)
    with torch.no_grad(), contextlib.ExitStack():
        walk.through(network, Parked(torch.zeros(channels, side, side), device))
    return walk.held.most / side**2
