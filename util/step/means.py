"""Means over the images of all processes whose sums stay on the device until they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from util import distributed


class RunningMean:
    """The mean of a scalar tensor over the images of all processes.

    The sum stays on its device, so only `take` waits for it.
    """

    def __init__(self) -> None:
        self.total: torch.Tensor | float = 0.0
        self.num_images = 0

    def add(self, value: torch.Tensor, num_images: int) -> None:
        self.total = self.total + value.detach() * num_images
        self.num_images += num_images

    def take(self) -> float:
        """The mean since the last call; 0 if nothing was added."""
        total, num_images = distributed.add_up(float(self.total), self.num_images)
        mean = total / max(1, num_images)
        self.total, self.num_images = 0.0, 0
        return mean

    def state_dict(self) -> dict[str, float]:
        return {"total": float(self.total), "num_images": self.num_images}

    def load_state_dict(self, state: dict) -> None:
        self.total, self.num_images = state["total"], state["num_images"]

    def redistribute(self, processes: list[dict]) -> None:
        """Restore from another number of processes: each takes the mean of their totals."""
        count = len(processes)
        self.total = sum(state["total"] for state in processes) / count
        self.num_images = sum(state["num_images"] for state in processes) // count


class LossMeans:
    """The mean of each loss since they were last taken, like RunningMean for all of them at once.

    If the names change, as a model may switch a loss off, those before are forgotten.
    """

    def __init__(self) -> None:
        self._begin([])

    def _begin(self, names: Sequence[str]) -> None:
        self.names, self.totals, self.num_images = list(names), torch.zeros(len(names)), 0

    def add(self, names: Sequence[str], values: torch.Tensor, num_images: int) -> None:
        """Add the losses of a step, one tensor (number of names), over some images."""
        if list(names) != self.names:
            self._begin(names)
        totals = self.totals.to(values.device, non_blocking=True)
        self.totals = totals + values.detach() * num_images
        self.num_images += num_images

    def take(self) -> dict[str, float]:
        """The means since the last call, by name; waits for the device."""
        *totals, num_images = distributed.add_up(*self.totals.tolist(), self.num_images)
        names = self.names
        self._begin(names)
        return {n: total / max(1, num_images) for n, total in zip(names, totals, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        totals = self.totals.cpu()
        return {"names": self.names, "totals": totals, "num_images": self.num_images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin(state["names"])
        self.totals, self.num_images = self.totals + state["totals"], state["num_images"]

    def redistribute(self, processes: list[dict[str, Any]]) -> None:
        """Restore from another number of processes: each takes the mean of their totals."""
        count = len(processes)
        totals = torch.stack([state["totals"] for state in processes]).sum(0) / count
        num_images = sum(state["num_images"] for state in processes) // count
        names = processes[0]["names"]
        self.load_state_dict({"names": names, "totals": totals, "num_images": num_images})
