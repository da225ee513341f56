"""Tiles that overlap, for models whose layers are not known: near what the whole picture gives.

Norms see the statistics of a tile instead of the picture's, so tiles are as large as is usual for
training, and blended by smooth windows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

SIDE_PX, OVERLAP_PX = 1024, 192


def in_tiles(
    generate: Callable[[torch.Tensor], torch.Tensor],
    picture: torch.Tensor,
    multiple: int,
    progress: Callable[[float], object] = lambda done: None,
) -> torch.Tensor:
    """The blended results (1, C', H, W) of the tiles of a picture (1, C, H, W), both in [-1, 1].

    Args:
        generate: gives a tile's result, of the tile's size.
        multiple: what the sides of a tile must be multiples of; those of the picture are.
    """
    height, width = picture.shape[2:]
    side = -(-SIDE_PX // multiple) * multiple
    tops, lefts = (starts(length, side) for length in (height, width))
    total = weights = torch.zeros(())
    for top in tops:
        for left in lefts:
            place = ..., slice(top, top + side), slice(left, left + side)
            made = generate(picture[place])
            if total.ndim == 0:
                total = made.new_zeros(1, made.shape[1], height, width)
                weights = made.new_zeros(height, width)
            window = torch.outer(*(ramp(n, made) for n in made.shape[2:]))
            total[place] += made * window
            weights[place] += window
            progress(1 / (len(tops) * len(lefts)))
    return total / weights


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin that cover a length, the last one at its end."""
    last = max(0, length - side)
    number = -(-last // (side - OVERLAP_PX))
    return [round(i * last / max(1, number)) for i in range(number + 1)]


def ramp(length: int, like: torch.Tensor) -> torch.Tensor:
    """(length,): 1 in the middle, smoothly towards 0 at both ends, as half a cosine."""
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    inside = torch.minimum(places, length - places).clamp(max=OVERLAP_PX) / OVERLAP_PX
    return (1 - torch.cos(torch.pi * inside)) / 2
