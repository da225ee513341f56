"""The same few pictures, shown throughout a run so that each can be followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.validation.generators import CannotRun, Generators, OwnTest, file_of
from util.show.bars import tqdm
from util.show.loggers.base import Example


class Examples:
    """Runs a model's generators on its pictures whenever asked.

    Args:
        batches: of one sample each.
        seed: for dropout; the same each time.
    """

    def __init__(self, generators: Generators | OwnTest, batches: Sequence[Any], seed: int):
        self.generators, self.seed = generators, seed
        self.batches = batches
        tasks = generators.tasks if isinstance(generators, Generators) else ()
        self.given = frozenset(name for task in tasks for name in (task.input, task.target))

    def __call__(self) -> list[Example]:
        """Each picture through the weights that test.py would use; [] if it cannot show any."""
        try:
            shown = [self._example(number, batch) for number, batch in enumerate(self.batches)]
        except CannotRun as error:
            tqdm.write(f"pages show training batches, not the same pictures each time: {error}")
            self.batches, shown = [], []
        return shown

    def _example(self, number: int, batch: Any) -> Example:
        pictures = self.generators(batch, self.generators.weights[-1], self.seed, number)
        keys = [key for key in batch if key.endswith("_paths")]
        files = tuple(file_of(batch, key) for key in keys) or (f"picture {number + 1}",)
        return Example(files, {label: x[None] for label, x in pictures.items()}, self.given)
