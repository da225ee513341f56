"""Networks with averaged weights (--ema), which often perform better than the last weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


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
        update = get_ema_multi_avg_fn(decay)
        self.models = {n: AveragedModel(s, multi_avg_fn=update) for n, s in self.sources.items()}
        self.networks = {averaged(name): model.module for name, model in self.models.items()}
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
                self.models[name].update_parameters(self.sources[name])

    def take_statistics(self) -> None:
        """Copy the buffers at the end of a step, when processes have averaged their statistics."""
        for name, model in self.models.items():
            own = zip(model.module.buffers(), self.sources[name].buffers(), strict=True)
            for buffer, newest in own:
                buffer.copy_(newest)

    def state_dict(self) -> dict[str, int]:
        """How often each average was updated; the weights are in files like other networks'."""
        return {name: int(model.n_averaged) for name, model in self.models.items()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        for name, model in self.models.items():
            model.n_averaged.fill_(state.get(name, 0))


def averaged(name: str) -> str:
    """The name of a network's average, also in file names."""
    return f"{name}_ema"
