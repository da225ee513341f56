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
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._begin()
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

    def _begin(self) -> None:
        # Of the gradients of `taken` batches, by parameter; None where none of them had one.
        self.sums: list[torch.Tensor | None] = [None] * len(self.parameters)
        self.taken = 0

    def _gather(self) -> bool:
        """Make the gradients the means over batches and processes; whether all are there.

        A weight that some of them do not use has a gradient of zero there.
        """
        if self.weight != 1:
            for gradient in self._gradients():
                gradient.mul_(self.weight)
        if self.num_batches > 1 and not self._is_complete():
            return False
        if distributed.size() > 1:
            users = distributed.add_up(*(p.grad is not None for p in self.parameters))
            for parameter, count in zip(self.parameters, users, strict=True):
                if count and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            distributed.average(self._gradients())
        return True

    def _gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]

    def _is_complete(self) -> bool:
        """Add up; at the last batch make the gradients the means, and begin again.

        Sums are kept apart, as models clear the gradients themselves, before or after.
        """
        for number, parameter in enumerate(self.parameters):
            total = self.sums[number]
            if parameter.grad is not None:
                self.sums[number] = (
                    parameter.grad.clone() if total is None else total.add_(parameter.grad)
                )
        self.taken += 1
        if self.taken < self.num_batches:
            return False
        for parameter, total in zip(self.parameters, self.sums, strict=True):
            parameter.grad = None if total is None else total.div_(self.num_batches)
        self._begin()
        return True

    def state_dict(self) -> dict[str, Any]:
        scaler = self.scaler.state_dict() if self.scaler else {}
        return {"sums": self.sums, "taken": self.taken, "scaler": scaler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin()
        if 0 < state["taken"] < self.num_batches:  # which may be another number now
            self.sums = [
                None if total is None else torch.empty_like(parameter).copy_(total)
                for parameter, total in zip(self.parameters, state["sums"], strict=True)
            ]
            self.taken = state["taken"]
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
        self.load_state_dict([{**state, "taken": 0} for state in processes[0]])


def statistics(networks: Iterable[nn.Module]) -> Iterable[torch.Tensor]:
    """Running means and variances."""
    for net in networks:
        for name, buffer in net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                yield buffer
