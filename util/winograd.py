"""3x3 convolutions on processors with a quarter of the multiplications, to rounding the same.

Winograd's minimal filtering F(4x4, 3x3), arXiv:1509.09308, section 4.2: the output is made in tiles
of 4x4 pixels, each from 6x6 of the input. For every pair of channels that takes 36 products, number
by number, instead of 144:

    y = A' [ sum over channels of (G w G') * (B' x B) ] A

The matrices evaluate and interpolate polynomials at five points and at infinity (Toom and Cook).
The points decide about the rounding errors: with these, those of the output and of the input's
gradient are five times those of a direct convolution, those of the weights' gradient the same.
On GPUs cuDNN chooses such algorithms by itself; oneDNN, PyTorch's library for processors, has none.
"""

from __future__ import annotations

import math
import threading
from functools import cache, partial
from itertools import product

import numpy as np
import torch
from torch import nn

OUT, IN = 4, 6  # sides of a tile: of the output, and of the input that it is made from
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)  # exact in binary
LEAST_CHANNELS, LEAST_TILES = 256, 64  # below, the transforms cost more than the products save


def use_winograd(net: nn.Module) -> None:
    """Let the convolutions of a network on a processor compute so where that is faster."""
    for layer in net.modules():
        if type(layer) is nn.Conv2d and gains(layer):
            layer.forward = partial(convolve, layer)  # type: ignore[method-assign]


def gains(layer: nn.Conv2d) -> bool:
    """Whether a layer is of the kind computed here, with channels enough."""
    form = layer.kernel_size, layer.stride, layer.dilation, layer.groups, layer.padding_mode
    padded_alike = layer.padding in ((0, 0), (1, 1))
    many = min(layer.in_channels, layer.out_channels) >= LEAST_CHANNELS
    return form == ((3, 3), (1, 1), (1, 1), 1, "zeros") and padded_alike and many


