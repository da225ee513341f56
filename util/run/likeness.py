"""How alike the two sides of a run's training pairs are, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path

from util.files import write_whole

FILE = "likeness.json"
SOME_PAIRS = 50  # are looked at
ALIKE = 16.0  # levels of 255: pairs that differ by less show the same picture, changed in places


def save_likeness(folder: Path, difference: float) -> None:
    """Keep the mean difference (L1) of the pairs in levels of 255."""
    write_whole(folder / FILE, json.dumps({"L1": round(difference, 4)}) + "\n")


def likeness(folder: Path) -> float | None:
    """The mean difference (L1) of the pairs in levels of 255, or None where it is not known."""
    try:
        return float(json.loads((folder / FILE).read_text(encoding="utf-8"))["L1"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
