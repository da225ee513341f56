"""Trade time for memory (--grad_checkpoint): a network discards its intermediate results.

The backward pass recomputes them, unit by unit. Source: arXiv:1604.06174.
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
    """Make a network keep only the input of each unit of layers; its results keep every bit.

    A unit is a group of consecutive layers in an nn.Sequential, none of which contains others.
    """
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            # Replaces the method of this module only, not of the class.
            module.forward = partial(run, units_of(module))  # type: ignore[method-assign]


def units_of(sequential: nn.Sequential) -> list[Unit]:
    """The layers in order, grouped into units; only units of two or more layers are recomputed.

    An in-place layer cannot begin a unit, but stands alone: it has already changed the input on
    which it would run again.
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
            # Only if needed: torch.compile skips checkpoints with their own contexts.
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
    """The contexts for the first computation of a unit and for its recomputation."""
    return contextlib.nullcontext(), statistics_kept(unit)


@contextlib.contextmanager
def statistics_kept(unit: Unit) -> Iterator[None]:
    """Inside, batch norms keep their running statistics, which have already seen the batch.

    They must still do the same operations as before, because checkpoint() compares them.
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
