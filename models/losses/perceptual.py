"""Perceptual loss: how far apart two pictures are in the features of an ImageNet VGG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.losses.vgg import VGGS, FrozenVGG
from util.errors import unknown_choice

LAYERS = {"relu1_2": 0.25, "relu2_2": 0.25, "relu3_3": 0.25, "relu4_3": 0.25}


class PerceptualLoss(nn.Module):
    """sum over layers j of weight_j * mean |phi_j(fake) - phi_j(real)|.

    phi_j are the activations of layer j of a VGG (arXiv:1409.1556) trained on ImageNet: the feature
    reconstruction loss of arXiv:1603.08155, eq. 2.

    Layers: relu1_2, relu2_2, relu3_3 and relu4_3, the four layers of VGG16 that the paper uses.
        They range from edges and texture, which make a picture sharp, to parts of objects.
    Distance: absolute; eq. 2 squares it. If squared, relu3_3 would weigh about ten times as much as
        relu1_2 and dominate; if absolute, the four are within a factor of about three.
    Weights: therefore equal, 1/4 each.
    Normalisation: each layer is divided by its number of elements C_j H_j W_j, as in eq. 2, and by
        the batch size.

    Args:
        vgg: vgg16 or vgg19.
        weights_file: see `FrozenVGG`; weights that are not in torch's cache are downloaded.
        layers: the weight of each layer in use, by name (reluBLOCK_CONVOLUTION).
    Errors: UserError if the weights cannot be obtained or do not fit.
    """

    def __init__(
        self,
        vgg: str = "vgg16",
        weights_file: str | Path | None = None,
        layers: Mapping[str, float] = LAYERS,
    ):
        super().__init__()
        if vgg not in VGGS:
            raise unknown_choice("--vgg", vgg, VGGS)
        self.layers = dict(layers)
        self.vgg = FrozenVGG(vgg, weights_file, layers, instead=VGGS, download=True)

    def forward(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return a scalar, with gradients for `fake` only.

        Both are (N, 3 or 1, H, W) in [-1, 1], with sides of at least 8 pixels; grey counts as RGB.
        """
        loss = torch.zeros((), device=fake.device)
        # Layer by layer for both, so that memory holds only one layer of the real picture.
        layers_of_real = self.vgg.activations(real.detach())
        for name, of_fake in self.vgg.activations(fake):
            _, of_real = next(layers_of_real)
            if name in self.layers:
                loss = loss + self.layers[name] * _MeanAbsolute.apply(of_fake, of_real)
        return loss


class _MeanAbsolute(torch.autograd.Function):
    """mean |x - target|, storing only the sign of each difference, in one byte."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, target: torch.Tensor):
        difference = x - target
        distance = difference.abs().mean(dtype=torch.float32)  # half precision has too few digits
        ctx.dtype = x.dtype
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(difference.sign_().to(torch.int8))
        return distance

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        (signs,) = ctx.saved_tensors
        return signs.to(ctx.dtype).mul_(grad / signs.numel()), None
