"""Everything that happens around a model's training step, in one order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from util import distributed
from util.distributed import Share
from util.errors import UserError
from util.image_pool import ImagePool
from util.run.checkpoint import Stateful
from util.step.ema import EMA
from util.step.finite import FiniteGuard
from util.step.means import LossMeans, RunningMean
from util.step.update import Update, Updates


class Model(Protocol):
    """What a step needs of a model; see BaseModel."""

    optimizers: list[torch.optim.Optimizer]
    save_dir: Path

    def networks(self) -> Mapping[str, nn.Module]: ...

    def losses(self) -> Mapping[str, torch.Tensor]: ...

    @property
    def generator_loss(self) -> torch.Tensor: ...

    def get_image_paths(self) -> Sequence[str]: ...

    def memories(self) -> Mapping[str, Any]: ...


class Steps:
    """Surrounds each step of a model with everything that is in no paper:

        with steps.step(batch.share):
            model.optimize_parameters()

    The model calls `optimizer.step()` as usual. PyTorch's hooks prepare the gradients before that
    call, and update the averaged weights after it.

    Args:
        ema: the averages of the generators' weights.
        scalers: for each optimizer, the GradScaler of its gradients, or None (see `prepare`).
        num_batches: how many batches' gradients to average for an update (--grad_accum).
        tolerated: how many steps with gradients that are not finite to skip (--skip_nonfinite).
        watches_loss: whether to compute the generators' mean loss (--lr_policy plateau).

    Attributes:
        generator_loss: this mean, since it was last taken.
        losses: the means of all losses, since they were last taken.
        shared: the parts of a checkpoint that are the same in all processes.
        per_process: the parts that differ between processes.
    """

    def __init__(
        self,
        model: Model,
        ema: EMA,
        scalers: Sequence[torch.amp.GradScaler | None],
        *,
        num_batches: int = 1,
        tolerated: int = 0,
        watches_loss: bool = False,
    ):
        self.model, self.ema, self.watches_loss = model, ema, watches_loss
        self.networks = list(model.networks().values())
        pools = [memory for memory in model.memories().values() if isinstance(memory, ImagePool)]
        self.guard = FiniteGuard(self.networks, tolerated, model.save_dir, pools)
        self.updates = Updates(
            Update(optimizer, num_batches, scaler)
            for optimizer, scaler in zip(model.optimizers, scalers, strict=True)
        )
        self.generator_loss = RunningMean()
        self.losses = LossMeans()
        self.weight = 1.0  # of this process's gradients in the mean over all processes
        self.shared: dict[str, Stateful] = {"guard": self.guard, "averages": ema}
        self.per_process: dict[str, Stateful] = {
            "generator_loss": self.generator_loss,
            "losses": self.losses,
            "updates": self.updates,
        }
        for optimizer in model.optimizers:
            optimizer.register_step_pre_hook(self._before_update)
            optimizer.register_step_post_hook(self._after_update)

    @contextlib.contextmanager
    def step(self, share: Share) -> Iterator[None]:
        """Inside, the model takes one step, on this process's share of a batch."""
        self.weight = share.weight
        self.guard.begin(self.model.get_image_paths())
        try:
            yield
        except RuntimeError as error:
            if "double backward" not in str(error):
                raise
            raise UserError(
                "--compile: this model differentiates gradients again, as a gradient penalty does, "
                "which PyTorch's compiled networks cannot; leave out --compile"
            ) from error
        if distributed.size() > 1:  # each process saw other pictures
            distributed.average([*statistics(self.networks)])
        losses = self.model.losses()
        values = self.guard.end(losses)
        self.ema.take_statistics()
        if not self.guard.step_is_bad:
            self.losses.add(list(losses), values * share.weight, share.num_all)
            if self.watches_loss:
                self.generator_loss.add(self.model.generator_loss * share.weight, share.num_all)

    def check_optimizers(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Raise UserError if the model has others than at the start."""
        if made := [one for one in optimizers if not self.updates.has(one)]:
            raise UserError(
                f"the model has made another optimizer while training, {type(made[0]).__name__}, "
                "which no checkpoint would hold; make it in the model's __init__, and freeze "
                "weights by set_requires_grad"
            )

    def _before_update(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Weigh gradients, add them up, average them over processes, unscale them, check them.

        To skip an update, clear its gradients: optimizers skip weights without a gradient.
        """
        update = self.updates.of(optimizer)
        if any(callable(value) for value in (*args[1:], *named.values())):
            update.check_closure()
            return
        update.weigh(self.weight)
        if not (update.add_up() and update.unscale() and self.guard.accepts(update.gradients())):
            update.leave_out()

    def _after_update(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if self.updates.of(optimizer).is_done:
            self.ema.update(optimizer)


def statistics(networks: Iterable[nn.Module]) -> Iterator[torch.Tensor]:
    """Yield all running means and variances."""
    for net in networks:
        for name, buffer in net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                yield buffer
