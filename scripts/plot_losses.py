"""Plot the losses and validation metrics of one or more training runs as PNG or SVG.

    python scripts/plot_losses.py checkpoints/my_run
    python scripts/plot_losses.py checkpoints/a checkpoints/b --smooth 20 --out a_and_b.svg

RUN is the folder of a run, or a file metrics.jsonl or loss_log.txt, including those written by
other programs of this family. If epochs were trained twice, after resuming or restarting under the
same name, the last time counts. Each loss and metric has a panel; in those of metrics, a dashed
line shows what doing nothing scores, and a dot the best.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import re
import statistics
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment("numpy")

import numpy as np

from options.parser import OptionParser, whole
from util.errors import UserError, did_you_mean, exit_status, unknown_choice
from util.files import to_path, write_whole, writing
from util.metrics.scores import gain
from util.packages import needed
from util.run.best import VALIDATIONS

LOGS = ("metrics.jsonl", "loss_log.txt")  # the first one that contains losses is used
# (epoch: 1, iters: 100, time: 0.123, data: 0.002) , G_GAN: 0.956, G_L1: 12.345
# (epoch: 1, iters: 100, time: 0.123, data: 0.002) G_GAN: 0.956 G_L1: 12.345
LINE = re.compile(r"\(epoch: (\d+), iters: (\d+)[^)]*\)(.*)")
VALUE = re.compile(r"([^\s:,]+): ([^\s,]+)")


class Point(NamedTuple):
    """Losses at one moment of a run; `images` counts from the beginning of the epoch.

    `total` counts from the beginning of the run, where the log says that.
    """

    epoch: int
    images: int
    losses: dict[str, float]
    total: int | None = None


class Curves(NamedTuple):
    """A run: its name, the positions of its points in epochs, and (points,) values of each loss.

    Attributes:
        metrics: those of its validations by name, as (epochs, values).
        nothing: what doing nothing scores.
    """

    name: str
    epochs: np.ndarray
    losses: dict[str, np.ndarray]
    metrics: Mapping[str, tuple[np.ndarray, np.ndarray]] = MappingProxyType({})
    nothing: Mapping[str, float] = MappingProxyType({})

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(epochs, values) of a loss or metric; without values if the run has none."""
        none = np.full(len(self.epochs), math.nan)
        return self.metrics.get(name, (self.epochs, self.losses.get(name, none)))


def main(argv: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "runs", type=to_path, nargs="+", metavar="RUN", help="folder or log of a run"
    )
    parser.add_argument(
        "--out",
        type=to_path,
        default="losses.png",
        metavar="FILE",
        help="output file, .png or .svg (default: losses.png)",
    )
    parser.add_argument(
        "--losses", metavar="NAMES", help="plot only these, as in G_GAN,G_L1,SSIM (default: all)"
    )
    parser.add_argument(
        "--smooth",
        type=whole(1),
        default=1,
        metavar="N",
        help="plot the mean of N neighbouring points, with the points themselves faint",
    )
    parser.add_argument(
        "--log", action="store_true", help="logarithmic scale, for losses that stay above 0"
    )
    opt, _ = parser.parse(sys.argv[1:] if argv is None else argv)
    if opt.out.suffix.lower() not in (".png", ".svg"):
        raise UserError(f"--out {opt.out}: the file must end in .png or .svg")

    runs = [
        curves(name, read(run), *validations(run))
        for name, run in zip(names_of(opt.runs), opt.runs, strict=True)
    ]
    available = list(dict.fromkeys(name for run in runs for name in [*run.losses, *run.metrics]))
    chosen = available if opt.losses is None else [n for n in opt.losses.split(",") if n]
    for name in chosen:
        if name not in available:
            raise unknown_choice("--losses", name, available)
    if not chosen:
        raise UserError(f"--losses names none; available: {', '.join(available)}")

    shown = [n for n in chosen if any(np.isfinite(run.series(n)[1]).any() for run in runs)]
    if not shown:
        told = " and ".join(chosen) + (" has" if len(chosen) == 1 else " have")
        raise UserError(f"{told} no finite values: there is nothing to plot")
    for name in chosen:
        if name not in shown:
            print(f"{name} has no finite values and is skipped")

    with writing(opt.out):
        opt.out.parent.mkdir(parents=True, exist_ok=True)
    kind = opt.out.suffix[1:].lower()
    write_whole(opt.out, draw(runs, shown, kind, smooth=opt.smooth, log=opt.log))
    print(f"{opt.out} shows {', '.join(shown)}")


