"""The state of optimizers and schedules in a checkpoint; runs with other settings can load it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from util.run.checkpoint import is_plain
from util.speed.performance import FUSED


class OptimizerState:
    """Optimizers and their schedules as one part of a checkpoint.

    Args:
        lr: the full rate (--lr), which may differ from the saved one when a run is resumed.
    """

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], schedulers: Sequence[Any], lr: float
    ):
        self.optimizers, self.schedulers, self.lr = optimizers, schedulers, lr
        self.settings = [[settings_of(g) for g in one.param_groups] for one in optimizers]

    def state_dict(self) -> dict[str, Any]:
        return {
            "lr": self.lr,
            "settings": self.settings,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict()`; options of this run override the saved ones."""
        factor = self.lr / state["lr"]  # for saved rates, which plateau may have lowered
        begun = state.get("settings", [None] * len(self.optimizers))  # older states have none
        for optimizer, saved, settings in zip(
            self.optimizers, state["optimizers"], begun, strict=True
        ):
            require_shapes(optimizer, saved["state"])
            optimizer.load_state_dict(as_own(optimizer, saved, factor, settings))
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)


def require_shapes(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """Raise ValueError for moments of Adam that do not have the shape of their weights.

    Its fused kernel relies on that. Other optimizers check for themselves, and some keep moments of
    other shapes, numbers or lists.
    """
    fuses = type(optimizer) in FUSED
    shapes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    for index, moments in state.items():
        for name, value in moments.items():
            if isinstance(value, torch.Tensor) and not is_plain(value):
                raise ValueError(f"{name} of weight {index}")
            if fuses and not (is_plain(value) and value.shape in ((), shapes[index])):
                raise ValueError(f"{name} of weight {index}")


def as_own(
    optimizer: torch.optim.Optimizer,
    saved: dict[str, Any],
    lr_factor: float,
    begun: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Convert a saved state to what this optimizer would have saved.

    Its settings decide where PyTorch puts the step counts, and kernels rely on moments with the
    type and memory layout of their weights (--precision, --channels_last). The learning rates are
    the saved ones in proportion to the full rates; times `lr_factor` where those are not known.
    Groups that `may_be_new`, which come last, then begin with the rate of the one before.

    Args:
        begun: the settings of each group when the saved run began. Where this one begins with the
            same, the saved ones count, since schedules and optimizers may change them.
    """
    saved_groups = list(saved["param_groups"])
    begun = list(begun or [{}] * len(saved_groups))
    for own in optimizer.param_groups[len(saved_groups) :]:
        if not own.get("may_be_new"):
            raise ValueError("an optimizer has more groups of weights")
        first = sum(len(group["params"]) for group in saved_groups)
        indices = list(range(first, first + len(own["params"])))
        saved_groups.append({**saved_groups[-1], "params": indices})
        begun.append({})
    groups = []
    for own, theirs, before in zip(optimizer.param_groups, saved_groups, begun, strict=True):
        factor = lr_factor
        if "initial_lr" in own and "initial_lr" in theirs:
            factor = own["initial_lr"] / theirs["initial_lr"]
        kept = {"params": theirs["params"], "lr": theirs["lr"] * factor}
        groups.append({**theirs, **unlike(own, before), **kept})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {
            name: torch.empty_like(parameters[index]).copy_(value)
            if isinstance(value, torch.Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in moments.items()
        }
        for index, moments in saved["state"].items()
    }
    return {"state": state, "param_groups": groups}


def settings_of(group: dict[str, Any]) -> dict[str, Any]:
    """All of a group but its weights, as it is now."""
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}


def unlike(group: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What a group has otherwise than these settings."""
    return {
        name: value
        for name, value in group.items()
        if name not in settings or torch.as_tensor(value != settings[name]).any()
    }
