"""Generators: the residual network of CycleGAN and the U-Net of pix2pix.

Layer indices, and with them the state_dict keys, are those of the published weight files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from util.errors import unknown_choice

from .initialize import NormLayer, conv_needs_bias, get_norm_layer, init_net

RESNET_BLOCKS = {"resnet_9blocks": 9, "resnet_6blocks": 6}
UNET_LEVELS = {"unet_256": 8, "unet_128": 7}

# What height and width must be multiples of: a U-Net halves them at each level, a ResNet twice.
SIZE_MULTIPLE: dict[str, int] = {
    **dict.fromkeys(RESNET_BLOCKS, 4),
    **{name: 2**levels for name, levels in UNET_LEVELS.items()},
}


def define_G(
    input_nc: int,
    output_nc: int,
    ngf: int,
    netG: str,
    norm: str = "batch",
    use_dropout: bool = False,
    init_type: str = "normal",
    init_gain: float = 0.02,
    gpu_ids: Sequence[int] = (),
) -> nn.Module:
    """Build and initialise a generator: (N, input_nc, H, W) to (N, output_nc, H, W) in [-1, 1].

    Args:
        ngf: channels after the first convolution; all widths are multiples of it.
        netG: resnet_9blocks, resnet_6blocks, unet_256 or unet_128; H and W must be multiples of
            SIZE_MULTIPLE[netG].
        norm: instance, batch, none or syncbatch.
        use_dropout: dropout of 0.5 inside each residual block, or in the innermost U-Net levels.
        init_type, init_gain, gpu_ids: see `init_net`.
    """
    norm_layer = get_norm_layer(norm)
    net: nn.Module
    if netG in RESNET_BLOCKS:
        net = ResnetGenerator(
            input_nc, output_nc, ngf, norm_layer, use_dropout, RESNET_BLOCKS[netG]
        )
    elif netG in UNET_LEVELS:
        net = UnetGenerator(input_nc, output_nc, UNET_LEVELS[netG], ngf, norm_layer, use_dropout)
    else:
        raise unknown_choice("--netG", netG, SIZE_MULTIPLE)
    return init_net(net, init_type, init_gain, gpu_ids)


class ResnetGenerator(nn.Module):
    """Two halvings, n_blocks residual blocks at 4 * ngf channels, two doublings.

    (N, input_nc, H, W) to (N, output_nc, H, W) in [-1, 1], H and W multiples of 4.
    Source: arXiv:1703.10593, section 7.2: c7s1-64, d128, d256, R256 (n_blocks times), u128, u64,
    c7s1-3; after arXiv:1603.08155.
    """

    def __init__(
        self,
        input_nc: int,
        output_nc: int,
        ngf: int = 64,
        norm_layer: NormLayer = nn.BatchNorm2d,
        use_dropout: bool = False,
        n_blocks: int = 6,
    ):
        super().__init__()
        bias = conv_needs_bias(norm_layer)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(input_nc, ngf, kernel_size=7, bias=bias),
            norm_layer(ngf),
            nn.ReLU(inplace=True),
        ]
        for width in (ngf, 2 * ngf):
            layers += [
                nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=bias),
                norm_layer(2 * width),
                nn.ReLU(inplace=True),
            ]
        layers += [ResnetBlock(4 * ngf, norm_layer, use_dropout) for _ in range(n_blocks)]
        for width in (4 * ngf, 2 * ngf):
            layers += [
                nn.ConvTranspose2d(
                    width,
                    width // 2,
                    kernel_size=3,
                    stride=2,
                    padding=1,
                    output_padding=1,
                    bias=bias,
                ),
                norm_layer(width // 2),
                nn.ReLU(inplace=True),
            ]
        layers += [
            nn.ReflectionPad2d(3),
            nn.Conv2d(ngf, output_nc, kernel_size=7),
            nn.Tanh(),
        ]
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class ResnetBlock(nn.Module):
    """x + conv_block(x), two 3x3 convolutions deep and without a ReLU after the sum.

    (N, channels, H, W) to the same. Source: arXiv:1512.03385, with the arrangement of
    http://torch.ch/blog/2016/02/04/resnets.html.
    """

    def __init__(self, channels: int, norm_layer: NormLayer, use_dropout: bool):
        super().__init__()
        bias = conv_needs_bias(norm_layer)
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, kernel_size=3, bias=bias),
            norm_layer(channels),
            nn.ReLU(inplace=True),
            *([nn.Dropout(0.5)] if use_dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, kernel_size=3, bias=bias),
            norm_layer(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class UnetGenerator(nn.Module):
    """num_downs halvings to the bottleneck, as many doublings, a skip connection at each level.

    (N, input_nc, H, W) to (N, output_nc, H, W) in [-1, 1], H and W multiples of 2**num_downs.
    Dropout, where used, is in the num_downs - 5 levels next to the bottleneck; it stands in for
    the noise input z of the conditional GAN.
    Source: arXiv:1611.07004, section 6.1.1: C64-C128-C256-C512-C512-... and its mirror image;
    after arXiv:1505.04597.
    """

    def __init__(
        self,
        input_nc: int,
        output_nc: int,
        num_downs: int,
        ngf: int = 64,
        norm_layer: NormLayer = nn.BatchNorm2d,
        use_dropout: bool = False,
    ):
        super().__init__()
        bias = conv_needs_bias(norm_layer)
        down = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1)
        up = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)
        widths = [ngf * min(2**level, 8) for level in range(num_downs)]

        # From the bottleneck outwards: each level wraps the one below it.
        outer, inner = widths[-2:]
        block: nn.Module = SkipConnection(
            nn.LeakyReLU(0.2, inplace=True),
            down(outer, inner, bias=bias),
            nn.ReLU(inplace=True),
            up(inner, outer, bias=bias),
            norm_layer(outer),
        )
        for level in range(num_downs - 2, 0, -1):
            outer, inner = widths[level - 1 : level + 1]
            block = SkipConnection(
                nn.LeakyReLU(0.2, inplace=True),
                down(outer, inner, bias=bias),
                norm_layer(inner),
                block,
                nn.ReLU(inplace=True),
                up(2 * inner, outer, bias=bias),
                norm_layer(outer),
                *([nn.Dropout(0.5)] if use_dropout and level >= 4 else []),
            )
        outermost = nn.Sequential(
            down(input_nc, ngf, bias=bias),
            block,
            nn.ReLU(inplace=True),
            up(2 * ngf, output_nc, bias=True),
            nn.Tanh(),
        )
        self.model = nn.Sequential(OrderedDict(model=outermost))  # keys begin with model.model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class SkipConnection(nn.Module):
    """A level of the U-Net: (N, C, H, W) to (N, 2C, H, W), the input beside what is made of it.

    The layers begin with a LeakyReLU in place, so what is handed on is already rectified. All that
    reads it is the ReLU of the level above, and ReLU(LeakyReLU(x)) = ReLU(x).
    """

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.model(x)], dim=1)
