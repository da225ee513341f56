"""Save the results of test.py: one picture file per input and label, and a page that shows them.

Pictures are encoded, written and measured on threads, in parallel with a network on a GPU. A
network on the CPU waits for them: it splits each layer evenly over the cores, so one core that is
busy writing would delay them all.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from util.errors import UserError, first_line
from util.metrics.pixels import image_metrics
from util.metrics.scores import Figures
from util.packages import needed
from util.show.bars import tqdm
from util.show.full_depth import Depth
from util.show.loggers.wandb import WandbResults
from util.show.names import UniqueNames
from util.util import (
    channels_note,
    counted,
    cut,
    finite_pictures,
    listed,
    mkdirs,
    save_image,
    to_array,
    to_batch,
    to_bytes,
)

if TYPE_CHECKING:
    from util.show.html import ResultsPage

THREADS = min(4, os.cpu_count() or 1)
WAITING = 4 * THREADS  # unfinished results at most; each holds the pictures of one input


SHOWN_AS = {"jpg": ".jpg"}  # other formats have a PNG for the page, since browsers show no TIFF
OWN_FORMATS = {".jpg": "jpg", ".jpeg": "jpg", ".jfif": "jpg", ".tif": "tif", ".tiff": "tif"}


class Style(NamedTuple):
    """How the files in images/ are written.

    Attributes:
        format: png, jpg, tif, which is written beside a PNG for the page, or keep, which is any
            of them, whatever suits the source.
        name: without ending, from the stem of the source and the label.
        quality: of JPEG.
    """

    format: str = "png"
    name: Callable[[str, str], str] = "{}_{}".format
    quality: int = 95

    def format_for(self, source: str) -> str:
        own = OWN_FORMATS.get(Path(source).suffix.lower(), "png")
        return own if self.format == "keep" else self.format


class Results:
    """Writes folder/images/STEM_LABEL.png and folder/index.html.

    They replace the last results in that folder as soon as there is a first one; other files stay.
    Raises UserError if files cannot be written. Call `close` at the end; as a context manager, it
    also closes the page after an error.

    Args:
        folder: results/NAME/PHASE_EPOCH.
        measure: the labels of a result and its target, to compute L1, PSNR and SSIM of the shown
            pictures; None, or an input without these labels, has no metrics.
        untouched: the label of the picture that the result is made from; where it can be compared
            with the target, its metrics stand beside those of the result.
        inputs: the files that the pictures come from, resolved, which are never removed or
            replaced: they may be results of the last test.
        why_not_finite: returns what may be wrong if values are not finite, and what to do.
        beside: whether `add` returns before its results are written.
        num_threads: the number of threads that write and measure.
        aspect_ratio: width over height by which to stretch pictures.
        depths: by label, how to write pictures that have more than 8 bits or three channels; they
            are written beside the page's, and metrics are computed from these values.
        left_out: labels of pictures that are not written.
        style: of the files in images/.
        also: receives the same pictures and metrics.
        page: further arguments of ResultsPage.
    """

    def __init__(
        self,
        folder: Path,
        *,
        measure: tuple[str, str] | None,
        untouched: str = "",
        inputs: Collection[Path] = (),
        why_not_finite: Callable[[], str] = lambda: "look at the picture",
        beside: bool = True,
        num_threads: int = THREADS,
        aspect_ratio: float = 1.0,
        depths: Mapping[str, Depth] | None = None,
        left_out: Collection[str] = (),
        style: Style | None = None,
        also: WandbResults | None = None,
        **page: Any,
    ):
        self.folder, self.measure, self.aspect_ratio = folder, measure, aspect_ratio
        self.untouched, self.inputs = untouched, inputs
        self.why_not_finite, self.depths = why_not_finite, dict(depths or {})
        self.left_out, self.style = left_out, style or Style()
        self.also, self.most_unfinished = also, WAITING if beside else 0
        self.metrics: list[Figures] = []
        self.nothing: list[Figures] = []  # those of the inputs
        self._names = UniqueNames()
        self._notes: set[str] = set()
        self._threads = ThreadPoolExecutor(num_threads, "results")
        self._unfinished: deque[Unfinished] = deque()
        with self._errors_told():
            mkdirs(folder / "images")
        self.page: ResultsPage | None = None
        self._pages = needed("util.show.html", "the page of results")
        self._new_page = partial(self._pages.ResultsPage, folder, **page)

    def add(
        self,
        visuals: Mapping[str, Any],
        paths: Mapping[str, Sequence[str]],
        shares: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Add a batch: label to N pictures, for `to_batch`, and label to their N source files.

        Pictures of the files in `shares` are cut to this share of their height and width.

        A label without files of its own has those of the first. Raises UserError if this or an
        earlier result could not be written, if a label has fewer pictures than there are inputs or
        none that can be shown, and for values that are not finite, which would give a black
        picture. Results before it are kept.
        """
        batches = {label: self._batch(label, pictures) for label, pictures in visuals.items()}
        label, sources = next(iter(paths.items()))
        paths = {**dict.fromkeys(batches, sources), **paths}
        for note in (channels_note(label, tensor) for label, tensor in batches.items()):
            if note and note not in self._notes:
                self._notes.add(note)
                tqdm.write(note)  # `print` would break the progress bar
        finite = {label: finite_pictures(tensor) for label, tensor in batches.items()}
        pixels = {label: to_bytes(tensor) for label, tensor in batches.items()}
        for label, of_batch in pixels.items():
            if len(of_batch) < len(paths[label]):
                few, inputs = counted(len(of_batch), "picture"), counted(len(paths[label]), "input")
                raise UserError(
                    f"the model makes {few} of {label} for {inputs}; pass --batch_size 1"
                )
        for i, source in enumerate(sources):
            if bad := [la for la in pixels if not finite[la][i]]:
                raise UserError(
                    f"{paths[bad[0]][i]}: values of its {listed(bad)} are not finite, so no "
                    f"picture can show them; {self.why_not_finite()}"
                )
            self.page = self.page or self._begin_page()
            stems = {
                la: self.style.name(self._names.of(paths[la][i], la), la)
                for la in pixels
                if la not in self.left_out
            }
            formats = {la: self.style.format_for(paths[la][i]) for la in stems}
            files = {la: stem + SHOWN_AS.get(formats[la], ".png") for la, stem in stems.items()}
            kept = {la: (shares or {}).get(paths[la][i], (1, 1)) for la in pixels}
            pictures = {la: to_array(cut(of[i], kept[la])) for la, of in pixels.items()}
            deep = {
                la: cut(batches[la][i], kept[la])
                for la, depth in self.depths.items()
                if la in batches and (depth.is_needed(batches[la]) or formats.get(la) == "tif")
            }
            in_full = {
                la: stems[la] + self.depths[la].ending
                for la in deep
                if not la.startswith("real") and la in stems
            }
            result = {
                "name": self._names.of(source, label),
                "source": source,
                "files": files,
                "others": [*in_full.values()],
            }
            self._spare_inputs(source, [*files.values(), *in_full.values()])
            given = self._given({la: cut(of[i], kept[la]) for la, of in batches.items()})
            started = self._begin(pictures, deep, files, in_full, given)
            self._unfinished.append(Unfinished(result, pictures, *started))
        while len(self._unfinished) > self.most_unfinished:
            self._finish_first()

    def _spare_inputs(self, source: str, files: Sequence[str]) -> None:
        for file in files:
            if (path := self.folder / "images" / file).resolve() in self.inputs:
                raise UserError(
                    f"{source}: its result would replace {path}, an input; pass another "
                    "--results_dir or --output_name"
                )

    def _given(self, pictures: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """The untouched input (C, H, W), if it can be compared with the target."""
        if not self.measure or not {self.untouched, self.measure[1]} <= set(pictures):
            return None
        one, other = pictures[self.untouched], pictures[self.measure[1]]
        return one if one.shape == other.shape else None

    def _begin_page(self) -> ResultsPage:
        """Replace the page of the last test, and remove the pictures that it shows."""
        with self._errors_told():
            try:
                old = [file for file in self._pages.listed_pictures(self.folder) if file.is_file()]
                old = [file for file in old if file.resolve() not in self.inputs]
            except ValueError as error:
                tqdm.write(
                    f"the pictures of the last test stay, since their list is damaged: {error}"
                )
                old = []
            if old:
                number = counted(len(old), "picture")
                tqdm.write(f"removes {number} of the last test in {self.folder / 'images'}")
            for file in old:
                file.unlink()
            return self._new_page()

    def _batch(self, label: str, pictures: Any) -> torch.Tensor:
        try:
            return to_batch(pictures)
        except ValueError as error:
            raise UserError(
                f"{label} cannot be shown: {error}; remove it from the model's visual_names"
            ) from error

    def _begin(
        self,
        pictures: Mapping[str, np.ndarray],
        deep: Mapping[str, torch.Tensor],
        files: Mapping[str, str],
        in_full: Mapping[str, str],
        given: torch.Tensor | None,
    ) -> tuple[Future | None, list[Future]]:
        """Start to measure and write the pictures of one input, (H, W, 3) uint8.

        `deep` has those of more bits or channels, (C, H, W) in [-1, 1]; `in_full` names the files
        of those to write. `given` is the untouched input, if it can be compared with the target.
        """
        measured = None
        if self.measure and all(label in pictures for label in self.measure):
            # Start this first: it takes longer than writing a file.
            measured = self._threads.submit(self._measure, pictures, deep, given)
        folder, ratio = self.folder / "images", self.aspect_ratio
        written = [
            self._threads.submit(
                save_image, pictures[label], folder / file, ratio, quality=self.style.quality
            )
            for label, file in files.items()
        ]
        for label, file in in_full.items():
            write = self.depths[label].write
            written.append(self._threads.submit(write, deep[label], folder / file))
        return measured, written

    def _measure(
        self,
        pictures: Mapping[str, np.ndarray],
        deep: Mapping[str, torch.Tensor],
        given: torch.Tensor | None,
    ) -> tuple[Figures, Figures]:
        """The metrics of the result, and those of doing nothing."""
        assert self.measure is not None
        result, target = self.measure
        if result in deep and target in deep:
            depth = self.depths[target]
            own, wanted, span = depth.values(deep[result]), depth.values(deep[target]), depth.span
            untouched = None if given is None else depth.values(given)
        else:
            own, wanted, span = pictures[result], pictures[target], 255
            untouched = None if given is None else pictures[self.untouched]
        nothing = {} if untouched is None else image_metrics(untouched, wanted, span)
        return image_metrics(own, wanted, span), nothing

    def _finish_first(self) -> None:
        """Wait for the oldest result and add it to the page: pages keep the order of the inputs."""
        result, pictures, measured, written = self._unfinished.popleft()
        with self._errors_told():
            for file in written:
                file.result()
            metrics, nothing = measured.result() if measured else ({}, {})
            assert self.page is not None  # `add` has begun it
            self.page.add_result(**result, metrics=metrics, nothing=nothing)
        self.metrics += [metrics] if metrics else []
        self.nothing += [nothing] if nothing else []
        if self.also is not None:
            self.also.add(pictures, metrics)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(UserError):  # only the first error is reported
                self.close("stopped by an error" if issubclass(kind, Exception) else "stopped")

    def close(self, outcome: str = "") -> tuple[Figures, Figures]:
        """Wait for all results and finish the page; returns the mean of each metric, of the results
        and of doing nothing; the latter are empty if there is an input that cannot be compared.

        `outcome` says how the run ended, if it ended before all results were made.
        """
        while self._unfinished:
            self._finish_first()
        self._threads.shutdown()
        if self.page is not None:
            with self._errors_told():
                self.page.end(outcome)
        found = self.metrics, self.nothing if len(self.nothing) == len(self.metrics) else []
        means, nothing = map(means_of, found)
        if self.also is not None:
            self.also.close(means)
        return means, nothing

    @contextlib.contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Inside, an OSError becomes a UserError that names the folder and says what to do."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder}: results cannot be written: {first_line(error)}; free some space "
                "or choose another --results_dir"
            ) from error


class Unfinished(NamedTuple):
    """The result of one input for the page, its pictures, and the tasks that are still running."""

    result: dict[str, Any]
    pictures: dict[str, np.ndarray]
    measured: Future | None
    written: list[Future]


def means_of(figures: Sequence[Figures]) -> Figures:
    """The mean of each metric; {} without pictures."""
    names = figures[0] if figures else {}
    return {name: sum(each[name] for each in figures) / len(figures) for name in names}
