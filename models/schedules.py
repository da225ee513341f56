"""Learning rates by epoch: linear, step, cosine and plateau."""

from __future__ import annotations

import math
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from util.errors import unknown_choice

LR_POLICIES = ("linear", "step", "plateau", "cosine")


def get_scheduler(optimizer: Optimizer, opt: Namespace) -> LRScheduler:
    """`make_scheduler` with the options of the command line, starting in epoch opt.epoch_count."""
    return make_scheduler(
        optimizer,
        opt.lr_policy,
        n_epochs=opt.n_epochs,
        n_epochs_decay=opt.n_epochs_decay,
        lr_decay_iters=opt.lr_decay_iters,
        first_epoch=opt.epoch_count,
    )


def make_scheduler(
    optimizer: Optimizer,
    policy: str,
    *,
    n_epochs: int,
    n_epochs_decay: int,
    lr_decay_iters: int,
    first_epoch: int = 1,
) -> LRScheduler:
    """Create a schedule, to be stepped at the end of each epoch.

    Args:
        optimizer: its learning rates are the full rates; the schedule sets those of first_epoch.
        policy: the rate in epoch e = 1, 2, ... is the full rate times
            linear: 1 up to e = n_epochs, then 1 - (e - n_epochs) / (n_epochs_decay + 1), which is
            zero right after the last epoch, n_epochs + n_epochs_decay;
            step: 0.1 ** k with k = (e - 1) // lr_decay_iters;
            cosine: (1 + cos(pi * (e - 1) / (n_epochs + n_epochs_decay))) / 2, likewise zero right
            after the last epoch;
            plateau: 0.2 ** k, where k grows by one at the sixth `step(metric)` in a row whose
            metric is not 1% below the lowest so far. No formula gives k, so it begins at the full
            rate whatever first_epoch is.
        first_epoch: e at the start, for runs that continue another; the rates are those of a run
            that began with epoch 1.
    """

    def linear(epoch: int) -> float:
        return max(0.0, 1 - max(0, epoch - n_epochs) / (n_epochs_decay + 1))

    def step(epoch: int) -> float:
        return 0.1 ** ((epoch - 1) // lr_decay_iters)

    def cosine(epoch: int) -> float:
        done = min(1.0, (epoch - 1) / (n_epochs + n_epochs_decay))
        return (1 + math.cos(math.pi * done)) / 2

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    # A run that was cut right before the end of an epoch resumes with that, and is in order.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    if policy == "plateau":
        return Plateau(optimizer, mode="min", factor=0.2, threshold=0.01, patience=5)
    factors = {"linear": linear, "step": step, "cosine": cosine}
    if policy not in factors:
        raise unknown_choice("--lr_policy", policy, LR_POLICIES)
    return EpochSchedule(optimizer, factors[policy], first_epoch)


def start_at(epoch: int, schedulers: Iterable[LRScheduler]) -> None:
    """Set schedules to the beginning of an epoch, counted from 1."""
    for scheduler in schedulers:
        scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": epoch - 1})


def decay_between(epoch: int, last_epoch: int, schedulers: Iterable[LRScheduler]) -> None:
    """Lower the rates of an epoch to zero right after the last one; for 0, follow the policy.

    That is no part of a schedule's state: whoever resumes a run calls this again.
    """
    for scheduler in schedulers:
        if isinstance(scheduler, EpochSchedule):
            scheduler.decays = epoch, last_epoch
            scheduler.load_state_dict(scheduler.state_dict())


def watch(what: str, schedulers: Iterable[LRScheduler]) -> None:
    """Say what policy plateau watches: a loss or a metric, of which pictures."""
    for scheduler in schedulers:
        if isinstance(scheduler, Plateau):
            scheduler.watched = what


class Plateau(ReduceLROnPlateau):
    """A schedule that forgets the lowest value if a resumed run watches something else."""

    watched = "loss"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        ours = self.watched
        super().load_state_dict({"watched": "loss", **state_dict})  # older states have none
        if self.watched != ours:
            self.watched, self.best, self.num_bad_epochs = ours, math.inf, 0


class EpochSchedule(LRScheduler):
    """Full rate times factor(e) in epoch e = 1, 2, ...; `step()` moves to the next epoch.

    The full rate of a group of weights is its `initial_lr`, which must be set.
    A run that is resumed with another rate or length follows its new options, not the saved ones.
    Where these are the same, loading leaves the rates as they are, since a model may set them by
    itself. Load the optimizer's state first, since it also sets rates.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float], first_epoch: int = 1):
        self.factor = factor
        # The last epoch before the decay, and the last one of the run; 0: it follows `factor`.
        self.decays = 0, 0
        # The base class counts epochs from 0, and steps once in its constructor.
        super().__init__(optimizer, last_epoch=first_epoch - 2)

    def get_lr(self) -> list[float | Tensor]:
        epoch, left = self.last_epoch + 1, 1.0
        start, end = self.decays
        if start and epoch > start:
            left, epoch = max(0.0, 1 - (epoch - start) / (end - start + 1)), start
        return [full_rate * self.factor(epoch) * left for full_rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch, "rates": self._last_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch = state_dict["last_epoch"]
        self._last_lr = self.get_lr()
        if self._last_lr != state_dict.get("rates"):  # older states have none
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
                group["lr"] = rate
