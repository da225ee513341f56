"""The gradients of an update: averaged over several batches (--grad_accum) and all processes
(torchrun), without the scale factor of --precision fp16.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from util import distributed
from util.errors import UserError
from util.util import all_finite


class Update:
    """Processes the gradients of one optimizer, in the order of the methods.

    Args:
        num_batches: how many batches' gradients to average for an update; the steps in between do
            nothing.
        scaler: the GradScaler that has scaled the gradients; an update that overflows is skipped.

    Attributes:
        is_done: whether the last step was an update.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        num_batches: int = 1,
        scaler: torch.amp.GradScaler | None = None,
    ):
        self.optimizer, self.num_batches, self.scaler = optimizer, num_batches, scaler
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.is_done = False
        self._begin()

    def _begin(self) -> None:
        # The summed gradients of `taken` batches, by parameter; None if no batch had a gradient.
        self.sums: list[torch.Tensor | None] = [None] * len(self.parameters)
        self.taken = 0

    def gradients(self) -> list[torch.Tensor]:
        """The gradients of those weights that have one."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def weigh(self, weight: float) -> None:
        """Multiply this process's gradients by its weight in the mean over all processes.

        The weight is 1 if all processes have batches of the same size.
        """
        self.is_done = True  # unless `leave_out` is called
        if weight != 1:
            for gradient in self.gradients():
                gradient.mul_(weight)

    def add_up(self) -> bool:
        """Average the gradients over batches, then processes; False if batches are still missing.

        The sums are kept separately, because models clear the gradients themselves, before or after
        a step. A weight that a batch or process does not use counts with a gradient of zero.
        """
        if self.num_batches > 1:
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
        if distributed.size() > 1:
            users = distributed.add_up(*(p.grad is not None for p in self.parameters))
            for parameter, count in zip(self.parameters, users, strict=True):
                if count and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            distributed.average(self.gradients())
        return True

    def unscale(self) -> bool:
        """Divide the gradients by the scale, if any, and adapt it; whether none overflowed."""
        if self.scaler is None or not self.gradients():
            return True
        self.scaler.unscale_(self.optimizer)
        self.scaler.update()
        return all_finite(self.gradients())

    def leave_out(self) -> None:
        """Make the optimizer's step do nothing: it skips weights without a gradient."""
        self.is_done = False
        for parameter in self.parameters:
            parameter.grad = None

    def check_closure(self) -> None:
        """Check a step that computes its gradients itself, in a closure, as LBFGS does.

        Raises UserError if its gradients would have to be unscaled, or averaged over processes.
        """
        name = type(self.optimizer).__name__
        if self.scaler is not None or distributed.size() > 1:
            raise UserError(
                f"the optimizer {name} computes gradients in a closure, so it cannot be used with "
                "several processes or --precision fp16; start one process, with --precision fp32 "
                "or bf16"
            )
        if self.num_batches > 1 and not self.is_done:
            print(f"--grad_accum: {name} computes gradients in a closure: each batch is an update")
        self.is_done = True

    def state_dict(self) -> dict[str, Any]:
        scaler = self.scaler.state_dict() if self.scaler else {}
        return {"sums": self.sums, "taken": self.taken, "scaler": scaler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin()
        if 0 < state["taken"] < self.num_batches:  # --grad_accum may have changed
            for number, total in enumerate(state["sums"]):  # new weights, at the end, have none
                if total is not None:
                    self.sums[number] = torch.empty_like(self.parameters[number]).copy_(total)
            self.taken = state["taken"]
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


class Updates:
    """The updates of all optimizers of a model, as a part of a checkpoint."""

    def __init__(self, updates: Iterable[Update]):
        self._updates = {id(update.optimizer): update for update in updates}

    def has(self, optimizer: torch.optim.Optimizer) -> bool:
        return id(optimizer) in self._updates

    def of(self, optimizer: torch.optim.Optimizer) -> Update:
        return self._updates[id(optimizer)]

    def state_dict(self) -> list[dict[str, Any]]:
        return [update.state_dict() for update in self._updates.values()]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for update, state in zip(self._updates.values(), states, strict=True):
            update.load_state_dict(state)

    def redistribute(self, processes: list[list[dict[str, Any]]]) -> None:
        """Restore from another number of processes: all start at a first batch, with one scale."""
        self.load_state_dict([{**state, "taken": 0} for state in processes[0]])
