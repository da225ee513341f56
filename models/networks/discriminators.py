"""Discriminators: the PatchGAN, and the PixelGAN, whose patches are single pixels.

Layer indices, and with them the state_dict keys, are those of the published weight files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from util.errors import UserError, unknown_choice

from .initialize import NormLayer, conv_needs_bias, get_norm_layer, init_net


def define_D(
    input_nc: int,
    ndf: int,
    netD: str,
    n_layers_D: int = 3,
    norm: str = "batch",
    init_type: str = "normal",
    init_gain: float = 0.02,
    gpu_ids: Sequence[int] = (),
    spectral_norm: bool = False,
) -> nn.Module:
    """Build and initialise a discriminator: (N, input_nc, H, W) to a map of logits (N, 1, h, w).

    Args:
        ndf: channels after the first convolution.
        netD: basic, the 70x70 PatchGAN (30x30 logits for 256x256); n_layers, the same with
            n_layers_D in place of 3; pixel, one logit per pixel.
        n_layers_D: 1 or more; used only for netD n_layers. Patch sizes for 1 to 5: 16, 34, 70,
            142, 286 pixels squared.
        norm: instance, batch, none or syncbatch.
        init_type, init_gain, gpu_ids: see `init_net`.
        spectral_norm: divide the weight of each convolution by its largest singular value, which
            bounds the slope of the network (arXiv:1802.05957). Its state_dict then holds
            parametrizations.weight.original in place of weight.
    """
    norm_layer = get_norm_layer(norm)
    net: nn.Module
    if netD == "basic":
        net = NLayerDiscriminator(input_nc, ndf, 3, norm_layer)
    elif netD == "n_layers":
        if n_layers_D < 1:
            raise UserError(f"--n_layers_D {n_layers_D}: must be 1 or more")
        net = NLayerDiscriminator(input_nc, ndf, n_layers_D, norm_layer)
    elif netD == "pixel":
        net = PixelDiscriminator(input_nc, ndf, norm_layer)
    else:
        raise unknown_choice("--netD", netD, ("basic", "n_layers", "pixel"))
    net = init_net(net, init_type, init_gain, gpu_ids)
    if spectral_norm:
        for layer in list(net.modules()):
            if isinstance(layer, nn.Conv2d):
                parametrizations.spectral_norm(layer)
    return net


class NLayerDiscriminator(nn.Module):
    """PatchGAN: judges overlapping patches, each by one logit.

    (N, input_nc, H, W) to (N, 1, H / 2**n_layers - 2, W / 2**n_layers - 2) for H and W that are
    multiples of 2**n_layers. There is no sigmoid: the loss includes what it needs.
    Source: arXiv:1611.07004, sections 3.2.2 and 6.1.2: C64-C128-C256-C512, then a
    convolution to 1 channel.
    """

    def __init__(
        self,
        input_nc: int,
        ndf: int = 64,
        n_layers: int = 3,
        norm_layer: NormLayer = nn.BatchNorm2d,
    ):
        super().__init__()
        bias = conv_needs_bias(norm_layer)
        widths = [ndf * min(2**layer, 8) for layer in range(n_layers + 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(input_nc, ndf, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for layer in range(1, n_layers + 1):
            stride = 2 if layer < n_layers else 1
            layers += [
                nn.Conv2d(widths[layer - 1], widths[layer], 4, stride, padding=1, bias=bias),
                norm_layer(widths[layer]),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers += [nn.Conv2d(widths[-1], 1, kernel_size=4, stride=1, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, with_features: bool = False) -> Any:
        """The logits; with features, also a list of these; see `judge`."""
        return judge(self.model, x) if with_features else self.model(x)


class PixelDiscriminator(nn.Module):
    """PixelGAN: judges each pixel by its own colour alone, (N, input_nc, H, W) to (N, 1, H, W).

    Source: arXiv:1611.07004, section 6.1.2: C64-C128, all convolutions 1x1.
    """

    def __init__(self, input_nc: int, ndf: int = 64, norm_layer: NormLayer = nn.BatchNorm2d):
        super().__init__()
        bias = conv_needs_bias(norm_layer)
        self.net = nn.Sequential(
            nn.Conv2d(input_nc, ndf, kernel_size=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, 2 * ndf, kernel_size=1, bias=bias),
            norm_layer(2 * ndf),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * ndf, 1, kernel_size=1, bias=bias),
        )

    def forward(self, x: torch.Tensor, with_features: bool = False) -> Any:
        """The logits; with features, also a list of these; see `judge`."""
        return judge(self.net, x) if with_features else self.net(x)


def judge(layers: nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The logits of a discriminator's layers, and their features after each activation."""
    features = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            features.append(x)
    return x, features


def shortest_side(netD: str, n_layers_D: int) -> int:
    """The shortest side of a picture that leaves a discriminator of `define_D` a logit, in pixels.

    With netD basic, n_layers_D is 3.
    """
    return 1 if netD == "pixel" else 3 * 2**n_layers_D


def halved(x: torch.Tensor) -> torch.Tensor:
    """Pictures (N, C, H, W) at half the size, odd sides rounded up: means of 3x3 pixels.

    Source: arXiv:1711.11585, section 3.2; what lies beyond the border does not count.
    """
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
