"""All runs at a glance: checkpoints/index.html, from a small file that each run keeps of itself.

A run writes NAME/web/summary.js, as a whole each time. Beside the index, index.js lists the runs
that were found when one last began or ended; of those without a summary (--no_html, older versions)
it holds what their files tell. An open page re-reads the list and the summaries. A browser leaves
out runs that are gone, and takes the folder's name for the run's, so runs may be moved, renamed and
deleted. Scripts can be loaded from file://.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dominate import tags

from util.files import write_whole
from util.run.best import VALIDATIONS
from util.run.clock import Clock
from util.run.labels import with_weights
from util.show.html.layout import page_text
from util.show.html.pages import newest_pictures

SUMMARY = Path("web") / "summary.js"
OPTIONS, METRICS = "train_options.json", "metrics.jsonl"
DEPTH = 3  # a run's name may have folders in it
MOST_POINTS = 300  # of a curve


class Summary:
    """Keeps web/summary.js of a run, which says what the index shows of it.

    Losses and metrics come from the run's own log files, and pictures from its page.

    Args:
        folder: checkpoints_dir/name.
        options: by name.

    Attributes:
        epoch: the one that the run has reached.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], clock: Clock):
        self.folder = folder
        self.options = {name: str(value) for name, value in options.items()}
        self.runs = Path(options["checkpoints_dir"])
        self.epoch, self.last_epoch = clock.epoch, clock.last_epoch
        self.write()
        write_index(self.runs)

    def end(self, state: str) -> None:
        """The run is over, in a few words."""
        self.write(state)
        write_index(self.runs)

    def write(self, state: str = "running") -> None:
        """Write the file anew."""
        files = _Files(self.folder)
        content = {
            "state": state,
            "now": int(time.time()),
            "epoch": self.epoch,
            "epochs": self.last_epoch,
            "options": self.options,
            "pictures": files.pictures(),
            **files.measured(),
        }
        write_whole(self.folder / SUMMARY, f"runs.add({json.dumps(content)});\n")


def write_index(checkpoints_dir: Path) -> None:
    """Write the page of all runs, and the list of those that are there now."""
    found = []
    for folder in _run_folders(checkpoints_dir):
        name = folder.relative_to(checkpoints_dir).as_posix()
        found.append(
            {
                "folder": quote(name, errors="surrogateescape"),
                "name": os.fsencode(name).decode("utf-8", "replace"),
                "hasPage": os.path.isfile(folder / "web" / "index.html"),
                "facts": None if os.path.isfile(folder / SUMMARY) else _Files(folder).facts(),
            }
        )
    page = page_text(
        "Runs",
        styles=["page.css", "runs.css"],
        scripts=["base", "runs"],
        without_script=["This page needs JavaScript."],
        sections=[
            tags.section(tags.div(id="runs")),
            tags.section(
                tags.header(tags.h2("Compared"), tags.span(id="measure")),
                tags.div(id="chart"),
                tags.div(id="keys", cls="legend"),
                tags.div(id="sides"),
                tags.div(tags.table(id="differences", cls="table"), cls="wide", tabindex="0"),
                id="compared",
                hidden=True,
            ),
        ],
    )
    write_whole(checkpoints_dir / "index.js", f"runs.list({time.time()},{json.dumps(found)});\n")
    write_whole(checkpoints_dir / "index.html", page)


def _run_folders(checkpoints_dir: Path) -> list[Path]:
    """The folders of runs, and those that nobody may look into."""
    found: list[Path] = []

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it was deleted just now
            found.append(Path(error.filename))

    for path, folders, files in os.walk(checkpoints_dir, onerror=note, followlinks=True):
        folder = Path(path)
        depth = len(folder.relative_to(checkpoints_dir).parts)
        folders[:] = [name for name in folders if name != "web"] if depth < DEPTH else []
        has_weights = any(fnmatch(name, "*_net_*.pth") for name in files)
        if depth and (OPTIONS in files or has_weights or os.path.isfile(folder / SUMMARY)):
            found.append(folder)
    return sorted(found)


