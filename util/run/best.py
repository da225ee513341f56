"""The best validation of a run so far, and for how many validations there was none better."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from util.metrics.scores import Scores, cost, gain, mean_of

VALIDATIONS = "validation.jsonl"  # in a run's folder; FileLogger writes it


class Best:
    """Follows one metric over the validations of a run; a part of its checkpoints.

    So a resumed run chooses the same checkpoint as an uninterrupted one.

    Args:
        metric: its name; '' if nothing is measured.
        min_delta: by how much a validation must be better than the best to replace it.
        patience: how many validations without a better one there may be; 0: any number.
        pictures: tells whether a resumed run validates on the same pictures, in the same way.

    Attributes:
        history: [epoch, value] of each validation.
        best: that of the best one; [] if there is none.
        num_since: the number of validations since then.
        validated: the last epoch with a validation, by whatever metric.
    """

    def __init__(self, metric: str, min_delta: float = 0.0, patience: int = 0, pictures: str = ""):
        self.metric, self.min_delta, self.patience = metric, min_delta, patience
        self.pictures = pictures
        self.history: list[list[float]] = []
        self.best: list[float] = []
        self.num_since = self.validated = 0

    def add(self, scores: Scores) -> bool:
        """Take a validation into account; returns whether it is the best so far."""
        return self._take([scores.epoch, mean_of(self.metric, scores.figures)])

    def _take(self, point: list[float]) -> bool:
        self.history.append(point)
        self.validated, value = int(point[0]), point[1]
        is_better = not self.best or gain(self.metric, value, self.best[1]) > self.min_delta
        # No picture is large enough for the metric, or the network gives no numbers any more.
        if not math.isfinite(cost(self.metric, value)):
            return False
        self.best, self.num_since = (point, 0) if is_better else (self.best, self.num_since + 1)
        return is_better

    def forget_from(self, epoch: int) -> None:
        """Forget the validations of this epoch and those after it, which will be trained again."""
        kept = [point for point in self.history if point[0] < epoch]
        validated = min(self.validated, epoch - 1)
        self.history, self.best, self.num_since = [], [], 0
        for point in kept:
            self._take(point)
        self.validated = validated

    @property
    def is_out_of_patience(self) -> bool:
        """Whether there have been too many validations without a better one."""
        return 0 < self.patience <= self.num_since

    def in_words(self) -> str:
        """'best SSIM 0.931 at epoch 12, last 0.927 at epoch 20'; '' without a validation."""
        if not self.best:
            return ""
        (epoch, value), (last_epoch, last) = self.best, self.history[-1]
        line = f"best {self.metric} {value:.4g} at epoch {epoch:g}"
        return line + (f", last {last:.4g} at epoch {last_epoch:g}" if last_epoch != epoch else "")

    def state_dict(self) -> dict[str, Any]:
        names = ("metric", "pictures", "history", "best", "num_since", "validated")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict()`; with another metric or other pictures, the best is sought anew.

        A run without validation keeps what it was.
        """
        self.validated = state["validated"]
        if not self.metric:
            self.metric, self.pictures = state["metric"], state["pictures"]
        if (state["metric"], state["pictures"]) != (self.metric, self.pictures):
            if state["history"]:
                print("validates on other pictures, or in another way: the best is sought anew")
            return
        for name in ("history", "best", "num_since"):
            setattr(self, name, state[name])


def best_and_latest(folder: Path) -> str:
    """How a run's checkpoints `best` and `latest` differ, in a line; '' if they do not, or if that
    is not known.
    """
    if not (folder / VALIDATIONS).is_file() or not any(folder.glob("best_net_*.pth")):
        return ""
    try:
        lines = (folder / VALIDATIONS).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        last = records[-1]
        best = next(record for record in reversed(records) if record["best"])
        metric = best["judged_by"]
        figures = [mean_of(metric, r.get("EMA", r["last"])) for r in (best, last)]
    except (ValueError, LookupError, TypeError, StopIteration):  # cut off by a crash, or edited
        return ""
    if best["epoch"] == last["epoch"]:
        return ""
    at_best, at_last = figures
    return (
        f"best by {metric}: checkpoint best is of epoch {best['epoch']}, with {at_best:.4g} on the "
        f"validation pictures; latest had {at_last:.4g} at epoch {last['epoch']}"
    )
