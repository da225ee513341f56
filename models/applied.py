"""The generators of a trained model as functions of pictures, one for each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from models.base_model import BaseModel
from models.validation.generators import says_what_it_does
from util.errors import UserError
from util.util import to_batch


class Direction(NamedTuple):
    """A generator.

    Attributes:
        result: the visual name of what it makes.
        is_reverse: whether it goes from the output's side of the data to the input's.
        generate: from pictures (1, C, H, W) to pictures (1, C', H, W), both in [-1, 1].
    """

    result: str
    is_reverse: bool
    generate: Callable[[torch.Tensor], torch.Tensor]


def directions_of(model: BaseModel) -> list[Direction]:
    """The directions of a model in testing; through its own set_input and test if its file does
    not say what they are.

    Raises UserError for a model of other pictures than RGB or grey.
    """
    if model.space != BaseModel.space:
        raise UserError(
            f"{type(model).__name__} makes pictures from {model.space}, and photographs are RGB "
            "or grey; leave --full_size out"
        )
    if not says_what_it_does(type(model)):
        return [Direction("fake", False, Whole(model))]
    networks = model.networks()
    return [
        Direction(task.result, task.is_reverse, Network(networks[task.network], model.device))
        for task in model.translations
    ]


class Network:
    """One network, on the device of its model."""

    def __init__(self, network: torch.nn.Module, device: torch.device):
        self.network, self.device = network, device

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.network(x.to(self.device)).float().cpu()


class Whole:
    """A model through its own set_input and test."""

    def __init__(self, model: BaseModel):
        self.model = model

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.model.set_input({"A": x, "B": x, "A_paths": [""], "B_paths": [""]})
        self.model.test()
        visuals = self.model.get_current_visuals()
        made = [label for label in visuals if "fake" in label] or [*visuals][-1:]
        if not made:
            raise UserError(f"{type(self.model).__name__} has no visual_names that show a result")
        return to_batch(visuals[made[0]]).detach().float().cpu()
