"""Compare the checkpoints of a run, or several runs, on the validation pictures.

    python scripts/compare_checkpoints.py --name my_run
    python scripts/compare_checkpoints.py --name small large --epoch best --out compared

Prints a table, and writes a page with the pictures of each checkpoint side by side. Of one run, all
checkpoints are compared; of several, their best ones or, in runs without one, the last.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import sys
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment()

import numpy as np

import data
import models
import train
from models.validation.validation import suffix
from options.parser import OptionParser, whole
from options.restore import runs_in
from options.train_options import TrainOptions
from util.errors import UserError, exit_status
from util.files import path_text, to_path
from util.metrics.scores import HIGHER_IS_BETTER, LOWER_IS_BETTER, Figures, Scores, gain, kind_of
from util.packages import needed
from util.run.labels import with_weights
from util.show.loggers.base import Example
from util.show.names import UniqueNames
from util.util import mkdirs, save_image, tensor2im


class Compared(NamedTuple):
    """A checkpoint, what it scores, its pictures, and what the model calls them.

    Attributes:
        metric: the one by which the run has chosen its best.
        endings: by label of a picture that is measured, how the names of its metrics end.
        pictures: tells whether two are validated on the same pictures, in the same way.
    """

    title: str
    scores: Scores
    examples: list[Example]
    captions: Mapping[str, str]
    metric: str
    endings: Mapping[str, str]
    pictures: str


def main(argv: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--name", nargs="+", required=True, metavar="RUN", help="names of runs")
    parser.add_argument(
        "--epoch", nargs="+", metavar="LABEL", help="compare only these checkpoints of each run"
    )
    parser.add_argument(
        "--checkpoints_dir", type=path_text, default="./checkpoints", metavar="DIR",
        help="folder that holds all runs",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", type=whole(1), default=4, metavar="N", help="how many pictures the page shows"
    )
    parser.add_argument("--device", default="auto", help="as that of train.py")
    parser.add_argument(
        "--out", type=to_path, metavar="DIR",
        help="folder of the page (default: results/RUN/compared, of the first run)",
    )  # fmt: skip
    opt, _ = parser.parse(sys.argv[1:] if argv is None else argv)

    compared: list[Compared] = []
    for name in opt.name:
        for found in checkpoints_of(name, opt):
            compared.append(found)
            check_alike(compared[0], found, opt.name)
    print(table(compared))
    out = opt.out or Path("results") / opt.name[0] / "compared"
    write_page(compared, out)
    print(f"pictures: {(out / 'index.html').absolute().as_uri()}")


def checkpoints_of(name: str, opt: argparse.Namespace) -> Iterable[Compared]:
    """Validate the checkpoints of a run that are to be compared."""
    runs = Path(opt.checkpoints_dir)
    if not with_weights(runs / name):
        have = ", ".join(runs_in(runs)) or "no runs"
        raise UserError(f"--name {name}: {runs / name} has no checkpoints; {runs} has {have}")
    words = ["--name", name, "--checkpoints_dir", opt.checkpoints_dir, "--continue_train"]
    words += ["--device", opt.device, "--val_pictures", str(opt.pictures), "--num_threads", "0"]
    words += ["--cache", "none", "--val_freq", "1"]
    with contextlib.redirect_stdout(io.StringIO()):  # the run's options, and where it stands
        options = TrainOptions(models.registry, data.registry).parse(words)
        run = train.build(options)
    validation, folder = run.judging.validation, run.model.save_dir
    if validation is None:
        raise UserError(
            f"{name} has no validation pictures: put some in valA and valB, or val, under "
            f"{options.dataroot}; a new run can hold some out with --val_split"
        )
    validation.begin()
    tasks = validation.generators.tasks
    endings = {task.result: suffix(tasks, number) for number, task in enumerate(tasks)}
    for label in chosen(folder, opt):
        with contextlib.redirect_stdout(io.StringIO()):
            run.checkpoints.load_weights(label, run.model.load_networks)
        title = label if len(opt.name) == 1 else name if not opt.epoch else f"{name} {label}"
        scores, examples = validation.run(run.clock), run.judging.examples()
        best = run.judging.best
        shown = scores, examples, run.model.captions
        yield Compared(title, *shown, best.metric, endings, best.pictures)


def check_alike(first: Compared, other: Compared, names: list[str]) -> None:
    """Refuse to compare what was measured on other pictures, or in another way."""
    both = " and ".join(names)
    if first.pictures != other.pictures:
        raise UserError(
            f"{both} do not validate on the same pictures in the same size, so figures cannot "
            "be compared; --dataroot, --val_split, --val_size, --seed, --preprocess, --crop_size, "
            "--load_size, --direction and --range decide that"
        )
    ours, theirs = first.scores.figures, other.scores.figures
    if ours.keys() != theirs.keys():
        raise UserError(
            f"{both} are measured by other metrics: {', '.join(ours)} and {', '.join(theirs)}"
        )


def chosen(folder: Path, opt: argparse.Namespace) -> list[str]:
    """The labels to compare, in the order in which they were trained."""
    labels = with_weights(folder)
    if opt.epoch:
        for label in set(opt.epoch) - set(labels):
            raise UserError(f"{folder} has no checkpoint {label}; it has {', '.join(labels)}")
        return opt.epoch
    if len(opt.name) > 1:
        return ["best" if "best" in labels else "latest"]
    numbered = sorted((label for label in labels if label.isdecimal()), key=int)
    by_iter = sorted((x for x in labels if x.startswith("iter_")), key=lambda x: int(x[5:]))
    return [*by_iter, *numbered, *(label for label in ("best", "latest") if label in labels)]


def table(compared: list[Compared]) -> str:
    """One line for each checkpoint and one for doing nothing; the best of each metric is marked."""
    rows = [(c.title, c.scores.figures) for c in compared]
    if compared[0].scores.nothing:
        rows.append(("doing nothing", compared[0].scores.nothing))
    names = list(compared[0].scores.figures)
    figures_of_all = [c.scores.figures for c in compared]
    ranked = [n for n in names if kind_of(n) in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)]
    best = {name: best_of(name, figures_of_all) for name in ranked}
    width = max(len(title) for title, _ in rows)
    lines = [f"{'':<{width}}" + "".join(f"{name:>12} " for name in names)]
    for title, figures in rows:
        cells = [
            f"{figures[name]:>12.4g}{'*' if figures is best.get(name) else ' '}" if name in figures
            else " " * 13
            for name in names
        ]  # fmt: skip
        lines.append(f"{title:<{width}}" + "".join(cells).rstrip())
    return "\n".join(line.rstrip() for line in lines)


def best_of(name: str, rows: list[Figures]) -> Figures:
    """The figures with the best value of a metric; {} if none has one."""
    measured = [row for row in rows if not math.isnan(row[name])]
    return max(measured, key=lambda row: gain(name, row[name], 0), default={})


def write_page(compared: list[Compared], out: Path) -> None:
    """A page with one row for each picture: input, what each checkpoint makes of it, target."""
    mkdirs(out / "images")
    first = compared[0].examples
    results = [label for label in first[0].pictures if label not in first[0].given]
    titles = [c.title for c in compared]
    shown = [f"{title} {label}" for title in titles for label in results]
    captions = {**compared[0].captions} | {
        f"{title} {label}": title if len(results) == 1 else f"{title}: {label}"
        for title in titles
        for label in results
    }
    given = [label for label in first[0].pictures if label in first[0].given]
    page = needed("util.show.html", "the page").ResultsPage(
        out,
        title=f"{' and '.join(titles)} compared" if len(titles) < 4 else "checkpoints compared",
        winsize_px=256,
        captions=captions,
        compare=[*combinations([*given[:1], *shown, *given[1:]], 2)],
        options=table(compared),
        metric=compared[0].metric,
    )
    names = UniqueNames()
    for number, example in enumerate(first):
        files, stem = {}, names.of(example.path, "compared")
        pictures = pictures_of(compared, number, given, results)
        for place, (label, picture) in enumerate(pictures.items()):
            files[label] = f"{stem}_{place}.png"
            save_image(picture, out / "images" / files[label])
        page.add_result(
            name=stem,
            source=example.path,
            files=files,
            metrics=None,
            nothing=of_files(compared[0].scores.nothing_by_picture, example),
            measured=figures_of(compared, example),
        )
    page.end()


def pictures_of(
    compared: list[Compared], number: int, given: list[str], results: list[str]
) -> Mapping[str, np.ndarray]:
    """The pictures of one row by label: inputs and targets around what each checkpoint makes."""
    first = compared[0].examples[number].pictures
    made = {
        f"{c.title} {label}": tensor2im(c.examples[number].pictures[label])
        for c in compared
        for label in results
    }
    inputs, targets = given[:1], given[1:]
    return {
        **{label: tensor2im(first[label]) for label in inputs},
        **made,
        **{label: tensor2im(first[label]) for label in targets},
    }


def of_files(by_picture: Mapping[str, Figures], example: Example) -> Figures:
    """The metrics of a picture; a model with two generators has those of each side."""
    return {n: v for file in example.files for n, v in by_picture.get(file, {}).items()}


def figures_of(compared: list[Compared], example: Example) -> dict[str, Figures]:
    """The metrics of what each checkpoint makes of a picture, by label."""
    return {
        f"{c.title} {label}": {n: v for n, v in figures.items() if n.endswith(ending)}
        for c in compared
        for figures in [of_files(c.scores.by_picture, example)]
        for label, ending in c.endings.items()
    }


if __name__ == "__main__":
    sys.exit(exit_status("scripts/compare_checkpoints.py: error", main))