def names_of(runs: list[Path]) -> list[str]:
    """Names for the runs: their folders' names or, if two are alike, the paths as given."""
    folders = [run.parent if run.name in LOGS else run for run in runs]
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def read(run: Path) -> list[Point]:
    """All points of a run, in the order they were logged."""
    if not run.exists():
        others = sorted(p.name for p in run.parent.iterdir()) if run.parent.is_dir() else []
        hint = did_you_mean(run.name, others)
        raise UserError(f"{run}: there is no such file or folder{hint}")
    logs = [run / name for name in LOGS] if run.is_dir() else [run]
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        points = [point for line in text.splitlines() if (point := parse(line))]
        if points:
            return points
    wanted = f"{' or '.join(LOGS)} in it" if run.is_dir() else f"a {' or a '.join(LOGS)}"
    raise UserError(f"{run} holds no losses; expected {wanted} with at least one line of losses")


def parse(line: str) -> Point | None:
    """The point in a line of either log; None for a header or a line cut off by a crash."""
    try:
        if line.startswith("{"):
            record = json.loads(line)
            values = {n: math.nan if v is None else v for n, v in record["losses"].items()}
            epoch, images, total = (
                record["epoch"],
                record["epoch_images"],
                record.get("total_images"),
            )
        elif match := LINE.match(line):
            epoch, images, rest = match.groups()
            values, total = dict(VALUE.findall(rest)), None
        else:
            return None
        losses = {name: float(value) for name, value in values.items()}
        return Point(int(epoch), int(images), losses, total) if losses else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def validations(run: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, float]]:
    """The metrics of a run's validations by name, and what doing nothing scores.

    They are those of the weights that test.py would use. Lines cut off by a crash are left out.
    """
    file = (run if run.is_dir() else run.parent) / VALIDATIONS
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    records = {}  # by epoch: the last time counts
    for line in text.splitlines():
        with contextlib.suppress(ValueError, LookupError, TypeError):
            record = json.loads(line)
            records[int(record["epoch"])] = record.get("EMA", record["last"]), record["nothing"]
    epochs = sorted(records)
    names = dict.fromkeys(name for epoch in epochs for name in records[epoch][0])
    metrics = {}
    for name in names:
        values = [records[epoch][0].get(name) for epoch in epochs]
        metrics[name] = np.array(epochs, float), np.array(values, float)  # None becomes nan
    nothing = records[epochs[-1]][1] if epochs else {}
    return metrics, {name: value for name, value in nothing.items() if value is not None}


def curves(
    name: str,
    points: list[Point],
    metrics: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
    nothing: dict[str, float] | None = None,
) -> Curves:
    """Points by epoch; a point that goes back replaces everything logged from there on."""
    size = images_per_epoch(points)
    kept: list[tuple[float, Point]] = []
    for point in points:
        epochs = point.epoch - 1 + point.images / size
        while kept and kept[-1][0] >= epochs:
            kept.pop()
        kept.append((epochs, point))
    if len(kept) < len(points):
        print(f"{name}: {len(points) - len(kept)} points were trained again and are left out")
    losses = dict.fromkeys(loss for _, point in kept for loss in point.losses)
    return Curves(
        name,
        np.array([epochs for epochs, _ in kept]),
        {loss: np.array([p.losses.get(loss, math.nan) for _, p in kept]) for loss in losses},
        metrics or {},
        nothing or {},
    )


