"""3x3 convolutions on CPUs with a quarter of the multiplications; equal up to rounding.

Winograd's minimal filtering F(4x4, 3x3), arXiv:1509.09308, section 4.2, computes the output in
tiles of 4x4 pixels, each from 6x6 pixels of the input. For every pair of channels that takes 36
elementwise products instead of 144:

    y = A' [ sum over channels of (G w G') * (B' x B) ] A

The matrices evaluate and interpolate polynomials at five points and at infinity (Toom and Cook).
The choice of points determines the rounding errors: with these, the errors of outputs and gradients
are about five times those of a direct convolution. On GPUs, cuDNN chooses such algorithms by
itself; on CPUs, PyTorch always uses direct ones.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import cache, partial
from itertools import product

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

OUT, IN = 4, 6  # sides of a tile: of the output, and of the input from which it is computed
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)  # exact in binary
LEAST_CHANNELS, LEAST_TILES = 256, 64  # with fewer, the transforms cost more than they save
STRIP_TILES = 512  # tiles computed at once; more would need more memory, and exceed the CPU's cache


def use_winograd(net: nn.Module) -> None:
    """Make a network's convolutions on the CPU use this algorithm where it is faster."""
    for layer in net.modules():
        if type(layer) is nn.Conv2d and is_served(layer):
            # Replaces the method of this layer only, not of the class.
            layer.forward = partial(convolve, layer)  # type: ignore[method-assign]


def is_served(layer: nn.Conv2d) -> bool:
    """Whether a layer is of the kind supported here, with enough channels."""
    form = layer.kernel_size, layer.stride, layer.dilation, layer.groups, layer.padding_mode
    padded_alike = layer.padding in ((0, 0), (1, 1))
    many = min(layer.in_channels, layer.out_channels) >= LEAST_CHANNELS
    own = "forward" not in vars(layer)  # a model file may have replaced it
    return form == ((3, 3), (1, 1), (1, 1), 1, "zeros") and padded_alike and many and own


