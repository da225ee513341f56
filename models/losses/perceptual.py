"""Perceptual loss: how far apart two pictures are in the features of an ImageNet VGG."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from util.errors import UserError, unknown_choice
from util.run.checkpoint import load_weights
from util.torchvision_compat import import_torchvision

VGGS = ("vgg16", "vgg19")
LAYERS = {"relu1_2": 0.25, "relu2_2": 0.25, "relu3_3": 0.25, "relu4_3": 0.25}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]


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

    The VGG is frozen, stays in eval mode and ends with the last layer in use. For the backward pass
    it stores only what a frozen network needs: see `_ConvReLU`.

    Args:
        vgg: vgg16 or vgg19.
        weights_file: a state_dict with torchvision's keys, with or without the classifier; by
            default torchvision's own IMAGENET1K_V1, downloaded on first use.
        layers: the weight of each layer in use, by name (reluBLOCK_CONVOLUTION).
    Errors: UserError if the weights cannot be obtained or do not fit.
    """

    mean: torch.Tensor  # (3, 1, 1), of the VGG's training pictures, like std
    std: torch.Tensor

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
        self.names, self.features = _architecture(vgg, layers)
        state = _read(Path(weights_file or _download(vgg)), vgg, layers)
        wanted = self.features.to_empty(device="cpu").state_dict()
        self.features.load_state_dict({key: state[f"features.{key}"] for key in wanted})
        self.requires_grad_(False)
        self.eval()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stay in eval mode, whatever mode the owner is put in."""
        return super().train(False)

    def forward(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return a scalar, with gradients for `fake` only.

        Both are (N, 3 or 1, H, W) in [-1, 1], with sides of at least 8 pixels; grey counts as RGB.
        """
        fake, real = self._normalise(fake), self._normalise(real)
        loss = torch.zeros((), device=fake.device)
        # Layer by layer for both, so that memory holds only one layer of the real picture.
        for name, layer in zip(self.names, self.features, strict=True):
            fake = _run(layer, fake)
            with torch.no_grad():
                real = _run(layer, real)
            if name in self.layers:
                loss = loss + self.layers[name] * _MeanAbsolute.apply(fake, real)
        return loss

    def _normalise(self, picture: torch.Tensor) -> torch.Tensor:
        return ((picture + 1) / 2 - self.mean) / self.std  # (N, 3, H, W), also from (N, 1, H, W)


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


def _architecture(vgg: str, layers: Iterable[str]) -> tuple[list[str], nn.Sequential]:
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


def _download(vgg: str) -> Path:
    """The file of torchvision's ImageNet weights in its cache; downloads it if necessary."""
    weights = import_torchvision("torchvision.models").get_model_weights(vgg)["IMAGENET1K_V1"]
    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    if not file.is_file():
        print(f"downloading {weights.url} to {file}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            digest = file.stem.rpartition("-")[2]  # torch's convention: NAME-SHA256.pth
            torch.hub.download_url_to_file(weights.url, str(file), digest)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            raise UserError(
                f"--vgg {vgg}: its ImageNet weights could not be downloaded ({error}); connect to "
                f"the network once to keep them in {file}, or pass --vgg_weights FILE, a "
                f"state_dict of torchvision's {vgg}"
            ) from error
    return file


def _read(file: Path, vgg: str, layers: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read the weights of a VGG from a file, and check that they include what `layers` need."""
    if not file.is_file():
        raise UserError(
            f"--vgg_weights {file}: there is no such file; pass a state_dict of torchvision's "
            f"{vgg}, or connect to the network and leave the flag out to download it once"
        )
    try:
        state = load_weights(file)
    except UserError as error:
        raise UserError(
            f"{error}; --vgg {vgg} needs a state_dict of torchvision's {vgg}: remove this file "
            "to download it again, or pass another --vgg_weights FILE"
        ) from error
    unfit = {name: _unfit(state, _architecture(name, layers)[1]) for name in VGGS}
    if unfit[vgg]:
        fitting = [name for name in VGGS if not unfit[name]]
        advice = f"pass --vgg {fitting[0]}" if fitting else "pass another --vgg_weights FILE"
        raise UserError(
            f"{file} is not a state_dict of torchvision's {vgg}: {unfit[vgg][0]} is missing or of "
            f"another shape; {advice}"
        )
    return state


def _unfit(state: dict[str, torch.Tensor], features: nn.Sequential) -> list[str]:
    wanted = features.state_dict(prefix="features.")
    return [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