def images_per_epoch(points: list[Point]) -> int:
    """Work out what the logs do not say, from how far the image count falls between epochs.

    With a line every 100 images, a count of 400 followed by 50 in the next epoch means 450 images
    per epoch. If all epochs end at the same count, that is the number.
    """
    for point in points:
        if point.total is not None and point.epoch > 1:
            return max(1, (point.total - point.images) // (point.epoch - 1))
    ends = [a.images for a, b in pairwise(points) if b.epoch == a.epoch + 1]
    if len(ends) > 1 and len(set(ends)) == 1:
        return ends[0]
    most = max(1, *(point.images for point in points))
    steps = [b.images - a.images for a, b in pairwise(points) if b.epoch == a.epoch]
    rises = Counter(step for step in steps if step > 0)  # the count falls after a restart
    falls = [a.images - b.images for a, b in pairwise(points) if b.epoch == a.epoch + 1]
    if not rises or not falls:
        return most
    return max(most, rises.most_common(1)[0][0] + round(statistics.median(falls)))


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over `width` neighbours, fewer at the ends; (points,). Gaps (nan) stay gaps."""
    window = np.ones(min(width, len(values)))
    known = np.isfinite(values)
    sums = np.convolve(np.where(known, values, 0.0), window, "same")
    counts = np.convolve(known.astype(float), window, "same")
    return np.where(known, sums / np.maximum(counts, 1.0), math.nan)


def literal(name: str) -> str:
    """Escape a name for matplotlib, where a bare $ begins a formula."""
    return name.replace("$", r"\$")


def plain_log_formatter(**options: Any) -> Any:
    """Writes 20 and 0.2 where matplotlib's LogFormatter writes 2x10^1 and 2x10^-1."""
    from matplotlib.ticker import LogFormatter

    class PlainLogFormatter(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    return PlainLogFormatter(**options)


def draw(runs: list[Curves], losses: list[str], kind: str, *, smooth: int, log: bool) -> bytes:
    """The file, png or svg, of a figure with one panel per loss and one colour per run."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a user without a home
    matplotlib = needed("matplotlib", "this script")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",  # keeps text as text
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.titleweight": "bold",
        }
    )
    few = len(runs) <= 10
    colours = plt.get_cmap("tab10" if few else "turbo")
    columns = min(len(losses), 2 if len(losses) in (2, 4) else 3)
    rows = -(-len(losses) // columns)
    several = len(runs) > 1
    width, height = 4.2 * columns + 1.5 * several, max(2.7 * rows + 0.4, 0.2 * len(runs) + 0.4)
    figure, panels = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained"
    )
    shown, spare = panels.flat[: len(losses)], panels.flat[len(losses) :]
    handles = []
    for index, run in enumerate(runs):
        colour = colours(index if few else (index + 0.5) / len(runs))
        for panel, loss in zip(shown, losses, strict=True):
            epochs, values = run.series(loss)
            marker = "." if np.isfinite(values).sum() == 1 else ""
            style = {"color": colour, "marker": marker}
            if smooth > 1:
                panel.plot(epochs, values, **style, linewidth=0.6, alpha=0.25)
            panel.plot(epochs, smoothed(values, smooth), **style, linewidth=1.2)
            if loss in run.metrics and np.isfinite(values).any():
                best = np.nanargmax([gain(loss, value, 0) for value in values])
                panel.plot(epochs[best], values[best], color=colour, marker="o", markersize=4)
            if loss in run.nothing:
                panel.axhline(run.nothing[loss], color=colour, linestyle="--", linewidth=0.8)
        handles.append(plt.Line2D([], [], color=colour, linewidth=2.5))
    for panel, loss in zip(shown, losses, strict=True):
        panel.set_title(literal(loss))
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator("auto", integer=True))
        if log and all(np.nanmin(run.series(loss)[1], initial=1) > 0 for run in runs):
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(plain_log_formatter())
            panel.yaxis.set_minor_formatter(plain_log_formatter(minor_thresholds=(2, 0.5)))
        elif log:
            print(f"{loss} is not above 0 everywhere: its scale stays linear")
    for panel in spare:
        panel.remove()
    if several:
        names = [literal(run.name) for run in runs]
        figure.legend(handles, names, loc="outside right upper", frameon=False)
    else:
        figure.suptitle(literal(runs[0].name))
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150)
    plt.close(figure)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(exit_status("scripts/plot_losses.py: error", main))
