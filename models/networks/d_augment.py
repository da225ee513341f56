"""DiffAugment: discriminators see all pictures, real and generated, through random transforms.

With few pictures, a discriminator soon knows the real ones by heart. If only these were changed at
random, the generator would learn to make changed pictures. So what it makes is changed alike, by
transforms through which gradients flow to it.

Source: arXiv:2006.10738, figure 4; the ranges of the transforms are those of its experiments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch

from util.errors import why_no_list

Transform = Callable[[torch.Tensor], torch.Tensor]


class DiffAugment:
    """T of the paper, which is drawn anew for each sample of a batch.

    Random numbers come from PyTorch's generator of the batch's device, without waiting for it.

    Args:
        names: keys of TRANSFORMS separated by commas, or "none", which draws and changes nothing.
        channels: how many each picture has, where the channels of a sample hold several pictures
            that must change alike, such as input and output; by default they are one picture.
    """

    def __init__(self, names: str, channels: Sequence[int] = ()):
        self.kinds = [draw for name, draw in TRANSFORMS.items() if name in names.split(",")]
        self.channels = list(channels)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Transform pictures, (N, C, H, W) in [-1, 1]; colours may leave the range."""
        return self.draw(x)(x)

    def draw(self, x: torch.Tensor) -> Transform:
        """Draw the transforms of a batch, to apply them to it and to others of its shape."""
        drawn = [draw(x, self.channels) for draw in self.kinds]

        def T(x: torch.Tensor) -> torch.Tensor:
            for transform in drawn:
                x = transform(x)
            return x

        return T


def draw_color(x: torch.Tensor, channels: Sequence[int]) -> Transform:
    """Brightness by up to 0.5; saturation, of RGB, by 0 to 2; contrast by 0.5 to 1.5."""
    shape = 3, len(x), 1, 1, 1
    brightness, saturation, contrast = torch.rand(shape, device=x.device, dtype=x.dtype)

    def change(picture: torch.Tensor) -> torch.Tensor:
        picture = picture + (brightness - 0.5)
        if picture.shape[1] == 3:
            picture = torch.lerp(picture.mean(1, keepdim=True), picture, 2 * saturation)
        return torch.lerp(picture.mean((1, 2, 3), keepdim=True), picture, contrast + 0.5)

    return lambda x: torch.cat([change(p) for p in x.split(channels or x.shape[1], 1)], 1)


def draw_translation(x: torch.Tensor, _: Sequence[int]) -> Transform:
    """A shift by whole pixels, up to an eighth of each side; zeros, mid-grey, come in."""
    sources = {}
    for dim in (2, 3):
        most = x.shape[dim] // 8
        sources[dim] = places(x, dim) - random_integers(x, -most, most + 1)

    def shift(x: torch.Tensor) -> torch.Tensor:
        for dim, source in sources.items():
            side = x.shape[dim]
            x = x.gather(dim, (source % side).expand_as(x))  # what leaves on one side comes back
            x = x.masked_fill((source < 0) | (source >= side), 0.0)  # on the other
        return x

    return shift


def draw_cutout(x: torch.Tensor, _: Sequence[int]) -> Transform:
    """A rectangle of half of each side, centred on any pixel, becomes zero, which is mid-grey."""
    inside = []
    for dim in (2, 3):
        side = x.shape[dim]
        from_edge = places(x, dim) - random_integers(x, 0, side) + side // 4
        inside.append((from_edge >= 0) & (from_edge < side // 2))
    hole = inside[0] & inside[1]  # (N, 1, H, W)
    return lambda x: x.masked_fill(hole, 0.0)


# In the order in which they are applied: borders and holes keep their colour.
TRANSFORMS: dict[str, Callable[[torch.Tensor, Sequence[int]], Transform]] = {
    "color": draw_color,
    "translation": draw_translation,
    "cutout": draw_cutout,
}


def places(x: torch.Tensor, dim: int) -> torch.Tensor:
    """0, 1, ... along a side of pictures (N, C, H, W): (1, 1, H, 1) or (1, 1, 1, W)."""
    shape = [1, 1, 1, 1]
    shape[dim] = x.shape[dim]
    return torch.arange(x.shape[dim], device=x.device).view(shape)


def random_integers(x: torch.Tensor, low: int, end: int) -> torch.Tensor:
    """One integer from low to end - 1 for each sample of x: (N, 1, 1, 1)."""
    return torch.randint(low, end, (len(x), 1, 1, 1), device=x.device)


def add_flag(parser: Any) -> None:
    """Add --d_augment, which every model with a DiffAugment has."""
    parser.add_argument(
        "--d_augment",
        type=names_of,
        default="none",
        metavar="NAME[,NAME]",
        help="change all that the discriminators see at random, real or generated, so that they "
        "do not learn few pictures by heart; some of color (brightness, saturation, contrast), "
        "translation (by up to an eighth of each side) and cutout (of a rectangle of half of each "
        "side), as in translation,cutout; none: as it is",
    )


def names_in(opt: argparse.Namespace) -> str:
    """--d_augment; none where a model built on one with the flag does not add it."""
    return getattr(opt, "d_augment", "none")


def names_of(text: str) -> str:
    """Keys of TRANSFORMS separated by commas, each once and in their order; or none."""
    if why := why_no_list(text, TRANSFORMS):
        raise argparse.ArgumentTypeError(why)
    return ",".join(name for name in TRANSFORMS if name in text.split(",")) or "none"
