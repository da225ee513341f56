"""Feature maps that are read in rows: parked ones, and what layers make of others on demand.

Rows are tensors (1, C, rows, W) on the network's device. A map that is read twice is computed
twice; `walk` decides which ones are parked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn


class Map(ABC):
    """Attributes: channels, height, width; convolutions: how many are computed for a row."""

    channels: int
    height: int
    width: int
    convolutions: int

    def like(self, *others: Map) -> None:
        """Take the shape of the first, and count the convolutions of all."""
        first = others[0]
        self.channels, self.height, self.width = first.channels, first.height, first.width
        self.convolutions = sum(other.convolutions for other in others)

    @abstractmethod
    def rows(self, first: int, last: int) -> torch.Tensor:
        """The rows from `first` up to, without, `last`."""


class Parked(Map):
    """A whole map (C, H, W) in host memory."""

    convolutions = 0

    def __init__(self, values: torch.Tensor, device: torch.device):
        self.values, self.device = values, device
        self.channels, self.height, self.width = values.shape

    def rows(self, first: int, last: int) -> torch.Tensor:
        return self.values[None, :, first:last].to(self.device, non_blocking=True)


class Pointwise(Map):
    """A function of each value of one map, or of the values of several at the same place."""

    def __init__(self, function: Callable[..., torch.Tensor], *sources: Map):
        self.function, self.sources = function, sources
        self.like(*sources)

    def rows(self, first: int, last: int) -> torch.Tensor:
        return self.function(*(source.rows(first, last) for source in self.sources))


class Joined(Map):
    """The channels of several maps, one after the other."""

    def __init__(self, *sources: Map):
        self.sources = sources
        self.like(*sources)
        self.channels = sum(source.channels for source in sources)

    def rows(self, first: int, last: int) -> torch.Tensor:
        return torch.cat([source.rows(first, last) for source in self.sources], 1)


class Padded(Map):
    """A map with a rim that repeats what is inside: mode is reflect or replicate."""

    def __init__(self, source: Map, amount: int, mode: str):
        self.source, self.amount, self.mode = source, amount, mode
        self.like(source)
        self.height, self.width = source.height + 2 * amount, source.width + 2 * amount

    def rows(self, first: int, last: int) -> torch.Tensor:
        places = [self._inside(row - self.amount) for row in range(first, last)]
        lowest = min(places)
        x = self.source.rows(lowest, max(places) + 1)
        if places != list(range(lowest, lowest + len(places))):
            x = x[:, :, [place - lowest for place in places]]
        return F.pad(x, (self.amount, self.amount, 0, 0), self.mode)

    def _inside(self, row: int) -> int:
        end = self.source.height - 1
        if self.mode == "replicate":
            return min(max(row, 0), end)
        return end - abs(end - abs(row))


class Convolved(Map):
    """A convolution that halves or keeps the size, padded with zeros or not at all.

    The layer itself pads each strip; rows that have seen zeros where the map goes on are cut off.
    """

    def __init__(self, layer: nn.Conv2d, source: Map):
        self.layer, self.source = layer, source
        (self.kernel, _), (self.stride, _) = layer.kernel_size, layer.stride
        self.padding = int(layer.padding[0])
        self.channels, self.convolutions = layer.out_channels, source.convolutions + 1
        self.height, self.width = (
            (side + 2 * self.padding - self.kernel) // self.stride + 1
            for side in (source.height, source.width)
        )

    def rows(self, first: int, last: int) -> torch.Tensor:
        seen_padding = -(-self.padding // self.stride)  # rows of the result, at each end
        start = max(0, first - seen_padding) * self.stride
        end = min(self.source.height, (last - 1) * self.stride - self.padding + self.kernel)
        made = self.layer(self.source.rows(start, end))
        begin = first - start // self.stride
        return made[:, :, begin : begin + last - first]


class Doubled(Map):
    """A transposed convolution."""

    def __init__(self, layer: nn.ConvTranspose2d, source: Map):
        self.layer, self.source = layer, source
        (self.kernel, _), (self.stride, _) = layer.kernel_size, layer.stride
        self.padding, more = int(layer.padding[0]), int(layer.output_padding[0])
        self.channels, self.convolutions = layer.out_channels, source.convolutions + 1
        self.height, self.width = (
            (side - 1) * self.stride - 2 * self.padding + self.kernel + more
            for side in (source.height, source.width)
        )

    def rows(self, first: int, last: int) -> torch.Tensor:
        # Row i of the source adds to the rows i * stride - padding + (0 .. kernel - 1).
        start = max(0, -(-(first + self.padding - self.kernel + 1) // self.stride) - 1)
        end = min(self.source.height, (last - 1 + self.padding) // self.stride + 2)
        made = self.layer(self.source.rows(start, end))
        begin = first - start * self.stride
        return made[:, :, begin : begin + last - first]


def normalized(
    source: Map, mean: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None
) -> Pointwise:
    """(x - mean) * scale + shift, each (C,)."""
    mean, scale = (x.float().view(1, -1, 1, 1) for x in (mean, scale))
    offset = None if shift is None else shift.float().view(1, -1, 1, 1)

    def apply(x: torch.Tensor) -> torch.Tensor:
        x = (x.float() - mean).mul_(scale)
        return x if offset is None else x.add_(offset)

    return Pointwise(apply, source)


def strips(height: int, rows: int) -> Sequence[tuple[int, int]]:
    """(first, last) of all strips of so many rows."""
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