class _Files:
    """What the files of a run tell.

    Attributes:
        troubles: a few words about each file that cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.troubles: list[str] = []

    def facts(self) -> dict[str, Any]:
        """Like a summary, without state and pictures; epoch and epochs are null if unknown."""
        options = self._options()
        measured = self.measured()
        curves = [*measured["losses"].values(), *measured["metrics"].values()]
        epochs = [epoch for curve in curves for epoch, _ in curve]
        labels = with_weights(self.folder)
        epochs += [int(label) for label in labels if label.isdecimal()]
        lengths = [options.get(name) for name in ("n_epochs", "n_epochs_decay")]
        are_known = all(isinstance(length, int) for length in lengths)
        return {
            "state": "",
            "now": self._changed_s(),
            "epoch": max(epochs, default=None),
            "epochs": sum(lengths) if are_known else None,
            "options": {str(name): str(value) for name, value in options.items()},
            "pictures": [],
            **measured,
        }

    def pictures(self) -> list[dict[str, Any]]:
        """Name and files, by label, of the newest pictures on the run's page."""
        try:
            newest = newest_pictures(self.folder / "web")
        except ValueError:
            self.troubles.append("web/data is damaged")
            return []
        return [{"name": name, "files": files} for name, files in newest]

    def measured(self) -> dict[str, Any]:
        """The curves of losses and metrics, the metrics of doing nothing, and the best ones."""
        losses = self._records(METRICS)
        validations = self._records(VALIDATIONS)
        newest = validations[-1] if validations else {}
        best = next((r for r in reversed(validations) if r.get("best")), None)
        return {
            "losses": _curves(losses, lambda record: _numbers(record.get("losses"))),
            "metrics": _curves(validations, _judged),
            "nothing": _numbers(newest.get("nothing")),
            "metric": str(newest.get("judged_by", "")),
            "best": [best["epoch"], _judged(best)] if best else None,
            "troubles": self.troubles,
        }

    def _options(self) -> dict[str, Any]:
        try:
            options = json.loads(self._text(OPTIONS) or "{}")
        except (ValueError, RecursionError):
            options = None
        if isinstance(options, dict):
            return options
        self.troubles.append(f"{OPTIONS} is damaged")
        return {}

    def _records(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log; one that a crash has cut off, or another program's, is left out."""
        found = []
        for line in self._text(name).splitlines():
            try:
                record = json.loads(line)
                found.append({**record, "epoch": int(record["epoch"])})
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
        return found

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            self.troubles.append(f"{name} cannot be read: {error.strerror}")
            return ""

    def _changed_s(self) -> int:
        """When the run last wrote a file."""
        written = [self.folder / name for name in (OPTIONS, METRICS, VALIDATIONS)]
        written += self.folder.glob("*_net_*.pth")
        times_s = [os.path.getmtime(file) for file in written if os.path.isfile(file)]
        return int(max(times_s, default=0))


def _judged(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the weights that test.py would use."""
    return _numbers(record.get("EMA") or record.get("last"))


def _numbers(values: object) -> dict[str, float]:
    """Those of the values by name that can be shown; none, if a file holds something else."""
    named = values.items() if isinstance(values, dict) else ()
    return {k: v for k, v in named if isinstance(v, int | float) and math.isfinite(v)}


def _curves(
    records: Sequence[Mapping[str, Any]], values_of: Callable[[Mapping[str, Any]], dict[str, float]]
) -> dict[str, list[list[float]]]:
    """Each value by name, as [epoch, value], at most MOST_POINTS of them, evenly."""
    step = max(1, math.ceil(len(records) / MOST_POINTS))
    curves: dict[str, list[list[float]]] = {}
    for record in [*records[:-1:step], *records[-1:]]:
        for name, value in values_of(record).items():
            curves.setdefault(name, []).append([record["epoch"], float(f"{value:.5g}")])
    return curves
