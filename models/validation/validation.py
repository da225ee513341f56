"""Run the validation pictures through the generators, and compare the results."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from models.base_model import Translation
from models.validation.generators import (
    NONE,
    CannotRun,
    CannotRunElsewhere,
    Generators,
    OwnTest,
    file_of,
    paths_of,
)
from models.validation.judge import Figures, Judge, PairedJudge
from util import distributed
from util.metrics.scores import Scores, explained
from util.run.clock import Clock
from util.show.bars import tqdm

MOST_VALIDATIONS = 100  # of a run, by default
MOST_PICTURES = 0.03  # validated, for each picture trained on, by default

NOTHING, TARGETS = "nothing", "targets"  # what is looked at once, beside the results
Looks = dict[tuple[str, int], dict[str, tuple[int, Any]]]  # (of what, task): file: (place, look)


class Batches(Protocol):
    """A loader of single pictures; its length is their number in all processes.

    Attributes:
        between: called before each picture, in all processes alike; raises an error to end early.
    """

    between: Callable[[], None] | None

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class Validation:
    """Judges a model's generators on pictures that it does not learn from.

    Args:
        batches: of one picture each; under torchrun, this process's, whose `share` says which.
        judges: one for each of the generators' tasks.
        every_epochs: how often to validate.
    """

    def __init__(
        self,
        generators: Generators | OwnTest,
        batches: Batches,
        judges: Sequence[Judge],
        *,
        direction: str,
        seed: int,
        every_epochs: int,
    ):
        self.generators, self.batches, self.judges = generators, batches, judges
        self.direction, self.seed, self.every_epochs = direction, seed, every_epochs
        self._once: Looks = {}  # in the main process: what does not depend on the weights

    def begin(self) -> list[str]:
        """Look at inputs and targets; returns lines about what doing nothing scores.

        Raises UserError if a picture cannot be loaded, and CannotRun if the model cannot.
        """
        self._once = self._look(self._given)
        figures = self._means(NOTHING, self._once)[0]
        measured = {name: value for name, value in figures.items() if not math.isnan(value)}
        lines = [f"doing nothing scores {explained(measured)}"] if measured else []
        if lacking := [name for name in figures if name not in measured]:
            lines.append(f"no validation picture is large enough for {' and '.join(lacking)}")
        return lines

    def due(self, clock: Clock) -> bool:
        """Whether to validate at the end of this epoch."""
        every = self.every_epochs
        return clock.epoch % every == 0 or clock.epoch == clock.last_epoch

    def run(self, clock: Clock) -> Scores:
        """Validate all sets of weights; all processes must call this, and get the same."""
        looks = self._look(self._results)
        nothing, nothing_by_picture = self._means(NOTHING, self._once)
        found = {name: self._means(name, looks) for name in self.generators.weights}
        by_weights = {name: means for name, (means, _) in found.items()}
        pictures = found[self.generators.weights[-1]][1]
        return distributed.from_main(
            lambda: Scores(
                clock.epoch,
                clock.total_images,
                by_weights,
                nothing,
                pictures,
                nothing_by_picture=nothing_by_picture,
            )
        )

    def _given(self, batch: Any, place: int) -> Looks:
        pictures = self.generators(batch, NONE, self.seed, place)
        looks: Looks = {}
        for number, (task, judge) in enumerate(
            zip(self.generators.tasks, self.judges, strict=True)
        ):
            given, target = self._files(batch, task, place)
            if len(pictures[task.input]) == len(pictures[task.target]):
                look = judge.look(pictures, place, task.input)
                looks[NOTHING, number] = {given: (place, look)}
            if not isinstance(judge, PairedJudge):
                look = judge.look(pictures, place, task.target)
                looks[TARGETS, number] = {target: (place, look)}
        return looks

    def _results(self, batch: Any, place: int) -> Looks:
        looks: Looks = {}
        for weights in self.generators.weights:
            pictures = self.generators(batch, weights, self.seed, place)
            for number, task in enumerate(self.generators.tasks):
                path, _ = self._files(batch, task, place)
                look = self.judges[number].look(pictures, place, task.result)
                looks[weights, number] = {path: (place, look)}
        return looks

    def _files(self, batch: Any, task: Translation, place: int) -> list[str]:
        """Those of the input and the target of a task; a picture without a file has its place."""
        keys = paths_of(task, self.direction)
        return [file_of(batch, key) or f"picture {place + 1}" for key in keys]

    def _look(self, at: Any) -> Looks:
        """What `at(batch, place)` finds in all pictures, in order of place, in the main process."""
        own: list[tuple[tuple[str, int], str, tuple[int, Any]]] = []
        failed: CannotRun | None = None
        bar = tqdm(self.batches, "validation", leave=False, disable=not sys.stderr.isatty())
        for batch in bar:
            # The last batch may not suffice for all processes. For each one they wait for each
            # other, so all go on to the end.
            if batch.share.num and failed is None:
                try:
                    for key, looks in at(batch, batch.share.first).items():
                        own += [(key, path, look) for path, look in looks.items()]
                except CannotRun as error:
                    failed = error
        reasons = distributed.gather(str(failed or ""))
        if why := distributed.from_main(lambda: next(filter(None, reasons), "")):
            raise (CannotRun if distributed.is_main() else CannotRunElsewhere)(why) from failed
        everyones = [entry for entries in distributed.gather(own) for entry in entries]
        found: Looks = {}
        for key, path, look in sorted(everyones, key=lambda entry: entry[2][0]):
            # Without pairs, the shorter side comes again: its first time counts.
            found.setdefault(key, {}).setdefault(path, look)
        return found

    def _means(self, of: str, looks: Looks) -> tuple[Figures, dict[str, Figures]]:
        """The metrics by name, and those of each picture; empty in all but the main process."""
        means: Figures = {}
        by_picture: dict[str, Figures] = {}
        for number, judge in enumerate(self.judges):
            found = {path: look for path, (_, look) in looks.get((of, number), {}).items()}
            targets = {p: look for p, (_, look) in self._once.get((TARGETS, number), {}).items()}
            ending = suffix(self.generators.tasks, number)
            if found:
                figures = judge.means(found, targets)
                means |= {f"{name}{ending}": value for name, value in figures.items()}
            for path, look in found.items():
                numbers = {f"{n}{ending}": v for n, v in look.items() if isinstance(v, float)}
                by_picture.setdefault(path, {}).update(numbers)
        return means, by_picture


def suffix(tasks: Sequence[Translation], number: int) -> str:
    """'' for the only generator of a model, else that of its name, such as _A."""
    return tasks[number].network.removeprefix("G") if len(tasks) > 1 else ""


def frequency(num_epochs: int, num_training: int, num_validated: int) -> int:
    """Every how many epochs to validate by default.

    So that a run has at most MOST_VALIDATIONS, besides one at the end, and validates at most
    MOST_PICTURES for each picture it trains on.

    Args:
        num_training: pictures of an epoch.
        num_validated: pictures of a validation, for all sets of weights.
    """
    by_number = math.ceil(num_epochs / MOST_VALIDATIONS)
    return max(1, by_number, math.ceil(num_validated / (MOST_PICTURES * num_training)))
