"""Write losses and metrics to files: loss_log.txt for people, *.jsonl for programs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from util.files import write_whole
from util.metrics.scores import Scores
from util.run.best import VALIDATIONS
from util.show.loggers.base import Logger, Losses, Outcome, saved_line


class FileLogger(Logger):
    """Appends to loss_log.txt, with a dated header for each start, and to metrics.jsonl.

    A line of metrics.jsonl is {"epoch", "epoch_images", "total_images", "time_s", "data_s", "lr",
    "losses": {name: value}}, and one of validation.jsonl {"epoch", "total_images", "judged_by",
    "best", "nothing": {metric: value}, "last": {...}} and, with --ema, "EMA"; a value that is not
    finite is null. Lines beyond the start are dropped: a resumed run writes them again. If the
    console fails, loss_log.txt gets its lines.

    Args:
        total_images: where the run starts.
        validated: the last epoch of which it remembers a validation.
    """

    name = "loss_log.txt and metrics.jsonl"

    def __init__(self, folder: Path, total_images: int, validated: int = 0):
        self.log, self.metrics = folder / "loss_log.txt", folder / "metrics.jsonl"
        self.validations = folder / VALIDATIONS
        self.replaces_console = False
        rewind(self.metrics, "total_images", total_images)
        rewind(self.validations, "epoch", validated)
        self._append(self.log, f"================ Training Loss ({time.ctime()}) ================")

    def say(self, line: str) -> None:
        self.replaces_console = True
        self._append(self.log, line)

    def saved(self, labels: Sequence[str], total_images: int) -> None:
        if self.replaces_console:
            self._append(self.log, saved_line(labels, total_images))

    def losses(self, losses: Losses) -> None:
        self._append(self.log, losses.line())
        record = {
            "epoch": losses.epoch,
            "epoch_images": losses.epoch_images,
            "total_images": losses.total_images,
            "time_s": round(losses.time_s, 6),
            "data_s": round(losses.data_s, 6),
            "lr": losses.learning_rate,
            "losses": finite(losses.values),
        }
        self._append(self.metrics, json.dumps(record))

    def validation(self, scores: Scores) -> None:
        self._append(self.log, scores.line())
        record: dict[str, Any] = {"epoch": scores.epoch, "total_images": scores.total_images}
        record |= {"judged_by": scores.judged_by, "best": scores.is_best}
        record |= {"nothing": finite(scores.nothing)}
        record |= {weights: finite(figures) for weights, figures in scores.by_weights.items()}
        self._append(self.validations, json.dumps(record))

    def close(self, outcome: Outcome) -> None:
        if self.replaces_console:
            self._append(self.log, outcome.line)

    def _append(self, path: Path, line: str) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def rewind(path: Path, key: str, most: int) -> None:
    """Keep only the lines up to a count; also drops lines cut off by a crash."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)[key] <= most:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_whole(path, "".join(kept))
