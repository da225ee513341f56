"""The training clock: the epoch, the images seen, and which actions are due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol, TypeVar

from util.distributed import Share


class Batch(Protocol):
    """A batch that knows its share of all images of a step."""

    @property
    def share(self) -> Share: ...


AnyBatch = TypeVar("AnyBatch", bound=Batch, covariant=True)


class Loader(Protocol[AnyBatch]):
    """The batches of one epoch; its length is the number of images."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[AnyBatch]: ...


class Clock:
    """Counts epochs and images; all frequencies are in images.

    An interrupted run resumes at the exact image: the state of the clock is the position in its
    epoch.

    Attributes:
        epoch: the current epoch, from 1.
        epoch_images: images seen in this epoch.
        total_images: images seen in this run.
        epoch_done: whether this step is the last of its epoch.
        planned_epochs: the last epoch of a run that does not end sooner.
        stuck_at: the epoch at whose end it was decided to end sooner; 0: the run goes as planned.
        waited_s: seconds that this process has waited for data.
    """

    def __init__(self, first_epoch: int, last_epoch: int, images_per_epoch: int):
        self.planned_epochs, self.images_per_epoch = last_epoch, images_per_epoch
        self.stuck_at = self._ends_after = 0
        self.start_at(first_epoch)
        self.epoch_done, self.waited_s = False, 0.0
        self._pace = Pace()

    @property
    def last_epoch(self) -> int:
        """The last epoch of the run."""
        return min(self._ends_after or self.planned_epochs, self.planned_epochs)

    def end_after(self, epoch: int) -> None:
        """Make another epoch the last one of the run, also when it is resumed."""
        self.stuck_at, self._ends_after = self.epoch, epoch

    def end_as_planned(self) -> None:
        """Undo `end_after`."""
        self.stuck_at = self._ends_after = 0

    def start_at(self, epoch: int) -> None:
        """Go to the beginning of an epoch, as if all epochs before it had been trained."""
        self.epoch, self.epoch_images = epoch, 0
        self.total_images = self._previous_total = (epoch - 1) * self.images_per_epoch

    @property
    def images_left(self) -> int:
        """Images from here to the end of the run."""
        epochs_left = self.last_epoch - self.epoch + 1
        return epochs_left * self.images_per_epoch - self.epoch_images

    def steps_left(self, images_per_step: int) -> int:
        """Steps from here to the end of the run; the last of an epoch may be smaller."""
        per_epoch = -(-self.images_per_epoch // images_per_step)
        this_epoch = -(-(self.images_per_epoch - self.epoch_images) // images_per_step)
        return (self.last_epoch - self.epoch) * per_epoch + this_epoch

    def epochs(self) -> Iterator[int]:
        """Yield each remaining epoch; the caller must call `end_epoch` in each."""
        self._pace = Pace()
        while self.epoch <= self.last_epoch:
            yield self.epoch

    def end_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch, self.epoch_images = self.epoch + 1, 0

    def iterations(self, loader: Loader[AnyBatch]) -> Iterator[AnyBatch]:
        """Yield each batch of an epoch; counts it before its step, and measures the wait for it."""
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
        """Whether this step took the image count to or past a multiple of the frequency.

        Works for any batch size and a short last batch.
        """
        return self.total_images // frequency_images > self._previous_total // frequency_images

    def lap(self) -> tuple[float, float]:
        """(seconds per image, seconds of these spent waiting for data), since the last lap."""
        lap, self._pace = self._pace.means(), Pace()
        return lap

    def state_dict(self) -> dict[str, int]:
        counts = ("epoch", "epoch_images", "total_images", "images_per_epoch", "stuck_at")
        return {**{name: getattr(self, name) for name in counts}, "ends_after": self._ends_after}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore `state_dict()`; if the number of images has changed, the epoch starts over."""
        counts = [state[name] for name in ("epoch", "epoch_images", "total_images")]
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(f"clock {counts}")
        self.epoch, self.epoch_images, self.total_images = counts
        self.stuck_at = state.get("stuck_at", 0)  # older states have none
        self._ends_after = state.get("ends_after", 0)
        if self.epoch_images and state["images_per_epoch"] != self.images_per_epoch:
            print(
                f"images per epoch {state['images_per_epoch']} -> {self.images_per_epoch}: epoch "
                f"{self.epoch} starts over"
            )
            self.total_images -= self.epoch_images
            self.epoch_images = 0
        self._previous_total = self.total_images


class Pace:
    """Wall-clock time and time spent waiting for data, over some images."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.num_images, self.waited_s = 0, 0.0

    def add(self, num_images: int, waited_s: float) -> None:
        self.num_images += num_images
        self.waited_s += waited_s

    def means(self) -> tuple[float, float]:
        images = max(1, self.num_images)
        return (time.perf_counter() - self.started) / images, self.waited_s / images
