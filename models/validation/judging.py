"""What happens while a run trains so that people see how good it gets."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

from models.base_model import BaseModel
from models.schedules import decay_between
from models.validation.examples import Examples
from models.validation.generators import trained_on
from models.validation.validation import Validation
from util.metrics.scores import cost
from util.run.best import Best
from util.run.clock import Clock
from util.show.loggers import Loggers
from util.show.loggers.base import Example
from util.util import counted


class Judging:
    """Shows the same pictures throughout a run, validates, and ends a run that is stuck.

    Args:
        validation: None if there is nothing to validate on.
        best: which validation is the best so far; a part of checkpoints.
    """

    def __init__(
        self,
        model: BaseModel,
        opt: argparse.Namespace,
        validation: Validation | None,
        examples: Examples,
        best: Best,
    ):
        self.model, self.opt = model, opt
        self.validation, self.examples, self.best = validation, examples, best

    def begin(self) -> None:
        """Look at the validation pictures, before anything is written or deleted.

        Raises UserError if one cannot be loaded.
        """
        if self.validation is not None and (line := self.validation.begin()):
            print(line, flush=True)

    def show(self, clock: Clock, log: Loggers, *, to_all: bool = False) -> None:
        """Pass pictures to the loggers that want them now, or to all."""
        examples, batch = self.examples(), None
        if self.model.get_image_paths():  # the model has taken a step since the start
            batch = Example((), trained_on(self.model, self.opt.seed))
            examples = examples or [batch]
        if examples:
            log.images(clock, examples, batch, to_all=to_all)

    def validate(self, clock: Clock, log: Loggers) -> bool:
        """Validate, if that is due; returns whether this is the best validation so far.

        A run that is stuck then ends sooner.
        """
        if self.validation is None or not self.validation.due(clock):
            return False
        scores = self.validation.run(clock)
        is_best = self.best.add(scores)
        log.validation(replace(scores, judged_by=self.best.metric, is_best=is_best))
        if self.best.is_out_of_patience and not clock.stuck_at:
            self._end_sooner(clock, log)
        if is_best or clock.epoch == clock.last_epoch:
            self.show(clock, log, to_all=True)
        return is_best

    def _end_sooner(self, clock: Clock, log: Loggers) -> None:
        """Stop after this epoch, or lower the learning rate to zero from now on."""
        stops = self.opt.when_stuck == "stop" or self.opt.n_epochs_decay == 0
        end = clock.epoch + (0 if stops else self.opt.n_epochs_decay)
        if end >= clock.last_epoch:
            return
        clock.end_after(end)
        if not stops:
            decay_between(clock.epoch, end, self.model.schedulers)
        what = "stops" if stops else f"lowers the learning rate to zero, until epoch {end}"
        number = counted(self.best.patience, "validation")
        log.say(f"no better {self.best.metric} in {number}: {what}")

    def plateau_metric(self, epoch: int, loss: float) -> float | None:
        """What --lr_policy plateau watches, of this epoch; None if there is nothing new."""
        if self.opt.plateau_on == "loss":
            return loss
        last_epoch, value = self.best.history[-1] if self.best.history else (0, math.nan)
        is_new = last_epoch == epoch and math.isfinite(value)
        return cost(self.best.metric, value) if is_new else None
