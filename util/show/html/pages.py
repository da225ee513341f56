"""The training page of train.py and the results page of test.py, opened from disk in any browser.

A page is a folder. `index.html` holds layout, style and script, and is written once, at the start.
`images/` holds the pictures, which the caller writes. `data/0001.js`, `0002.js`, ... hold the run's
data, one call per line, such as `page.loss(...);`. Lines are only ever appended, so an update costs
the same at epoch 1,000 as at epoch 1. Scripts, unlike fetch(), can be loaded from file://. A full
file ends in `page.next();` and the data continues in the next one, so that an open page only
re-reads the last file. Beside them, `data/alive.js` says when the run was last known to be alive.

Pass texts and file names as plain text; this module escapes them.
"""

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from dominate import tags

from util.metrics.scores import LOWER_IS_BETTER, Figures, Scores
from util.show.html.layout import page_text

DATA_FILE_BYTES = 256 * 1024  # the most that an open page re-reads every few seconds

# One module, joined in this order.
_SCRIPT = (
    *("base", "reader", "status", "metrics", "compare", "strip", "pictures", "results"),
    *("zoom", "viewer", "plot", "charts", "curves"),
)
_NEXT = b"page.next();\n"


class TrainingPage:
    """Shows a training run: pictures from epoch to epoch, metrics, curves, options, progress.

    If the folder already holds a page, that page is continued, even after a crash; see `rewind`.

    Args:
        folder: holds the page; created if missing.
        winsize_px: least width at which pictures are shown; larger ones grow with the window.
        captions: what to show for labels, such as {"real_A": "input"}; other labels are shown as
            they are. Pictures keep the order in which they are given.
        compare: pairs of labels, such as ("real_A", "fake_B"), for the before/after slider.
        options: the resolved options, any number of lines.
        resume_hint: the command that resumes the run.
        last_epoch: the last epoch of the whole run.
        images_per_epoch: how many images each of them trains on.
        warning: shown at the top; empty for none.

    Every method raises OSError if writing fails.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        winsize_px: int,
        captions: dict[str, str],
        compare: list[tuple[str, str]],
        options: str,
        resume_hint: str,
        last_epoch: int,
        images_per_epoch: int,
        warning: str = "",
    ) -> None:
        self._data = _Data(folder / "data")
        self._alive = folder / "data" / "alive.js"
        self.alive()
        head = [
            tags.progress(id="progress", aria_label="Progress", hidden=True),
            tags.div(
                tags.pre(resume_hint, id="command", tabindex="0"),
                tags.button("Copy", id="copy", type="button"),
                id="resume",
                hidden=True,
            ),
            tags.details(tags.summary("Options"), tags.pre(options, tabindex="0")),
        ]
        judged = tags.div(
            _heading("Validation"),
            tags.div(tags.table(id="scores", cls="table"), cls="wide", tabindex="0"),
            tags.div(id="metrics"),
            id="judged",
            hidden=True,
        )
        curves = [
            judged,
            tags.div(_heading("Losses"), id="losses", cls="chart", hidden=True),
            tags.div(_heading("Learning rate"), id="rates", cls="chart", hidden=True),
        ]
        trained = tags.details(
            tags.summary("Last batch"), tags.div(id="batch"), id="trained", hidden=True
        )
        none = tags.p("No pictures yet.", id="none", hidden=True)
        sections = [
            tags.section(none, _rows("Show more"), trained, id="latest"),
            tags.section(curves, id="curves"),
        ]
        if warning:
            sections.insert(0, tags.p(warning, id="warning"))
        settings = {
            "captions": captions,
            "compare": compare,
            "epochs": last_epoch,
            "imagesPerEpoch": images_per_epoch,
        }
        _write_index(folder, title, winsize_px, settings, head, sections)

    def alive(self) -> None:
        """Says that the run is alive; without this, pages take it for killed after 100 seconds."""
        _replace(self._alive, f"page.alive({_now()});\n".encode("ascii"))

    def add_pictures(
        self,
        *,
        epoch: int,
        total_images: int,
        files: dict[str, str],
        number: int = 1,
        name: str = "",
    ) -> None:
        """Shows pictures for an epoch; they replace its previous ones of the same number.

        Args:
            total_images: images trained on since the run began.
            files: file names inside images/ by label, with "/" between folders.
            number: which of the pictures that are always shown, from 1.
            name: what it is called.
        """
        self._data.call("pictures", _now(), epoch, total_images, _urls(files), number, name)

    def show_batch(self, files: dict[str, str]) -> None:
        """Shows what was just trained on, in a place that is folded up."""
        self._data.call("batch", _now(), _urls(files))

    def shrink(self, files: list[str]) -> None:
        """From now on, these pictures are in files of the same name that end in .jpg."""
        self._data.call("shrunk", [quote(file) for file in files])

    def add_validation(self, scores: Scores) -> None:
        """Shows the metrics of a validation; they replace those of its epoch."""
        by_weights = {name: _numbers(figures) for name, figures in scores.by_weights.items()}
        found = scores.epoch, scores.total_images, by_weights, _numbers(scores.nothing)
        self._data.call("validation", _now(), *found, scores.is_best)

    def judge_pictures(self, epoch: int, found: Mapping[int, tuple[Figures, Figures]]) -> None:
        """Shows what the validation of this epoch found in pictures that are always shown.

        Args:
            found: by number of the picture, its metrics and those of its untouched input.
        """
        self._data.call(
            "judged", epoch, {number: list(map(_numbers, each)) for number, each in found.items()}
        )

    def add_losses(
        self, *, epoch: int, total_images: int, losses: dict[str, float], lr: float | None
    ) -> None:
        """Adds a point to the curves. A value that is not finite leaves a gap."""
        if list(losses) != self._data.loss_names:
            self._data.call("losses", list(losses))
            self._data.loss_names = list(losses)
        values = [_number(value) for value in losses.values()]
        self._data.call("loss", _now(), epoch, total_images, _number(lr), values)

    def rewind(self, total_images: int) -> None:
        """Drops everything beyond this point; a run resumed there will show it again."""
        self._data.call("rewind", total_images)

    def end(self, message: str) -> None:
        """Says how the run ended. Open pages stop polling for updates."""
        self._data.call("end", _now(), message)


class ResultsPage:
    """Shows the results of a test run, with search by name and sorting by name or metric.

    Replaces any page already in the folder. The arguments are those of `TrainingPage`.

    Args:
        metric: of those that `add_result` is given of single pictures, the one to show first.
        order: what the order of `add_result` means, such as "worst first", to begin with it;
            without, the page begins with results sorted by name.
        thing: what a result is called.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        winsize_px: int,
        captions: dict[str, str],
        compare: list[tuple[str, str]],
        options: str,
        metric: str = "",
        order: str = "",
        thing: str = "result",
    ) -> None:
        for old in (folder / "data").glob("*.js"):
            old.unlink()
        self._data = _Data(folder / "data")
        orders = [tags.option(order, value='["told"]')] if order else []
        orders.append(tags.option("name", value=""))
        tools = tags.form(
            tags.label("Metric", tags.select(id="metric"), hidden=True),
            tags.label("Find", tags.input_(id="find", type="search", placeholder="file name")),
            tags.label("Show", tags.select(id="kind"), hidden=True),
            tags.label("Sort by", tags.select(*orders, id="sort")),
            tags.button(id="direction", type="button"),
            tags.output(id="found"),
            id="tools",
        )
        about = [
            tags.ul(id="about", cls="notes", hidden=True),
            tags.details(tags.summary("Options"), tags.pre(options, tabindex="0")),
        ]
        none = tags.p(f"No {thing} has this name.", id="none", hidden=True)
        means = tags.div(tags.table(id="scores", cls="table"), cls="wide", tabindex="0")
        results = tags.section(means, tools, none, _rows("Show more"))
        settings: dict[str, Any] = {"captions": captions, "compare": compare, "thing": thing}
        if metric:
            settings["metric"] = metric
        _write_index(folder, title, winsize_px, settings, about, [results])

    def add_result(
        self,
        *,
        name: str,
        source: str,
        files: dict[str, str],
        metrics: Figures | None,
        nothing: Figures | None = None,
        measured: Mapping[str, Figures] | None = None,
        others: Sequence[str] = (),
    ) -> None:
        """Adds the pictures of one input.

        Args:
            name: shown, searched and sorted by; a result with the same name is replaced.
            source: the input file.
            files: file names inside images/ by label, with "/" between folders.
            metrics: values by name; a value that is not finite counts as missing.
            nothing: those of the untouched input.
            measured: the metrics of several of its pictures, by label, instead of `metrics`. The
                page shows the one that people choose below each picture.
            others: names of further files inside images/, which the page does not show.
        """
        if nothing:
            self._data.call("nothing", name, _numbers(nothing))
        if measured:
            by_label = {label: _numbers(figures) for label, figures in measured.items()}
            self._data.call("measured", name, by_label)
        figures = _numbers(metrics or {})
        urls = _urls({name: name for name in others})
        self._data.call("result", _now(), name, source, _urls(files), figures, *urls.values())

    def add_notes(self, name: str, notes: Sequence[tuple[str, str]]) -> None:
        """Shows notes with a result, or where `name` is empty, at the top.

        Args:
            notes: each with its kind, for people to choose results by, or nothing.
        """
        self._data.call("notes", name, notes)

    def end(self, message: str = "") -> None:
        """Says that the results are complete, or how else the run ended."""
        self._data.call("end", _now(), message)


