"""Write losses to files: loss_log.txt for people, metrics.jsonl for programs."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from util.files import write_whole
from util.show.loggers.base import Logger, Losses, Outcome


class FileLogger(Logger):
    """Appends to loss_log.txt, with a dated header for each start, and to metrics.jsonl.

    A line of metrics.jsonl is {"epoch", "epoch_images", "total_images", "time_s", "data_s", "lr",
    "losses": {name: value}}; a value that is not finite is null. Lines beyond `total_images` are
    dropped: a resumed run writes them again. If the console fails, loss_log.txt gets its lines.
    """

    name = "loss_log.txt and metrics.jsonl"

    def __init__(self, folder: Path, total_images: int):
        self.log, self.metrics = folder / "loss_log.txt", folder / "metrics.jsonl"
        self.replaces_console = False
        if self.metrics.exists():
            rewind_metrics(self.metrics, total_images)
        self._append(self.log, f"================ Training Loss ({time.ctime()}) ================")

    def say(self, line: str) -> None:
        self.replaces_console = True
        self._append(self.log, line)

    def losses(self, losses: Losses) -> None:
        self._append(self.log, losses.line())
        values = {k: v if math.isfinite(v) else None for k, v in losses.values.items()}
        record = {
            "epoch": losses.epoch,
            "epoch_images": losses.epoch_images,
            "total_images": losses.total_images,
            "time_s": round(losses.time_s, 6),
            "data_s": round(losses.data_s, 6),
            "lr": losses.learning_rate,
            "losses": values,
        }
        self._append(self.metrics, json.dumps(record))

    def close(self, outcome: Outcome) -> None:
        if self.replaces_console:
            self._append(self.log, outcome.line)

    def _append(self, path: Path, line: str) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def rewind_metrics(path: Path, total_images: int) -> None:
    """Keep only the lines up to an image count; also drops lines cut off by a crash."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["total_images"] <= total_images:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_whole(path, "".join(kept))
