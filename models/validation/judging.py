"""What happens while a run trains so that people see how good it gets."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any

from models.base_model import BaseModel
from models.schedules import decay_between
from models.validation.examples import Examples
from models.validation.generators import CannotRun, trained_on
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
        self.computes_visuals = True

    def begin(self) -> None:
        """Look at the validation pictures, before anything is written or deleted.

        A model that turns out not to run on them is not validated. Raises UserError if an option
        needs that, or if a picture cannot be loaded.
        """
        if self.validation is None:
            return
        try:
            lines = self.validation.begin()
        except CannotRun as error:
            if flag := needs_validation(self.opt):
                raise type(error)(f"{flag} needs validation, but {error}") from error
            lines, self.validation = [f"no validation: {error}"], None
        for line in lines:
            print(line, flush=True)

    def show(self, clock: Clock, log: Loggers, *, to_all: bool = False) -> None:
        """Pass pictures to the loggers that want them now, or to all."""
        examples, batch = self.examples(), None
        if self.model.get_image_paths():  # the model has taken a step since the start
            batch = Example((), self._last_batch(log))
            examples = examples or [batch]
        if examples:
            log.images(clock, examples, batch, to_all=to_all)

    def _last_batch(self, log: Loggers) -> dict[str, Any]:
        """What the model shows of its last step."""
        if self.computes_visuals:
            try:
                return trained_on(self.model, self.opt.seed)
            except CannotRun as error:
                log.say(f"the last batch is shown without compute_visuals: {error}")
                self.computes_visuals = False
        return self.model.get_current_visuals()

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
        found = cost(self.best.metric, value)
        return found if last_epoch == epoch and math.isfinite(found) else None


def needs_validation(opt: argparse.Namespace) -> str:
    """The option that asks for what only a validation can tell; '' if there is none."""
    if opt.lr_policy == "plateau" and opt.plateau_on == "validation":
        return "--plateau_on validation"
    if opt.patience:
        return "--patience"
    return f"--best_metric {opt.best_metric}" if opt.best_metric != "auto" else ""
