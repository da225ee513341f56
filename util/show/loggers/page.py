"""The training page web/index.html and its pictures, and the page of all runs."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from util.metrics.scores import Figures, Scores
from util.run.clock import Clock
from util.run.command import resume_command
from util.show.html import TrainingPage
from util.show.html.runs import SUMMARY, Summary, write_index
from util.show.loggers.base import Example, Logger, Losses, Outcome
from util.show.names import UniqueNames
from util.util import mkdirs, save_image, tensor2im

BEAT_S = 30.0  # between two signs of life
OLD_PX = 512  # the longest side of pictures that are neither the newest nor the best


class PageLogger(Logger):
    """Adds losses, metrics and pictures to the page.

    What a generator made is in images/epochEPOCH_LABEL.png, and for the second picture in
    epochEPOCH_2_LABEL.png. Only the newest and those of the best validation stay like that; older
    ones become JPEG of at most OLD_PX. fixed_NAME_LABEL.png holds inputs and targets, only once.

    Args:
        best_epoch: that of the best validation so far; 0: none.
        page: further arguments of TrainingPage.
    """

    name = "the training page"

    def __init__(
        self, opt: argparse.Namespace, folder: Path, clock: Clock, best_epoch: int, **page: Any
    ):
        self.images_folder = folder / "web" / "images"
        mkdirs(self.images_folder)
        self.page = TrainingPage(
            folder / "web",
            title=opt.name,
            winsize_px=opt.display_winsize,
            resume_hint=resume_command(opt),
            last_epoch=clock.last_epoch,
            images_per_epoch=clock.images_per_epoch,
            **page,
        )
        self._ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True, name="sign of life").start()
        self.page.rewind(clock.total_images)
        self.best_epoch = best_epoch
        self._summary = Summary(folder, vars(opt), clock)
        self._names = UniqueNames()
        self._written: set[str] = set()  # of the files that are written once
        self._given: dict[tuple[str, str], str] = {}  # their names, by source and label
        # The files of the pictures that are always shown, by number.
        self._shown: dict[int, tuple[str, ...]] = {}
        self._scores: Scores | None = None  # of the newest validation, until its pictures are known

    def _beat(self) -> None:
        """Tell open pages that the run is alive, however long its steps take."""
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a browser may be reading it: try again next time
                self.page.alive()

    def losses(self, losses: Losses) -> None:
        self.page.add_losses(
            epoch=losses.epoch,
            total_images=losses.total_images,
            losses=dict(losses.values),
            lr=losses.learning_rate,
        )
        self._summary.epoch = losses.epoch

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        for number, example in enumerate(examples, 1):
            stem = f"epoch{clock.epoch:03d}" + (f"_{number}" if number > 1 else "")
            files = {}
            for label, tensor in example.pictures.items():
                is_given = label in example.given
                picture = tensor2im(tensor)
                files[label] = f"{stem}_{label}.png"
                if is_given:
                    files[label] = self._file_of(example.path, label, picture)
                path = self.images_folder / files[label]
                if files[label] not in self._written:
                    save_image(picture, path)
                    path.with_suffix(".jpg").unlink(missing_ok=True)  # of an epoch trained again
                if is_given:
                    self._written.add(files[label])
            self.page.add_pictures(
                epoch=clock.epoch,
                total_images=clock.total_images,
                number=number,
                name=example.name,
                files=files,
            )
        self._shown = {number: each.files for number, each in enumerate(examples, 1) if each.files}
        self._judge_pictures()
        if batch and examples[0].path:
            files = {label: f"last_batch_{label}.png" for label in batch.pictures}
            for label, file in files.items():
                save_image(tensor2im(batch.pictures[label]), self.images_folder / file)
            self.page.show_batch(files)
        self._shrink_others(clock.epoch)
        self._summary.epoch = clock.epoch
        self._summary.write()

    def _file_of(self, source: str, label: str, picture: np.ndarray) -> str:
        """The file of an input or target: a new one if there is another picture of this name.

        So what earlier epochs have shown stays beside them if a resumed run shows other pictures.
        """
        if (source, label) not in self._given:
            stem = f"fixed_{self._names.of(source, label)}"
            for number in itertools.count(1):
                name = f"{stem}{f'_{number}' if number > 1 else ''}_{label}.png"
                file = self.images_folder / name
                if not file.exists() or same_picture(file, picture):
                    break
            self._given[source, label] = name
        return self._given[source, label]

    def _shrink_others(self, newest_epoch: int) -> None:
        """Turn the pictures of all but the newest and the best epoch into small JPEGs."""
        shrunk = []
        for file in sorted(self.images_folder.glob("epoch*.png")):
            found = re.match(r"epoch(\d+)_", file.name)
            if found is None or int(found[1]) in (newest_epoch, self.best_epoch):
                continue
            with Image.open(file) as picture:
                picture.thumbnail((OLD_PX, OLD_PX), Image.Resampling.LANCZOS)
                picture.save(file.with_suffix(".jpg"), quality=90)
            shrunk.append(file)
        if shrunk:
            self.page.shrink([file.name for file in shrunk])  # before they are gone
        for file in shrunk:
            file.unlink()

    def validation(self, scores: Scores) -> None:
        self.page.add_validation(scores)
        if scores.is_best:
            self.best_epoch = scores.epoch
        self._scores = scores
        self._judge_pictures()

    def _judge_pictures(self) -> None:
        """Show the metrics of each picture, once both they and the pictures are known."""
        if self._scores is None or not self._shown:
            return
        of_results, of_inputs = self._scores.by_picture, self._scores.nothing_by_picture
        found = {}
        for number, files in self._shown.items():
            figures, nothing = Figures(), Figures()
            for file in files:  # a model with two generators has figures of each side
                figures |= of_results.get(file, {})
                nothing |= of_inputs.get(file, {})
            if figures:
                found[number] = (figures, nothing)
        if found:
            self.page.judge_pictures(self._scores.epoch, found)
        self._scores = None

    def close(self, outcome: Outcome) -> None:
        self._ended.set()
        self.page.end(outcome.kind)
        self._summary.end(outcome.kind)


class IndexLogger(Logger):
    """Keeps a run without a page of its own in checkpoints/index.html."""

    def __init__(self, folder: Path, checkpoints_dir: str):
        self.runs = Path(checkpoints_dir)
        (folder / SUMMARY).unlink(missing_ok=True)  # of a run that had a page: it would grow old
        write_index(self.runs)

    def close(self, outcome: Outcome) -> None:
        write_index(self.runs)


def same_picture(file: Path, picture: np.ndarray) -> bool:
    """Whether a file holds exactly this picture, (H, W, 3)."""
    try:
        with Image.open(file) as opened:
            return np.array_equal(np.asarray(opened), picture)
    except OSError:  # cut off by a crash
        return True  # and written anew
