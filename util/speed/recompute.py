"""Less memory for more time (--grad_checkpoint): a network forgets what its layers computed.

For the gradients it computes it anew, unit by unit. Source: arXiv:1604.06174.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Unit = list[nn.Module]


def recompute(net: nn.Module) -> None:
    """Let a network keep only the input of each unit of layers; its results stay the same bits.

    A unit is a run of layers in an nn.Sequential, between those that contain others.
    """
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            # The class keeps its method; only this module gets another.
            module.forward = partial(run, units_of(module))  # type: ignore[method-assign]


def units_of(sequential: nn.Sequential) -> list[Unit]:
    """Its layers in order, in groups of which those of two and more are to be recomputed.

    What writes into its input stands alone at the start of a unit: it must not run again on that.
    """
    units: list[Unit] = [[]]
    for layer in sequential:
        alone = any(layer.children()) or (not units[-1] and getattr(layer, "inplace", False))
        if alone:
            units += [[layer], []]
        else:
            units[-1].append(layer)
    return [unit for unit in units if unit]


def run(units: list[Unit], x: torch.Tensor) -> torch.Tensor:
    for unit in units:
        if len(unit) > 1 and torch.is_grad_enabled():
            # Only where needed: torch.compile leaves out what has contexts of its own.
            around: dict[str, Any] = {}
            if keeps_statistics(unit):
                around["context_fn"] = partial(contexts, unit)
            x = checkpoint(partial(chain, unit), x, use_reentrant=False, **around)
        else:
            x = chain(unit, x)
    return x


def chain(unit: Unit, x: torch.Tensor) -> torch.Tensor:
    for layer in unit:
        x = layer(x)
    return x


def keeps_statistics(layers: Iterable[nn.Module]) -> bool:
    return any(getattr(layer, "track_running_stats", False) for layer in layers)


Context = contextlib.AbstractContextManager[None]


def contexts(unit: Unit) -> tuple[Context, Context]:
    """What surrounds the first computation of a unit, and the second."""
    return contextlib.nullcontext(), statistics_kept(unit)


@contextlib.contextmanager
def statistics_kept(unit: Unit) -> Iterator[None]:
    """Inside, batch norms leave their running statistics as they are: these saw the batch once.

    They have to do the same operations all the same, since checkpoint() compares.
    """
    norms: list[Any] = [x for x in unit if getattr(x, "track_running_stats", False)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
