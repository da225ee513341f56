"""Generators: the residual network of CycleGAN and the U-Net of pix2pix.

Layer indices, and with them the state_dict keys, are those of the published weight files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from util.errors import UserError, unknown_choice

from .initialize import (
    NormLayer,
    conv_needs_bias,
    get_norm_layer,
    init_net,
    without_default_weights,
)

RESNET_BLOCKS = {"resnet_9blocks": 9, "resnet_6blocks": 6}
PADDINGS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zero": None}
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
    *,
    residual: bool = False,
) -> nn.Module:
    """Build and initialise a generator: (N, input_nc, H, W) to (N, output_nc, H, W) in [-1, 1].

    Args:
        ngf: channels after the first convolution; all widths are multiples of it.
        netG: resnet_9blocks, resnet_6blocks, unet_256 or unet_128; H and W must be multiples of
            SIZE_MULTIPLE[netG].
        norm: instance, batch, none or syncbatch.
        use_dropout: dropout of 0.5 inside each residual block, or in the innermost U-Net levels.
        init_type, init_gain, gpu_ids: see `init_net`.
        residual: the generator makes the change of its input; see `Generator`. It begins with none.

    Raises UserError if residual is asked for with other output than input channels.
    """
    if residual and input_nc != output_nc:
        raise UserError(
            "--residual adds the generator's output to its input, so both need the same channels "
            f"(here {input_nc} in and {output_nc} out); leave it out"
        )
    norm_layer = get_norm_layer(norm)
    net: Generator
    with without_default_weights():
        if netG in RESNET_BLOCKS:
            blocks = RESNET_BLOCKS[netG]
            net = ResnetGenerator(input_nc, output_nc, ngf, norm_layer, use_dropout, blocks)
        elif netG in UNET_LEVELS:
            levels = UNET_LEVELS[netG]
            net = UnetGenerator(input_nc, output_nc, levels, ngf, norm_layer, use_dropout)
        else:
            raise unknown_choice("--netG", netG, SIZE_MULTIPLE)
    net = init_net(net, init_type, init_gain, gpu_ids)
    if residual:
        net.begin_residual()
    return net


class Generator(nn.Module):
    """Layers that make a picture, or the change of one.

    Attributes:
        residual: the result is the input plus what the layers make, cut to [-1, 1], so that they
            learn the difference alone (arXiv:1511.04587, section 3.1; arXiv:1608.03981, section 3).
    """

    model: nn.Module
    residual = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.model(x)
        return (x + made).clamp(-1, 1) if self.residual else made

    def begin_residual(self) -> None:
        """Make the change of the input, and none at first: the last convolution becomes zero."""
        self.residual = True
        *_, last = (m for m in self.modules() if isinstance(m, nn.modules.conv._ConvNd))
        for parameter in last.parameters():
            nn.init.zeros_(parameter)


class ResnetGenerator(Generator):
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
        padding_type: str = "reflect",
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
        layers += [
            ResnetBlock(4 * ngf, padding_type, norm_layer, use_dropout, bias)
            for _ in range(n_blocks)
        ]
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


class ResnetBlock(nn.Module):
    """x + conv_block(x), two 3x3 convolutions deep and without a ReLU after the sum.

    (N, dim, H, W) to the same; padding_type is reflect, replicate or zero. Source:
    arXiv:1512.03385, with the arrangement of http://torch.ch/blog/2016/02/04/resnets.html.
    """

    def __init__(
        self, dim: int, padding_type: str, norm_layer: NormLayer, use_dropout: bool, use_bias: bool
    ):
        super().__init__()
        if padding_type not in PADDINGS:
            raise unknown_choice("padding_type", padding_type, PADDINGS)
        pad = PADDINGS[padding_type]
        conv = partial(nn.Conv2d, dim, dim, 3, padding=0 if pad else 1, bias=use_bias)
        self.conv_block = nn.Sequential(
            *([pad(1)] if pad else []),
            conv(),
            norm_layer(dim),
            nn.ReLU(inplace=True),
            *([nn.Dropout(0.5)] if use_dropout else []),
            *([pad(1)] if pad else []),
            conv(),
            norm_layer(dim),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class UnetGenerator(Generator):
    """num_downs halvings, as many doublings, and a skip connection at each level.

    (N, input_nc, H, W) to (N, output_nc, H, W) in [-1, 1], H and W multiples of 2**num_downs.
    Dropout, if used, is in the num_downs - 5 levels next to the bottleneck; it takes the place of
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
        widths = [ngf * min(2**level, 8) for level in range(num_downs)]
        # From the bottleneck outwards: each level wraps the one below it.
        block = UnetSkipConnectionBlock(
            widths[-2], widths[-1], innermost=True, norm_layer=norm_layer
        )
        for level in range(num_downs - 2, 0, -1):
            block = UnetSkipConnectionBlock(
                widths[level - 1],
                widths[level],
                submodule=block,
                norm_layer=norm_layer,
                use_dropout=use_dropout and level >= 4,
            )
        self.model = UnetSkipConnectionBlock(
            output_nc, ngf, input_nc, submodule=block, outermost=True, norm_layer=norm_layer
        )


class UnetSkipConnectionBlock(nn.Module):
    """A level of the U-Net: (N, C, H, W) to (N, 2C, H, W), its input and output concatenated.

    A level begins with an in-place LeakyReLU, so the input that it passes on is already rectified.
    Only the ReLU of the level above reads it, and ReLU(LeakyReLU(x)) = ReLU(x).

    Args:
        outer_nc: channels C that are appended to the input, or those of the output picture.
        inner_nc: channels inside, at half the size.
        input_nc: channels of the input, if not C.
        submodule: the level below; None for the innermost.
        outermost: maps picture to picture, (N, outer_nc, H, W) in [-1, 1], without concatenation.
        innermost: the bottleneck, which has no level below.
        use_dropout: end with a dropout of 0.5; not in the outermost and innermost levels.
    """

    def __init__(
        self,
        outer_nc: int,
        inner_nc: int,
        input_nc: int | None = None,
        submodule: nn.Module | None = None,
        outermost: bool = False,
        innermost: bool = False,
        norm_layer: NormLayer = nn.BatchNorm2d,
        use_dropout: bool = False,
    ):
        super().__init__()
        self.outermost = outermost
        bias = conv_needs_bias(norm_layer)
        halve = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1, bias=bias)
        double = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)

        down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2, inplace=True)]
        down.append(halve(outer_nc if input_nc is None else input_nc, inner_nc))
        if not (outermost or innermost):
            down.append(norm_layer(inner_nc))
        made_nc = inner_nc if innermost else 2 * inner_nc
        up = [nn.ReLU(inplace=True), double(made_nc, outer_nc, bias=bias or outermost)]
        up.append(nn.Tanh() if outermost else norm_layer(outer_nc))
        if use_dropout and not (outermost or innermost):
            up.append(nn.Dropout(0.5))
        self.model = nn.Sequential(*down, *([submodule] if submodule else []), *up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.model(x)
        return made if self.outermost else torch.cat([x, made], dim=1)