def convolve(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """What `layer` makes of x, (N, C, H, W)."""
    padding = int(layer.padding[0])
    sides = [-(-(length + 2 * padding - 2) // OUT) for length in x.shape[-2:]]
    many = x.ndim == 4 and min(sides) > 0 and len(x) * math.prod(sides) >= LEAST_TILES
    # A model file may set a precision of its own, in which the transforms would round too much.
    dtypes = {x.dtype, layer.weight.dtype}
    precise = dtypes in ({torch.float32}, {torch.float64}) and not torch.is_autocast_enabled("cpu")
    if many and precise:
        return Convolution.apply(x, layer.weight, layer.bias, padding)
    return nn.Conv2d.forward(layer, x)


class Convolution(torch.autograd.Function):
    """F.conv2d(x, weight, bias, padding=padding) for weights (K, C, 3, 3)."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        ctx.save_for_backward(x, weight, bias)
        ctx.padding = padding
        height, width = (side + 2 * padding - 2 for side in x.shape[2:])
        y = x.new_empty(len(x), len(weight), height, width)
        B, G, A = matrices(x.dtype)
        tiles, kernels = transform(B, cut(x, IN, padding)), transform(G, flat(weight), "kernels")
        tiles = transform(A, multiply(tiles, kernels))
        if bias is not None:
            tiles += bias
        return paste(tiles, OUT, y)

    @staticmethod
    def backward(ctx, gradient):
        x, weight, bias = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself
            shape = None if bias is None else bias.shape
            form = [1, 1], [ctx.padding] * 2, [1, 1], False, [0, 0], 1
            direct = torch.ops.aten.convolution_backward
            return *direct(gradient, x, weight, shape, *form, wanted), None
        of_x = torch.empty_like(x) if wanted[0] else None
        of_weight = weight.new_empty(weight.shape) if wanted[1] else None
        of_bias = gradient.sum((0, 2, 3)) if wanted[2] else None
        B, G, A = matrices(x.dtype)
        of_products = transform(A.T, cut(gradient, OUT), "gradient")
        if of_x is not None:
            kernels = transform(G, flat(weight), "kernels")
            paste(transform(B.T, multiply(of_products, kernels.mT)), IN, of_x, ctx.padding)
        if of_weight is not None:
            tiles = transform(B, cut(x, IN, ctx.padding))  # again, since they take twice x's memory
            flat(of_weight).copy_(transform(G.T, multiply(tiles.mT, of_products)))
        return of_x, of_weight, of_bias, None


class Workspace(threading.local):
    """Memory for what is computed on the way, kept from call to call.

    Blocks of many megabytes that come and go among those that stay would leave holes of no use.
    """

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def of(self, name: str, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """A tensor of any values; the next one of the same name takes its place."""
        size, key = math.prod(shape), (name, like.dtype)
        if key not in self.blocks or self.blocks[key].numel() < size:
            with torch.inference_mode(False):  # made inside it, it could not be used outside
                self.blocks[key] = like.new_empty(size)
        return self.blocks[key][:size].view(shape)


workspace = Workspace()


@cache
def matrices(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """B', G and A' for tiles that are flattened: each is its Kronecker product with itself."""
    infinity = np.eye(OUT)[-1:]
    powers = np.vander(POINTS, OUT, increasing=True)
    A = np.concatenate([powers, infinity]).T  # a polynomial's value at infinity: its leading term
    others = [[q for q in POINTS if q != p] for p in POINTS]
    scale = [[np.prod(np.subtract(p, rest))] for p, rest in zip(POINTS, others, strict=True)]
    G = np.concatenate([powers / scale, infinity])[:, [0, 1, 2]]
    G[-1, -1] = 1
    polynomials = [np.poly(roots)[::-1] for roots in [*others, POINTS]]  # that are 0 there
    B = np.array([np.pad(row, (0, IN - len(row))) for row in polynomials])
    of_B, of_G, of_A = (torch.from_numpy(np.kron(m, m)).to(dtype) for m in (B, G, A))
    return of_B, of_G, of_A


def transform(matrix: torch.Tensor, tiles: torch.Tensor, name: str = "transformed") -> torch.Tensor:
    """matrix @ tiles for tiles (numbers of a tile, P, channels)."""
    out = workspace.of(name, tiles, len(matrix), *tiles.shape[1:])
    torch.mm(matrix, tiles.flatten(1), out=out.flatten(1))
    return out


def multiply(tiles: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Sums over channels: a matrix product for each number of a tile."""
    out = workspace.of("products", tiles, *tiles.shape[:2], kernels.shape[2])
    return torch.bmm(tiles, kernels, out=out)


def flat(weight: torch.Tensor) -> torch.Tensor:
    """Kernels (K, C, 3, 3) as (9, C, K)."""
    return weight.flatten(2).permute(2, 1, 0)


def cut(x: torch.Tensor, side: int, padding: int = 0) -> torch.Tensor:
    """Tiles of x, (N, C, H, W), each OUT pixels from the last, as (side * side, P, C).

    Zeros stand around x, and where the last tiles reach beyond it.
    """
    n, c, height, width = x.shape
    tall, wide = (covered(length + 2 * padding, side) for length in (height, width))
    canvas = workspace.of("canvas", x, n, tall, wide, c).zero_()
    canvas[:, padding : padding + height, padding : padding + width] = x.permute(0, 2, 3, 1)
    tiles = canvas.unfold(1, side, OUT).unfold(2, side, OUT).permute(4, 5, 0, 1, 2, 3)
    return workspace.of("tiles", x, *tiles.shape).copy_(tiles).view(side**2, -1, c)


def paste(tiles: torch.Tensor, side: int, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
    """The adjoint of `cut`: fill x with the sums of the tiles where they overlap, and return it."""
    n, c, height, width = x.shape
    tall, wide = (covered(length + 2 * padding, side) for length in (height, width))
    rows, columns = (tall - side) // OUT + 1, (wide - side) // OUT + 1
    canvas = workspace.of("canvas", x, n, tall, wide, c).zero_()
    places = product(range(side), repeat=2)
    for (row, column), tile in zip(places, tiles, strict=True):
        below, right = row + OUT * (rows - 1) + 1, column + OUT * (columns - 1) + 1
        canvas[:, row:below:OUT, column:right:OUT] += tile.view(n, rows, columns, c)
    inner = canvas[:, padding : padding + height, padding : padding + width]
    return x.copy_(inner.permute(0, 3, 1, 2))


def covered(length: int, side: int) -> int:
    """The least length, at least this, that tiles of a side cover exactly."""
    return side + OUT * -(-(length - side) // OUT)
