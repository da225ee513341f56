"""From a network to the map that it gives, layer by layer, parking what is read more than once."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from models.networks.generators import Generator, ResnetBlock, UnetSkipConnectionBlock
from models.strips.maps import (
    Convolved,
    Doubled,
    Joined,
    Map,
    Padded,
    Parked,
    Pointwise,
    normalized,
    strips,
)
from util.errors import UserError

STRIP_BYTES = 96 * 2**20  # of a strip and what it is computed from


class NotWalkable(UserError):
    """A network with a layer that is not known here."""


class Walk:
    """Computes maps strip by strip.

    Args:
        device: that of the network.
        full_height: of the picture; maps of this height are computed twice instead of parked.
        rows: of the picture in a strip, or 0 for as many as suit the memory.
        most_bytes: of parked maps in memory; those beyond are in temporary files.
        progress: called with how much of a map is done, in convolved values.
    """

    def __init__(
        self,
        device: torch.device,
        full_height: int,
        *,
        rows: int = 0,
        most_bytes: float = float("inf"),
        progress: Callable[[float], object] = lambda done: None,
    ):
        self.device, self.full_height, self.given_rows = device, full_height, rows
        self.most_bytes, self.progress = most_bytes, progress
        self.held = Held()

    def through(self, module: nn.Module, x: Map) -> Map:
        """What a module makes of a map. Raises NotWalkable for a kind of module that is unknown."""
        match module:
            case Generator():
                made = self.through(module.model, x)
                add = lambda picture, change: (picture + change).clamp(-1, 1)  # noqa: E731
                return Pointwise(add, x, made) if module.residual else made
            case nn.Sequential():
                for layer in module:
                    x = self.through(layer, x)
                return x
            case ResnetBlock():
                made = self.through(module.conv_block, x)
                room = [m for m in getattr(made, "sources", ()) if isinstance(m, Parked)]
                return self.parked(Pointwise(torch.add, x, made), into=room[:1])
            case UnetSkipConnectionBlock():
                return self._unet_level(module, x)
            case nn.ReflectionPad2d() | nn.ReplicationPad2d():
                mode = "reflect" if isinstance(module, nn.ReflectionPad2d) else "replicate"
                return Padded(x, int(module.padding[0]), mode)
            case nn.Conv2d() if plain(module):
                return Convolved(module, self._cheap(x))
            case nn.ConvTranspose2d() if plain(module):
                return Doubled(module, self._cheap(x))
            case _BatchNorm() | _InstanceNorm():
                return self._norm(module, x)
            case nn.Dropout():
                return self._dropout(module, x)
            case nn.Identity():
                return x
            case nn.LeakyReLU():
                slope = module.negative_slope
                return Pointwise(lambda values: F.leaky_relu(values, slope), x)
            case nn.ReLU():
                return Pointwise(torch.relu, x)
            case nn.Tanh():
                return Pointwise(torch.tanh, x)
        raise NotWalkable(f"{type(module).__name__} is a layer of another kind")

    def _unet_level(self, block: UnetSkipConnectionBlock, x: Map) -> Map:
        """As its forward. A level begins with an activation in place, so its input has it too."""
        x = self._cheap(x)
        first, *rest = block.model
        if not block.outermost:
            x = self.through(first, x)
            rest_of = nn.Sequential(*rest)
        else:
            rest_of = block.model
        made = self.through(rest_of, x)
        return made if block.outermost else Joined(x, made)

    def _cheap(self, x: Map) -> Map:
        """A map to be read again: parked if it needs convolutions, unless it is of full size."""
        return x if x.convolutions == 0 or self._is_full(x) else self.parked(x)

    def _is_full(self, x: Map) -> bool:
        return x.height >= self.full_height

    def _norm(self, norm: _BatchNorm | _InstanceNorm, x: Map) -> Map:
        """By the statistics of this map, or in eval mode by the running ones."""
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None or norm.training:
            x, mean, variance = self.measured(x)
        scale = (variance.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach().double()
        shift = None if norm.bias is None else norm.bias.detach()
        return normalized(x, mean, scale, shift)

    def _dropout(self, layer: nn.Dropout, x: Map) -> Map:
        """Drawn for the whole map at once, since the order of the draws is that of its values."""
        if not layer.training:
            return x
        shape = (x.channels, x.height, x.width)
        if self.device.type == "cuda":  # whose own kernel draws in an order that its type decides
            mixed = torch.is_autocast_enabled("cuda")
            dtype = torch.get_autocast_dtype("cuda") if mixed else torch.float32
            ones = torch.ones((1, *shape), dtype=dtype, device=self.device)
            mask = F.dropout(ones, layer.p)[0] != 0
        else:
            mask = torch.empty(shape, dtype=torch.uint8, device=self.device)
            mask.bernoulli_(1 - layer.p)
        kept = self.held.storage(shape, torch.uint8, self.most_bytes, self.device)
        kept.copy_(mask)
        drawn = Parked(kept, self.device)
        return Pointwise(lambda values, mask: values * mask / (1 - layer.p), x, drawn)

    def parked(self, x: Map, into: Sequence[Parked] = ()) -> Map:
        """The same map in host memory; in place of another, of which it reads the same rows."""
        values = into[0].values if into else None
        for first, last, strip in self._strips(x):
            values = self._put(strip, first, last, x, values)
        assert values is not None  # no map is empty
        return Parked(values, self.device)

    def measured(self, x: Map) -> tuple[Map, torch.Tensor, torch.Tensor]:
        """The map, parked unless it is of full size, with mean and variance (C,) of each channel.

        Means and squared deviations of strips are joined in float64 (Chan, Golub and LeVeque 1979).
        """
        values: torch.Tensor | None = None
        count, mean = 0, torch.zeros(x.channels, dtype=torch.float64, device=self.device)
        squares = torch.zeros_like(mean)
        for first, last, strip in self._strips(x):
            if not self._is_full(x):
                values = self._put(strip, first, last, x, values)
            variance, average = torch.var_mean(strip.float(), (0, 2, 3), correction=0)
            new = (last - first) * x.width
            delta, total = average.double() - mean, count + new
            mean += delta * (new / total)
            squares += variance.double() * new + delta**2 * (count * new / total)
            count = total
        done: Map = x if values is None else Parked(values, self.device)
        return done, mean, squares / count

    def _strips(self, x: Map) -> Iterator[tuple[int, int, torch.Tensor]]:
        for first, last in strips(x.height, self.rows_for(x)):
            yield first, last, x.rows(first, last)
            self.progress((last - first) / x.height)

    def _put(
        self, strip: torch.Tensor, first: int, last: int, x: Map, values: torch.Tensor | None
    ) -> torch.Tensor:
        """Park a strip of a map; takes room for the whole map if there is none of its type yet."""
        if values is None or values.dtype != strip.dtype:
            shape = x.channels, x.height, x.width
            values = self.held.storage(shape, strip.dtype, self.most_bytes, self.device)
        values[:, first:last].copy_(strip[0])
        return values

    def rows_for(self, x: Map) -> int:
        """The rows of a map's strip."""
        if self.given_rows:
            return max(2, round(self.given_rows * x.height / self.full_height))
        per_row = 4 * x.width * (x.channels + 64)
        return min(x.height, max(8, STRIP_BYTES // per_row))


class Held:
    """Bytes of parked maps that are alive, and the most so far."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def storage(
        self, shape: tuple[int, ...], dtype: torch.dtype, most_bytes: float, device: torch.device
    ) -> torch.Tensor:
        """Room for a map; a temporary file beyond `most_bytes`, whose space is taken first.

        Raises UserError if the disk has no room.
        """
        values = torch.empty(0, dtype=dtype)
        size = math.prod(shape) * values.element_size()
        self.now += size
        self.most = max(self.most, self.now)
        if self.now > most_bytes:
            values = in_file(shape, dtype, size)
        elif device.type == "cuda":
            values = torch.empty(shape, dtype=dtype, pin_memory=True)
        else:  # apart from the heap, which may keep what is freed; see util.speed.heap
            room = torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8)
            values = room.view(dtype).view(shape)
        weakref.finalize(values, self.free, size)  # views of it do not outlive their map
        return values

    def free(self, size: int) -> None:
        self.now -= size


def in_file(shape: tuple[int, ...], dtype: torch.dtype, size: int) -> torch.Tensor:
    """Room in a temporary file, which is gone when nothing uses it any more."""
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            # NumPy has no bfloat16, so the bytes are mapped.
            values = torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(size,)))
    except OSError as error:
        raise UserError(
            f"{folder} has no room for {size / 1e9:.1f} GB of a picture that is larger than the "
            f"memory ({error.strerror or error}); free some space, set TMPDIR to another folder, "
            "or pass --full_size scaled or transfer"
        ) from error
    return values.view(dtype).view(shape)


def plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether a convolution is of the kind that maps.py knows: square, without gaps or groups."""
    sides = layer.kernel_size, layer.stride, layer.padding, layer.output_padding
    square = all(isinstance(x, tuple) and len(set(x)) == 1 for x in sides)
    return square and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
