"""Which flags a network was built with, as far as the keys and shapes of its weights show."""

from __future__ import annotations

import re
from typing import Any

import torch

from .generators import RESNET_BLOCKS, UNET_LEVELS

State = dict[str, torch.Tensor]


def infer_generator(state: State) -> dict[str, Any]:
    """netG, ngf, input_nc, output_nc, norm and, for a ResNet, no_dropout; {} if it is unknown.

    Dropout leaves no trace in a U-Net, and syncbatch looks like batch.
    """
    levels = 1 + max((key.count("model.") - 2 for key in state), default=0)
    blocks = len({m[1] for key in state if (m := re.match(r"model\.(\d+)\.conv_block\.", key))})
    if blocks:
        names = {count: name for name, count in RESNET_BLOCKS.items()}
        first, last = state.get("model.1.weight"), state.get(f"model.{17 + blocks}.weight")
        dropout = "model.10.conv_block.5.weight" not in state  # it shifts the second convolution
        found = {"no_dropout": not dropout}
        inner = "model.4.bias"
    else:
        names = {count: name for name, count in UNET_LEVELS.items()}
        first, last = state.get("model.model.0.weight"), state.get("model.model.3.weight")
        found = {}
        inner = "model.model.1.model.1.bias"
    name = names.get(blocks or levels)
    if name is None or first is None or last is None:
        return {}
    ngf, input_nc = first.shape[:2]
    output_nc = last.shape[0] if blocks else last.shape[1]  # transposed: (in, out, h, w)
    norm = infer_norm(state, inner)
    channels = {"ngf": ngf, "input_nc": input_nc, "output_nc": output_nc}
    return {"netG": name, **channels, "norm": norm, **found}


def infer_discriminator(state: State) -> dict[str, Any]:
    """netD, ndf, n_layers_D and spectral_norm; {} if it is unknown."""
    suffix = ".parametrizations.weight.original"
    spectral = any(key.endswith(suffix) for key in state)
    weights = {k.replace(suffix, ".weight"): v for k, v in state.items()}
    convolutions = [k for k, v in weights.items() if k.endswith(".weight") and v.ndim == 4]
    if "net.0.weight" in weights:
        found = {"netD": "pixel", "ndf": weights["net.0.weight"].shape[0]}
    elif "model.0.weight" in weights and len(convolutions) >= 3:
        layers = len(convolutions) - 2
        netD = "basic" if layers == 3 else "n_layers"
        found = {"netD": netD, "ndf": weights["model.0.weight"].shape[0], "n_layers_D": layers}
    else:
        return {}
    return {**found, "spectral_norm": spectral}


def infer_norm(state: State, inner_bias: str) -> str:
    """The normalisation: batch has weights, instance leaves the bias to the convolutions."""
    norm_weights = any(key.endswith(".weight") and v.ndim == 1 for key, v in state.items())
    return "batch" if norm_weights else "instance" if inner_bias in state else "none"
