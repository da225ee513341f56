"""LPIPS: how different two pictures look to people, in the features of an ImageNet VGG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from models.losses.vgg import FrozenVGG
from models.pretrained import Published, unfit
from util.errors import UserError

LAYERS = {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512}  # channels
SMALLEST_PX = 16  # relu5_3 comes after four halvings
EPSILON = 1e-8  # where no channel is active, the direction is 0, and so is its gradient
HEADS = Published(
    what="the weights of LPIPS",
    kind="LPIPS's own file lpips/weights/v0.1/vgg.pth",
    flag="--lpips_weights",
    url="https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth",
    name="lpips_vgg_v0.1.pth",
)


class LPIPS(nn.Module):
    """sum over layers j of mean over places of sum over channels c of w_jc (a_jc - b_jc)^2.

    a_j and b_j are the activations of two pictures in layer j of a VGG16, scaled to length 1 at
    each place. The weights w were fitted to people's judgements. 0 is for equal pictures; different
    photographs are at about 0.7. It is version 0.1; its constants that normalise the pictures are
    ImageNet's mean and standard deviation.

    Args:
        vgg_weights: a state_dict with the keys of torchvision's vgg16; by default that in torch's
            cache.
        heads: LPIPS's own weights, a state_dict with the keys lin0.model.1.weight (1, 64, 1, 1) to
            lin4.model.1.weight; by default lpips_vgg_v0.1.pth in torch's cache.
        download: whether to download what is not in the cache.
    Errors: UserError if weights cannot be obtained or do not fit.
    Source: arXiv:1801.03924, eq. 1.
    """

    def __init__(
        self,
        vgg_weights: str | Path | None = None,
        heads: str | Path | None = None,
        download: bool = False,
    ):
        super().__init__()
        file, state = HEADS.read(heads, download)
        widths = enumerate(LAYERS.values())
        wanted = {f"lin{j}.model.1.weight": torch.empty(1, width, 1, 1) for j, width in widths}
        if missing := unfit(state, wanted):
            raise UserError(
                f"{file} is not {HEADS.kind}: {missing[0]} is missing or of another shape; pass "
                f"another {HEADS.flag} FILE"
            )
        self.heads = nn.ParameterList(state[key].float() for key in wanted)
        self.vgg = FrozenVGG("vgg16", vgg_weights, LAYERS, download=download)
        self.requires_grad_(False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The mean distance over the batch, a scalar, with gradients for `a` only.

        Both are (N, 3 or 1, H, W) in [-1, 1]; see `features`.
        """
        with torch.no_grad():
            of_b = self.features(b)
        return self.distance(self.features(a), of_b).mean()

    def features(self, picture: torch.Tensor) -> list[torch.Tensor]:
        """What `distance` compares: by layer, (N, C, H, W) float32 of length 1 over the channels.

        The picture is (N, 3 or 1, H, W) in [-1, 1]; grey counts as RGB. Kept, the features are 160
        times as large as 8 bits of RGB: 30 MiB for 256x256 pixels.

        Raises UserError for pictures with a side below 16 pixels.
        """
        height, width = picture.shape[2:]
        if min(height, width) < SMALLEST_PX:
            raise UserError(
                f"LPIPS needs sides of at least {SMALLEST_PX} pixels, and the pictures have "
                f"{width}x{height}; raise --crop_size"
            )
        activations = self.vgg.activations(picture)
        return [_directions(x.float()) for name, x in activations if name in LAYERS]

    def distance(self, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
        """The distance (N,) of each picture of a batch from its partner, given their `features`."""
        layers = zip(self.heads, a, b, strict=True)
        return torch.stack([_weighted(head, x, y) for head, x, y in layers]).sum(0)


def _directions(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + EPSILON)


def _weighted(head: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((x - y).square() * head).sum(1).mean((1, 2))  # (N,)