def convolve(layer: nn.Conv2d, input: torch.Tensor) -> torch.Tensor:
    """Apply `layer` to its input, (N, C, H, W)."""
    padding = int(layer.padding[0])
    sides = [-(-(length + 2 * padding - 2) // OUT) for length in input.shape[-2:]]
    many = min(sides) > 0 and len(input) * math.prod(sides) >= LEAST_TILES
    fits = input.ndim == 4 and input.shape[1] == layer.in_channels
    # A model file may set its own precision, in which the transforms would round too much.
    dtypes = {input.dtype, layer.weight.dtype}
    precise = dtypes in ({torch.float32}, {torch.float64}) and not torch.is_autocast_enabled("cpu")
    if not (many and fits and precise):
        return nn.Conv2d.forward(layer, input)
    if padding:
        input = F.pad(input, [padding] * 4)
    return Convolution.apply(input, layer.weight, layer.bias)


class Convolution(torch.autograd.Function):
    """F.conv2d(x, weight, bias) for weights (K, C, 3, 3)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight, bias)
        B_t, G, A_t = matrices(x.dtype)
        y = x.new_empty(len(x), len(weight), x.shape[2] - 2, x.shape[3] - 2)
        kernels = transform(G, flat(weight), "kernels")
        for x_strip, y_strip in strips(x, y):
            products = multiply(transform(B_t, cut(x_strip, IN)), kernels)
            tiles = transform(A_t, products)
            if bias is not None:
                tiles += bias
            paste(tiles, OUT, y_strip)
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, weight, bias = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            shape = None if bias is None else bias.shape
            form = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
            return torch.ops.aten.convolution_backward(gradient, x, weight, shape, *form, wanted)
        B_t, G, A_t = matrices(x.dtype)
        of_x = x.new_empty(x.shape) if wanted[0] else x
        kernels = transform(G, flat(weight), "kernels")
        of_kernels = workspace.of("of_kernels", x, *kernels.shape).zero_()
        if wanted[0]:
            of_x[:, :, :2] = 0
        for (x_strip, y_strip), (of_x_strip, _) in zip(
            strips(x, gradient), strips(of_x, gradient), strict=True
        ):
            of_products = transform(A_t.T, cut(y_strip, OUT), "of_products")
            if wanted[0]:
                above = of_x_strip[:, :, :2].clone()  # the previous strip's part of these rows
                paste(transform(B_t.T, multiply(of_products, kernels.mT)), IN, of_x_strip)
                of_x_strip[:, :, :2] += above
            if wanted[1]:  # cut x into tiles again: keeping them would take twice its memory
                of_kernels.baddbmm_(transform(B_t, cut(x_strip, IN)).mT, of_products)
        of_weight = of_bias = None
        if wanted[1]:
            kernel = transform(G.T, of_kernels).unflatten(0, (3, 3)).permute(3, 2, 0, 1)
            of_weight = weight.new_empty(weight.shape).copy_(kernel)
        if wanted[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x if wanted[0] else None, of_weight, of_bias


def strips(x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Views of a convolution's input and output, of at most STRIP_TILES tiles if possible.

    Each covers a few rows of tiles of one sample; an input shares two rows with the next one.
    """
    rows = OUT * max(1, STRIP_TILES // -(-y.shape[3] // OUT))
    for sample, top in product(range(len(y)), range(0, y.shape[2], rows)):
        here = slice(sample, sample + 1)
        yield x[here, :, top : top + rows + 2], y[here, :, top : top + rows]


class Workspace(threading.local):
    """Memory for intermediate results, kept from call to call.

    Allocating and freeing blocks of many megabytes among long-lived ones would fragment the memory.
    """

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def of(self, name: str, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """A tensor of arbitrary values; the next tensor of the same name reuses its memory."""
        size, key = math.prod(shape), (name, like.dtype)
        if key not in self.blocks or self.blocks[key].numel() < size:
            with torch.inference_mode(False):  # a tensor made inside could not be used outside
                self.blocks[key] = like.new_empty(size)
        return self.blocks[key][:size].view(shape)


workspace = Workspace()


@cache
def matrices(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """B', G and A', each as its Kronecker product with itself, which applies to flattened tiles."""
    infinity = np.eye(OUT)[-1:]
    powers = np.vander(POINTS, OUT, increasing=True)
    A = np.concatenate([powers, infinity]).T  # the value at infinity is the leading coefficient
    others = [[q for q in POINTS if q != p] for p in POINTS]
    scale = [[np.prod(np.subtract(p, rest))] for p, rest in zip(POINTS, others, strict=True)]
    G = np.concatenate([powers / scale, infinity])[:, [0, 1, 2]]
    G[-1, -1] = 1
    polynomials = [np.poly(roots)[::-1] for roots in [*others, POINTS]]  # with these roots
    B = np.array([np.pad(row, (0, IN - len(row))) for row in polynomials])
    of_B, of_G, of_A = (torch.from_numpy(np.kron(m, m)).to(dtype) for m in (B, G, A))
    return of_B, of_G, of_A


def transform(matrix: torch.Tensor, tiles: torch.Tensor, name: str = "transformed") -> torch.Tensor:
    """matrix @ tiles, for tiles of shape (elements of a tile, P, channels)."""
    out = workspace.of(name, tiles, len(matrix), *tiles.shape[1:])
    torch.mm(matrix, tiles.flatten(1), out=out.flatten(1))
    return out


def multiply(tiles: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Sum over channels: one matrix product for each element of a tile."""
    out = workspace.of("products", tiles, *tiles.shape[:2], kernels.shape[2])
    return torch.bmm(tiles, kernels, out=out)


def flat(weight: torch.Tensor) -> torch.Tensor:
    """Kernels (K, C, 3, 3) as (9, C, K)."""
    return weight.flatten(2).permute(2, 1, 0)


def cut(x: torch.Tensor, side: int) -> torch.Tensor:
    """Tiles of x, (N, C, H, W), at a distance of OUT pixels, as (side * side, P, C).

    Where the last tiles extend beyond x, it is padded with zeros.
    """
    n, c, height, width = x.shape
    tall, wide = (covered(length, side) for length in (height, width))
    canvas = workspace.of("canvas", x, n, tall, wide, c).zero_()
    canvas[:, :height, :width] = x.permute(0, 2, 3, 1)
    tiles = canvas.unfold(1, side, OUT).unfold(2, side, OUT).permute(4, 5, 0, 1, 2, 3)
    return workspace.of("tiles", x, *tiles.shape).copy_(tiles).view(side**2, -1, c)


def paste(tiles: torch.Tensor, side: int, x: torch.Tensor) -> None:
    """The adjoint of `cut`: fill x with the sums of the tiles where they overlap."""
    n, c, height, width = x.shape
    tall, wide = (covered(length, side) for length in (height, width))
    rows, columns = (tall - side) // OUT + 1, (wide - side) // OUT + 1
    canvas = workspace.of("canvas", x, n, tall, wide, c).zero_()
    places = product(range(side), repeat=2)
    for (row, column), tile in zip(places, tiles, strict=True):
        below, right = row + OUT * (rows - 1) + 1, column + OUT * (columns - 1) + 1
        canvas[:, row:below:OUT, column:right:OUT] += tile.view(n, rows, columns, c)
    x.copy_(canvas[:, :height, :width].permute(0, 3, 1, 2))


def covered(length: int, side: int) -> int:
    """The smallest length, not less than `length`, that tiles of this side cover exactly."""
    return side + OUT * -(-(length - side) // OUT)
