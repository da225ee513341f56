"""All runs at a glance: checkpoints/index.html, from a small file that each run keeps of itself.

A run writes NAME/web/summary.js, as a whole each time. The index lists the summaries that it found
when a run last began or ended. A browser leaves out those that are gone, and takes the folder's
name for the run's, so runs may be moved, renamed and deleted. Scripts can be loaded from file://.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dominate import tags
from dominate.util import raw

from util.files import write_whole
from util.run.best import VALIDATIONS
from util.run.clock import Clock
from util.show.html.layout import new_page, script_of

SUMMARY = Path("web") / "summary.js"
DEPTHS = ("*", "*/*", "*/*/*")  # a run's name may have folders in it
MOST_POINTS = 300  # of a curve


class Summary:
    """Keeps web/summary.js of a run, which says what the index shows of it.

    Losses and metrics come from the run's own log files.

    Args:
        folder: checkpoints_dir/name.
        options: by name.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], clock: Clock):
        self.folder = folder
        self.options = {name: str(value) for name, value in options.items()}
        self.runs = Path(options["checkpoints_dir"])
        self.epoch, self.last_epoch = clock.epoch, clock.last_epoch
        self.pictures: dict[int, dict[str, Any]] = {}
        self.write(clock.epoch)
        write_index(self.runs)

    def show(self, number: int, name: str, files: Mapping[str, str]) -> None:
        """The newest files, inside web/images by label, of one of the pictures always shown."""
        self.pictures[number] = {"name": name, "files": {k: quote(f) for k, f in files.items()}}

    def end(self, state: str) -> None:
        """The run is over, in a few words."""
        self.write(self.epoch, state)
        write_index(self.runs)

    def write(self, epoch: int, state: str = "running") -> None:
        """Write the file anew, as of this epoch."""
        self.epoch = epoch
        losses = [r for r in _records(self.folder / "metrics.jsonl") if "losses" in r]
        validations = _records(self.folder / VALIDATIONS)
        best = next((r for r in reversed(validations) if r.get("best")), None)
        content = {
            "state": state,
            "now": int(time.time()),
            "epoch": epoch,
            "epochs": self.last_epoch,
            "options": self.options,
            "losses": _curves(losses, lambda record: record["losses"]),
            "metrics": _curves(validations, _judged),
            "nothing": validations[-1]["nothing"] if validations else {},
            "metric": validations[-1]["judged_by"] if validations else "",
            "best": [best["epoch"], _judged(best)] if best else None,
            "pictures": [self.pictures[number] for number in sorted(self.pictures)],
        }
        write_whole(self.folder / SUMMARY, f"runs.add({json.dumps(content)});\n")


def write_index(checkpoints_dir: Path) -> None:
    """Write the page of all runs that have a summary."""
    found = [file for depth in DEPTHS for file in checkpoints_dir.glob(str(Path(depth) / SUMMARY))]
    names = sorted(file.parent.parent.relative_to(checkpoints_dir).as_posix() for file in found)
    page = new_page("Runs", "page.css", "runs.css")
    urls = json.dumps([quote(name, errors="surrogateescape") for name in names])
    page.add(
        tags.header(tags.h1("Runs"), tags.p(id="status")),
        tags.main(
            tags.noscript(tags.p("This page needs JavaScript.")),
            tags.section(tags.div(id="runs")),
            tags.section(id="compared", hidden=True),
        ),
        tags.script(raw(urls), id="names", type="application/json"),
        tags.script(raw(script_of("runs"))),
    )
    write_whole(checkpoints_dir / "index.html", page.render(pretty=False))


def _judged(record: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics of the weights that test.py would use."""
    return record.get("EMA") or record["last"]


def _records(file: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a crash has cut off, or another program's, is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            record = json.loads(line)
            found.append({**record, "epoch": int(record["epoch"])})
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _curves(records: Sequence[Mapping[str, Any]], values_of: Any) -> dict[str, list[list[float]]]:
    """Each value by name, as [epoch, value], at most MOST_POINTS of them, evenly."""
    step = max(1, math.ceil(len(records) / MOST_POINTS))
    curves: dict[str, list[list[float]]] = {}
    for record in [*records[:-1:step], *records[-1:]]:
        for name, value in values_of(record).items():
            if value is not None:
                curves.setdefault(name, []).append([record["epoch"], float(f"{value:.5g}")])
    return curves
