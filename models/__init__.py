"""Models by name. A model is one file, models/NAME_model.py with a class NameModel.

See base_model.py for what such a class provides, and pix2pix_model.py for a short, complete one.
"""

from __future__ import annotations

import argparse
import copy

from models.base_model import BaseModel
from util.registry import Registry
from util.runtime import resolve_device

registry = Registry("models", "model", BaseModel, "--model")


def create_model(opt: argparse.Namespace) -> BaseModel:
    """Build the model that --model names, without loading weights (see BaseModel.setup).

    The device in its copy of `opt` is a torch.device, as models of the well-known program expect.
    """
    own = copy.copy(opt)  # the run's options are saved, with the device as it was typed
    own.device = resolve_device(opt.device)
    model = registry.find(opt.model)(own)
    print(f"model [{opt.model}] on {model.device}")
    return model
