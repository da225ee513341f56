"""A VGG trained on ImageNet, frozen: its activations show what a picture looks like."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from models.pretrained import Published, unfit
from util.errors import UserError
from util.torchvision_compat import import_torchvision

VGGS = ("vgg16", "vgg19")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]


class FrozenVGG(nn.Module):
    """The layers of a VGG (arXiv:1409.1556) up to the last one in use.

    The weights get no gradients, and it stays in eval mode. For the backward pass it stores only
    what a frozen network needs: see `_ConvReLU`.

    Args:
        vgg: vgg16 or vgg19.
        weights_file: a state_dict with torchvision's keys, with or without the classifier; by
            default torchvision's own IMAGENET1K_V1, from torch's cache.
        layers: the names of the layers in use, as in relu1_2 (reluBLOCK_CONVOLUTION).
        instead: the VGGs that a user could choose by --vgg, for the message about a wrong file.
        download: whether to download weights that are not in the cache.
    Errors: UserError if the weights cannot be obtained or do not fit.
    """

    mean: torch.Tensor  # (3, 1, 1), of the VGG's training pictures, like std
    std: torch.Tensor

    def __init__(
        self,
        vgg: str,
        weights_file: str | Path | None,
        layers: Collection[str],
        *,
        instead: Collection[str] = (),
        download: bool = False,
    ):
        super().__init__()
        self.names, self.features = _architecture(vgg, layers)
        state = _read(vgg, weights_file, layers, instead, download)
        wanted = self.features.to_empty(device="cpu").state_dict()
        self.features.load_state_dict({key: state[f"features.{key}"] for key in wanted})
        self.requires_grad_(False)
        self.eval()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FrozenVGG:
        """Stay in eval mode, whatever mode the owner is put in."""
        return super().train(False)

    def activations(self, picture: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the name and the activations (N, C, H, W) of each layer, up to the last in use.

        The picture is (N, 3 or 1, H, W) in [-1, 1]; grey counts as RGB. A layer is computed when it
        is asked for, so that memory holds only those that the caller keeps.
        """
        x = ((picture + 1) / 2 - self.mean) / self.std  # (N, 3, H, W), also from (N, 1, H, W)
        for name, layer in zip(self.names, self.features, strict=True):
            x = _run(layer, x)
            yield name, x


def _read(
    vgg: str,
    given: str | Path | None,
    layers: Collection[str],
    instead: Collection[str],
    download: bool,
) -> dict[str, torch.Tensor]:
    """The weights of a VGG; UserError if they lack some that `layers` need."""
    file, state = _published(vgg).read(given, download)
    missing = {
        name: unfit(state, _architecture(name, layers)[1].state_dict(prefix="features."))
        for name in (vgg, *instead)
    }
    if missing[vgg]:
        fitting = [name for name in instead if not missing[name]]
        advice = f"pass --vgg {fitting[0]}" if fitting else "pass another --vgg_weights FILE"
        raise UserError(
            f"{file} is not a state_dict of torchvision's {vgg}: {missing[vgg][0]} is missing "
            f"or of another shape; {advice}"
        )
    return state


def _published(vgg: str) -> Published:
    url = import_torchvision("torchvision.models").get_model_weights(vgg)["IMAGENET1K_V1"].url
    name = url.rpartition("/")[2]
    return Published(
        what=f"the ImageNet weights of {vgg}",
        kind=f"a state_dict of torchvision's {vgg}",
        flag="--vgg_weights",
        url=url,
        name=name,
        digest=Path(name).stem.rpartition("-")[2],  # torch's convention: NAME-SHA256.pth
    )


def _architecture(vgg: str, layers: Collection[str]) -> tuple[list[str], nn.Sequential]:
    """torchvision's VGG up to the last of `layers`: its layers' names, and the layers, empty."""
    with torch.device("meta"):  # draws no random numbers and allocates no memory
        features = getattr(import_torchvision("torchvision.models"), vgg)().features
    names, block, convolution = [], 1, 0
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            names.append(f"pool{block}")
            block, convolution = block + 1, 0
        elif isinstance(layer, nn.Conv2d):
            convolution += 1
            names.append(f"conv{block}_{convolution}")
        else:
            names.append(f"relu{block}_{convolution}")
    end = max(names.index(name) for name in layers) + 1
    return names[:end], features[:end]


def _run(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.Conv2d):
        return _ConvReLU.apply(x, layer.weight, layer.bias)
    return _MaxPool.apply(x) if isinstance(layer, nn.MaxPool2d) else x


class _ConvReLU(torch.autograd.Function):
    """relu(conv(x)) with frozen 3x3 kernels.

    The backward pass then needs to know only which activations are positive, one byte each, while
    nn.Conv2d and nn.ReLU would store their values. The two functions below save memory in the same
    way. Together they need a quarter of the memory.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor):
        y = F.conv2d(x, weight, bias, padding=1).relu_()
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(weight, y > 0)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        weight, positive = ctx.saved_tensors
        weight = weight.to(grad.dtype)  # lower than the weight's under autocast
        return F.conv_transpose2d(grad * positive, weight, padding=1), None, None


class _MaxPool(torch.autograd.Function):
    """2x2 max pooling that stores the position of each maximum, in 4 bytes, and no values."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor):
        y, places = F.max_pool2d(x, 2, return_indices=True)  # positions within a plane of H * W
        ctx.shape = x.shape
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(places.int())
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        (places,) = ctx.saved_tensors
        grad_x = grad.new_zeros(ctx.shape).flatten(2)
        return grad_x.scatter_(2, places.long().flatten(2), grad.flatten(2)).view(ctx.shape)
