"""What happens between a model's gradients and its optimizers' steps, put there from outside.

A model calls `optimizer.step()` as ever. Here that becomes a step on the mean gradient of several
batches (--grad_accum), of all processes (torchrun), and of scaled losses (--precision fp16).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from util import distributed


class Update:
    """Replaces `optimizer.step`.

    Args:
        num_batches: an update takes the mean of so many gradients; the steps between do nothing.
        scaler: undoes the scale of the gradients, and leaves out updates that overflowed.

    Attributes:
        weight: of this process's gradient in the mean over all; 1 unless their batches differ.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        num_batches: int = 1,
        scaler: torch.amp.GradScaler | None = None,
    ):
        self.optimizer, self.num_batches, self.scaler = optimizer, num_batches, scaler
        self.weight = 1.0
        self.sums: list[torch.Tensor] = []  # of the gradients of `taken` batches
        self.taken = 0
        own_step = optimizer.step
        # A first epoch may have no update at all; schedules that go on take that for a mistake.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")

        @functools.wraps(own_step)  # with the mark by which schedulers know it
        def step(closure: Callable[[], Any] | None = None) -> Any:
            if not self._gather():
                return None
            if scaler is None:
                return own_step(closure) if closure else own_step()
            optimizer.step = own_step  # type: ignore[method-assign]
            try:
                scaler.step(optimizer)  # calls it, unless a gradient has overflowed
            finally:
                optimizer.step = step  # type: ignore[method-assign]
            scaler.update()
            return None

        optimizer.step = step  # type: ignore[method-assign]

    def _gather(self) -> bool:
        """Make the gradients the means over batches and processes; whether all are there."""
        gradients = [
            parameter.grad
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if self.weight != 1:
            torch._foreach_mul_(gradients, self.weight)
        if self.num_batches > 1 and not self._is_complete(gradients):
            return False
        distributed.average(gradients)
        return True

    def _is_complete(self, gradients: list[torch.Tensor]) -> bool:
        """Add up; at the last batch make the gradients the means, and begin again.

        Sums are kept apart, as models clear the gradients themselves, before or after.
        """
        if self.sums:
            torch._foreach_add_(self.sums, gradients)
        else:
            self.sums = [gradient.clone() for gradient in gradients]
        self.taken += 1
        if self.taken < self.num_batches:
            return False
        torch._foreach_copy_(gradients, self.sums)
        torch._foreach_div_(gradients, self.num_batches)
        self.sums, self.taken = [], 0
        return True

    def state_dict(self) -> dict[str, Any]:
        scaler = self.scaler.state_dict() if self.scaler else {}
        return {"sums": self.sums, "taken": self.taken, "scaler": scaler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.optimizer.param_groups[0]["params"][0].device
        complete = state["taken"] < self.num_batches  # which may be another number now
        self.sums = [total.to(device) for total in state["sums"]] if complete else []
        self.taken = len(self.sums) and state["taken"]
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


class Updates:
    """The updates of all optimizers of a model, as a part of a checkpoint."""

    def __init__(self, updates: Iterable[Update], networks: Iterable[nn.Module]):
        self.updates, self.networks = list(updates), list(networks)

    def begin(self, weight: float) -> None:
        """Before a step of the model: this process's weight in the means over all."""
        for update in self.updates:
            update.weight = weight

    def end(self) -> None:
        """After a step of the model: batch norms have seen different pictures in each process."""
        distributed.average([*statistics(self.networks)])

    def state_dict(self) -> list[dict[str, Any]]:
        return [update.state_dict() for update in self.updates]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for update, state in zip(self.updates, states, strict=True):
            update.load_state_dict(state)

    def redistribute(self, processes: list[list[dict[str, Any]]]) -> None:
        """From another number of processes: all begin with a first batch, and the same scale."""
        self.load_state_dict([{**state, "sums": [], "taken": 0} for state in processes[0]])


def statistics(networks: Iterable[nn.Module]) -> Iterable[torch.Tensor]:
    """Running means and variances."""
    for net in networks:
        for name, buffer in net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                yield buffer
