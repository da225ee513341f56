"""Where test.py puts its results: one picture file per input and label, and a page over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from util.html import ResultsPage
from util.loggers.wandb import WandbResults
from util.metrics import image_metrics
from util.util import mkdirs, save_image, tensor2im


class Results:
    """Writes folder/images/STEM_LABEL.png and folder/index.html.

    Args:
        folder: results/NAME/PHASE_EPOCH.
        measure: labels of a result and of its target, for L1, PSNR and SSIM; None: no metrics.
        aspect_ratio: width over height by which pictures are stretched.
        also: receives the same pictures and metrics.
        page: further arguments of ResultsPage.
    """

    def __init__(
        self,
        folder: Path,
        *,
        measure: tuple[str, str] | None,
        aspect_ratio: float = 1.0,
        also: WandbResults | None = None,
        **page: Any,
    ):
        self.folder, self.measure, self.aspect_ratio = folder, measure, aspect_ratio
        self.also = also
        self.metrics: list[dict[str, float]] = []
        self._names = UniqueNames()
        mkdirs(folder / "images")
        self.page = ResultsPage(folder, **page)

    def add(self, visuals: Mapping[str, torch.Tensor], paths: Mapping[str, Sequence[str]]) -> None:
        """Write a batch: label to (N, C, H, W) in [-1, 1], and label to its N source files."""
        batch = len(next(iter(visuals.values())))
        for i in range(batch):
            pictures = {label: tensor2im(tensor[i]) for label, tensor in visuals.items()}
            files = {}
            for label, picture in pictures.items():
                files[label] = f"{self._names.of(paths[label][i], label)}_{label}.png"
                save_image(picture, self.folder / "images" / files[label], self.aspect_ratio)
            metrics: dict[str, float] = {}
            if self.measure is not None:
                result, target = self.measure
                metrics = image_metrics(pictures[result], pictures[target])
                self.metrics.append(metrics)
            label, sources = next(iter(paths.items()))
            source, name = sources[i], self._names.of(sources[i], label)
            self.page.add_result(name=name, source=source, files=files, metrics=metrics)
            if self.also is not None:
                self.also.add(pictures, metrics)

    def close(self) -> dict[str, float]:
        """Finish the page; returns the mean of each metric."""
        self.page.end()
        names = self.metrics[0] if self.metrics else {}
        means = {n: sum(m[n] for m in self.metrics) / len(self.metrics) for n in names}
        if self.also is not None:
            self.also.close(means)
        return means


class UniqueNames:
    """Names of results: the source file's stem, and more of its path where that name is taken.

    Names differ even where letter case does not count, as on Windows and macOS.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()

    def of(self, path: str, label: str) -> str:
        """The name of what was made of a file under a label; the same each time it is asked for."""
        if (path, label) not in self._names:
            file = Path(path)
            names = [file.stem, f"{file.parent.name}_{file.stem}"]
            names.append(f"{names[1]}_{file.suffix[1:]}")
            names += (f"{names[1]}_{number}" for number in range(2, len(self._taken) + 3))
            name = next(n for n in names if (n.casefold(), label) not in self._taken)
            self._taken.add((name.casefold(), label))
            self._names[path, label] = name
        return self._names[path, label]
