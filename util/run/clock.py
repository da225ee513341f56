"""The training clock: epoch, images seen, and what is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol, TypeVar

import torch

from util import distributed
from util.distributed import Share


class Batch(Protocol):
    """A batch that brings its share of all images of a step."""

    @property
    def share(self) -> Share: ...


AnyBatch = TypeVar("AnyBatch", bound=Batch, covariant=True)


class Loader(Protocol[AnyBatch]):
    """Batches of one epoch; its length is the number of images."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[AnyBatch]: ...


class Clock:
    """Counts epochs and images; all frequencies are in images.

    A run that is cut and resumed goes on at the very image: the state of the clock is where in the
    epoch it was.

    Attributes:
        epoch: the current epoch, from 1.
        epoch_images: images seen in this epoch.
        total_images: images seen in this run.
        epoch_done: whether this step is the last of its epoch.
        waited_s: seconds that this process has waited for data.
    """

    def __init__(self, first_epoch: int, last_epoch: int, images_per_epoch: int):
        self.last_epoch, self.images_per_epoch = last_epoch, images_per_epoch
        self.start_at(first_epoch)
        self.epoch_done, self.waited_s = False, 0.0
        self._pace = Pace()

    def start_at(self, epoch: int) -> None:
        """Go to the beginning of an epoch, as if all before it had been run."""
        self.epoch, self.epoch_images = epoch, 0
        self.total_images = self._previous_total = (epoch - 1) * self.images_per_epoch

    def epochs(self) -> Iterator[int]:
        """Each epoch that is left to run; `end_epoch` must be called in each."""
        self._pace = Pace()
        while self.epoch <= self.last_epoch:
            yield self.epoch

    def end_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch, self.epoch_images = self.epoch + 1, 0

    def iterations(self, loader: Loader[AnyBatch]) -> Iterator[AnyBatch]:
        """Each batch of an epoch, counted before its step, with the wait for it measured."""
        started = time.perf_counter()
        for batch in loader:
            waited_s = time.perf_counter() - started
            num_images = batch.share.num_all
            self.waited_s += waited_s
            self._pace.add(num_images, waited_s)
            self._previous_total = self.total_images
            self.total_images += num_images
            self.epoch_images += num_images
            self.epoch_done = self.epoch_images >= len(loader)
            yield batch
            started = time.perf_counter()

    def due(self, frequency_images: int) -> bool:
        """Whether this step took the image count to or over a multiple of the frequency.

        Right for any batch size and for a short last batch.
        """
        return self.total_images // frequency_images > self._previous_total // frequency_images

    def lap(self) -> tuple[float, float]:
        """(seconds per image, of which seconds waited for data), means since the last lap."""
        lap, self._pace = self._pace.means(), Pace()
        return lap

    def state_dict(self) -> dict[str, int]:
        counts = ("epoch", "epoch_images", "total_images", "images_per_epoch")
        return {name: getattr(self, name) for name in counts}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore `state_dict()`; with other pictures than then, the epoch has to begin anew."""
        counts = [state[name] for name in ("epoch", "epoch_images", "total_images")]
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(f"clock {counts}")
        self.epoch, self.epoch_images, self.total_images = counts
        if self.epoch_images and state["images_per_epoch"] != self.images_per_epoch:
            print(
                f"images per epoch {state['images_per_epoch']} -> {self.images_per_epoch}: epoch "
                f"{self.epoch} begins anew"
            )
            self.total_images -= self.epoch_images
            self.epoch_images = 0
        self._previous_total = self.total_images


class Pace:
    """Wall-clock time and data wait over some images."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.num_images, self.waited_s = 0, 0.0

    def add(self, num_images: int, waited_s: float) -> None:
        self.num_images += num_images
        self.waited_s += waited_s

    def means(self) -> tuple[float, float]:
        images = max(1, self.num_images)
        return (time.perf_counter() - self.started) / images, self.waited_s / images


class RunningMean:
    """Mean of a scalar tensor over the images of all processes.

    It is kept on its device: reading it waits only in `take`.
    """

    def __init__(self) -> None:
        self.total: torch.Tensor | float = 0.0
        self.num_images = 0

    def add(self, value: torch.Tensor, num_images: int) -> None:
        self.total = self.total + value.detach() * num_images
        self.num_images += num_images

    def take(self) -> float:
        """The mean since the last call; 0 where nothing was added."""
        total, num_images = distributed.add_up(float(self.total), self.num_images)
        mean = total / max(1, num_images)
        self.total, self.num_images = 0.0, 0
        return mean

    def state_dict(self) -> dict[str, float]:
        return {"total": float(self.total), "num_images": self.num_images}

    def load_state_dict(self, state: dict) -> None:
        self.total, self.num_images = state["total"], state["num_images"]

    def redistribute(self, processes: list[dict]) -> None:
        """From another number of processes: the mean of all, so that images count as they did."""
        count = len(processes)
        self.total = sum(state["total"] for state in processes) / count
        self.num_images = sum(state["num_images"] for state in processes) // count