def listed_pictures(folder: Path) -> list[Path]:
    """The files of the results page in a folder; none if there is no page.

    Raises ValueError if the page's data is damaged, or names anything but files in images/.
    """
    urls: list[str] = []
    for function, values in _calls(folder):
        match function, json.loads(values):
            case "result", [_, str(), str(), dict(of_result), _, *others]:
                urls += map(str, [*of_result.values(), *others])
            case "result", _:
                raise ValueError(f"{folder / 'data'} has a result of another form")
    files = [unquote(url, errors="surrogateescape") for url in dict.fromkeys(urls)]
    for file in files:
        if file != os.path.basename(file) or file in ("", ".", "..") or "\0" in file:
            raise ValueError(f"{folder / 'data'} names {file!r}, which is no file of a result")
    return [folder / "images" / file for file in files]


def newest_pictures(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """The newest pictures that the training page in a folder shows; none if there is no page.

    Returns the name of each, and its files by label, as addresses inside images/. Raises ValueError
    if the page's data is damaged.
    """
    shown: dict[tuple[int, int], tuple[int, str, dict[str, str]]] = {}  # by epoch and number
    shrunk: set[str] = set()
    for function, values in _calls(folder):
        if function not in ("pictures", "shrunk", "rewind"):  # most are losses
            continue
        match function, json.loads(values):
            case "pictures", [_, int(epoch), int(images), dict(files), int(number), str(name)]:
                shown[epoch, number] = images, name, files
                shrunk.difference_update(files.values())
            case "shrunk", [list(files)]:
                shrunk.update(files)
            case "rewind", [int(most)]:
                shown = {at: each for at, each in shown.items() if each[0] <= most}
    newest = max((images for images, *_ in shown.values()), default=0)

    def address(file: str) -> str:
        return f"{file.removesuffix('png')}jpg" if file in shrunk else file

    return [
        (name, {label: address(file) for label, file in files.items()})
        for _, (images, name, files) in sorted(shown.items())
        if images == newest
    ]


def _calls(folder: Path) -> Iterator[tuple[str, str]]:
    """The calls in a page's data: the function, and its arguments as a list in JSON.

    Raises ValueError for a line that is no call.
    """
    for data in sorted((folder / "data").glob("[0-9]*.js")):  # without alive.js
        for line in data.read_text(encoding="ascii").splitlines():
            call = re.fullmatch(r"page\.(\w+)\((.*)\);", line)
            if call is None:
                raise ValueError(f"{data} has a line that is no call")
            yield call[1], f"[{call[2]}]"


class _Data:
    """The data files, which the page reads in order. Continues where the last writer stopped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 1
        while (whole := self._without_torn_line()).endswith(_NEXT):
            self._count += 1
        self._size_bytes = len(whole)
        self.loss_names: list[str] = []
        self.call("open", _now())

    def call(self, function: str, *arguments: object) -> None:
        """Appends the line `page.function(arguments);` in plain ASCII."""
        values = (json.dumps(a, separators=(",", ":"), allow_nan=False) for a in arguments)
        line = f"page.{function}({','.join(values)});\n".encode("ascii")
        if self._size_bytes and self._size_bytes + len(line) > DATA_FILE_BYTES:
            self._file(self._count + 1).touch()  # must exist before page.next() sends readers there
            self._append(_NEXT)
            self._count += 1
            self._size_bytes = 0
        self._append(line)

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:04d}.js"

    def _append(self, line: bytes) -> None:
        with self._file(self._count).open("ab", buffering=0) as file:
            try:
                written = 0
                while written < len(line):
                    written += file.write(line[written:])
            except OSError:  # on a full disk, half a line may be written, which breaks the script
                file.truncate(self._size_bytes)
                raise
        self._size_bytes += len(line)

    def _without_torn_line(self) -> bytes:
        file = self._file(self._count)
        text = file.read_bytes() if file.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(file, len(whole))
        return whole


def _write_index(
    folder: Path,
    title: str,
    winsize_px: int,
    settings: dict,
    head: list,
    sections: list[tags.section],
) -> None:
    """Writes index.html, unless it exists with the same content."""
    without_script = (
        "This page needs JavaScript to show its pictures and curves. The pictures are also in ",
        tags.a("images", href="images/"),
        ", beside this file.",
    )
    page = page_text(
        title,
        styles=["page.css"],
        scripts=_SCRIPT,
        without_script=without_script,
        head=head,
        sections=sections,
        settings={**settings, "lowerIsBetter": LOWER_IS_BETTER},
        style=f"--size: {winsize_px}px",
    )
    content = page.encode("utf-8", "replace")  # the options may contain a path that is not Unicode
    index = folder / "index.html"
    if not index.exists() or index.read_bytes() != content:
        _replace(index, content)


def _replace(file: Path, content: bytes) -> None:
    """Writes a file; whoever reads it meanwhile gets either all of it or the old one."""
    unfinished = file.with_name(f"{file.name}.tmp")
    unfinished.write_bytes(content)
    os.replace(unfinished, file)


def _heading(text: str) -> tags.header:
    """A heading, with room for the controls of what it stands above."""
    return tags.header(tags.h2(text))


def _rows(more: str) -> list:
    return [tags.div(id="rows"), tags.button(more, id="more", type="button", hidden=True)]


def _urls(files: dict[str, str]) -> dict[str, str]:
    # Names that are not valid Unicode keep their bytes.
    return {label: quote(name, errors="surrogateescape") for label, name in files.items()}


def _numbers(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in figures.items()}


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _now() -> int:
    return int(time.time())
