"""Models by name. A model is one file, models/NAME_model.py with a class NameModel.

See base_model.py for what such a class gives, and pix2pix_model.py for a short complete one.
"""

from __future__ import annotations

import argparse

from models.base_model import BaseModel
from util.registry import Registry

registry = Registry("models", "model", BaseModel, "--model")


def create_model(opt: argparse.Namespace) -> BaseModel:
    """The model that --model names, built but without weights loaded (see BaseModel.setup)."""
    model = registry.find(opt.model)(opt)
    print(f"model [{opt.model}] on {model.device}")
    return model
