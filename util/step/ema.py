"""Networks with averaged weights (--ema), which often perform better than the last weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA:
    """Exponential moving averages of the generators' weights; buffers are copies of the latest.

    Generators are the networks whose names begin with G; a decay of 0 averages none. If several
    optimizers hold a network's weights, the last one counts. Its first update copies the weights;
    after each later one, average <- decay * average + (1 - decay) * weights.
    Source: arXiv:1806.04498.

    Attributes:
        networks: the averaged ones, named after their source with the suffix "_ema".
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizers: Iterable[torch.optim.Optimizer],
        decay: float,
    ):
        self.sources = {n: net for n, net in networks.items() if decay and n.startswith("G")}
        self.networks = {averaged(name): deepcopy(net) for name, net in self.sources.items()}
        self.blend = get_ema_multi_avg_fn(decay)
        # Counted here: PyTorch's AveragedModel copies its count to the device, and waits for it.
        self.counts = dict.fromkeys(self.sources, 0)
        self._last: dict[str, torch.optim.Optimizer] = {}
        for optimizer in optimizers:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            for name, source in self.sources.items():
                if any(id(p) in own for p in source.parameters()):
                    self._last[name] = optimizer

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the averages after an optimizer of the model has updated the weights."""
        for name, last in self._last.items():
            if last is optimizer:
                own = [p.detach() for p in self.networks[averaged(name)].parameters()]
                newest = [p.detach() for p in self.sources[name].parameters()]
                if self.counts[name] == 0:
                    torch._foreach_copy_(own, newest)
                else:
                    self.blend(own, newest, self.counts[name])
                self.counts[name] += 1

    def take_statistics(self) -> None:
        """Copy the buffers at the end of a step, when processes have averaged their statistics."""
        for name, source in self.sources.items():
            own = self.networks[averaged(name)].buffers()
            for buffer, newest in zip(own, source.buffers(), strict=True):
                buffer.copy_(newest)

    def state_dict(self) -> dict[str, int]:
        """How often each average was updated; the weights are in files like other networks'."""
        return dict(self.counts)

    def load_state_dict(self, state: dict[str, int]) -> None:
        for name in self.counts:
            self.counts[name] = state.get(name, 0)


def averaged(name: str) -> str:
    """The name of a network's average, also in file names."""
    return f"{name}_ema"
