"""A picture through a generator in strips: what it needs, and the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from models.strips.maps import Parked, strips
from models.strips.walk import Walk
from util.runtime import isolated_randomness

TRIED_PX = 512  # side of the part that tells what the whole takes


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


class Plan(NamedTuple):
    """What a picture needs in strips.

    Attributes:
        parked: bytes of parked maps at most.
        num_maps: how many are computed.
        seconds: about how long that takes.
    """

    parked: float
    num_maps: int
    seconds: float


def plan(network: nn.Module, picture: torch.Tensor, multiple: int) -> Plan:
    """Find out with a small part of a picture (1, C, H, W) what the whole needs.

    Args:
        multiple: what the sides of pictures must be multiples of.
    """
    side = -(-min(TRIED_PX, *picture.shape[2:]) // multiple) * multiple
    part = picture[:, :, :side, :side]
    device = next(network.parameters()).device
    for _ in range(2):  # the first one is slower
        begun_s, done = time.perf_counter(), list[float]()
        walk = Walk(device, part.shape[2], progress=done.append)
        with torch.no_grad(), isolated_randomness(0, device=device):
            made = walk.through(network, Parked(part[0], device))
            made.rows(0, made.height).cpu()
    larger = picture.shape[2] * picture.shape[3] / (part.shape[2] * part.shape[3])
    seconds = time.perf_counter() - begun_s
    return Plan(walk.held.most * larger, round(sum(done)) + 1, seconds * larger)
