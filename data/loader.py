"""Batches of a dataset: an order and augmentations that depend on (seed, epoch, index) alone."""

from __future__ import annotations

import atexit
import math
import signal
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from tqdm import tqdm

from util import distributed
from util.errors import MissingOption, ReportedElsewhere, UserError, first_line
from util.interrupt import leave_signals_to_main
from util.runtime import isolated_randomness


class Loader:
    """Iterates over this process's batches of one epoch; `len()` is its number of images in all.

    Call `set_epoch` before each epoch. The results do not depend on `num_workers`.
    With `pin_memory` a GPU can fetch a batch while it computes.

    Args:
        equal_shares: leave out as many images of an epoch, fewer than there are processes, as keep
            these from having equally many of each batch.
        skip_bad: let another sample stand in for one that cannot be had.
        advice: ends the message of the error that such samples are otherwise.

    Attributes:
        num_images: how many an epoch is drawn from.
        step_images: images of the batch that was given last, over all processes.
        weight: of that batch in means over all processes, 1 where they have equally many images.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        shuffle: bool,
        num_workers: int,
        seed: int,
        max_images: float = math.inf,
        equal_shares: bool = False,
        skip_bad: bool = False,
        pin_memory: bool = False,
        advice: str = "",
    ):
        self.dataset, self.advice = dataset, advice
        self.step_images, self.weight = 0, 1.0
        self.skipped: set[str] = set()
        self.num_images = int(min(max_images, len(dataset)))
        # In shared memory, because the worker processes outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        closing = torch.zeros((), dtype=torch.bool).share_memory_()
        atexit.register(closing.fill_, True)
        self._batches_of = EpochBatches(
            self.num_images, batch_size, shuffle, seed, self._epoch, equal_shares
        )
        num_workers = min(num_workers, len(self._batches_of))
        # PyTorch advises against more workers than cores; --num_threads is the user's to choose.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        self._batches = DataLoader(
            SeededDataset(dataset, seed, self._epoch, skip_bad),
            batch_sampler=self._batches_of,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            collate_fn=collate,
            worker_init_fn=partial(leave_signals_to_main, closing),
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(seed),  # leaves the global source alone
        )

    def __len__(self) -> int:
        return self._batches_of.end

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and how many of its images to leave out at the beginning."""
        self._epoch.fill_(epoch)
        self._batches_of.start = start

    def __iter__(self) -> Iterator[dict]:
        for batch, share in zip(self._fetch(), self._batches_of.shares(), strict=False):
            failed = isinstance(batch, SampleError)
            if distributed.highest(int(failed)) and not failed:
                raise DataErrorElsewhere
            if isinstance(batch, SampleError):
                raise DataError(f"{batch.message}{self.advice if batch.is_bad else ''}")
            self._report(batch.pop("skipped", []))
            self.step_images, self.weight = share.num_all, share.weight
            yield batch

    def _fetch(self) -> Iterator[Any]:
        """Each batch, or as the last one the error that ended them."""
        try:
            batches = iter(self._batches)
            if hasattr(signal, "SIGCHLD"):
                # PyTorch would raise the death of a worker in the middle of a step; without its
                # handler it is noticed here, at the next batch.
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            yield from batches
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            yield SampleError(
                f"a process that loads pictures has died ({first_line(error)}); if memory ran out, "
                "lower --num_threads",
                is_bad=False,
            )

    def _report(self, messages: list[str]) -> None:
        """Say once of each bad picture that another was taken for it."""
        for message in filter(None, messages):
            if message not in self.skipped:
                self.skipped.add(message)
                to = sys.stdout if distributed.is_main() else sys.stderr  # where it is seen
                # Not print, which would break the progress bars.
                tqdm.write(f"skipped, {len(self.skipped)} so far: {message}", file=to)
                to.flush()


class Share(NamedTuple):
    """What a process gets of a batch: `num` of its `num_all` images, from position `first` on."""

    first: int
    num: int
    num_all: int

    @property
    def weight(self) -> float:
        """The mean over all images is the mean over all processes of weight times their means."""
        return self.num * distributed.size() / self.num_all


class EpochBatches(Sampler[list[int]]):
    """Indices of each batch, in an order that is a function of (seed, epoch), from `start` on.

    The order is cut into batches of batch_size for each process, and each of these into shares that
    follow one another. A process without a share of the last one gets an image of weight 0, unless
    `equal_shares` has the epoch end before images that would not go round.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        epoch: torch.Tensor,
        equal_shares: bool,
    ):
        self.num_samples, self.batch_size = num_samples, batch_size
        self.shuffle, self.seed, self.epoch = shuffle, seed, epoch
        self.equal_shares, self.start = equal_shares, 0

    @property
    def end(self) -> int:
        """The position at which the epoch ends."""
        # Counted from the start, which another number of processes may have left uneven.
        left_out = (self.num_samples - self.start) % distributed.size() if self.equal_shares else 0
        return self.num_samples - left_out

    def __len__(self) -> int:
        return -(-(self.end - self.start) // (self.batch_size * distributed.size()))

    def shares(self) -> Iterator[Share]:
        """Of this process, of each batch."""
        rank, size = distributed.rank(), distributed.size()
        for first in range(self.start, self.end, self.batch_size * size):
            num_all = min(self.batch_size * size, self.end - first)
            least, more = divmod(num_all, size)
            yield Share(first + rank * least + min(rank, more), least + (rank < more), num_all)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.num_samples))
        if self.shuffle:
            with isolated_randomness(self.seed, int(self.epoch)):
                order = torch.randperm(self.num_samples).tolist()
        for share in self.shares():
            first = min(share.first, self.num_samples - 1)
            yield order[first : first + max(1, share.num)]


class DataError(UserError):
    """A sample could not be had; the run itself is sound and can be saved."""


class DataErrorElsewhere(DataError, ReportedElsewhere):
    """Another process could not have a sample."""


class SampleError:
    """Carries a UserError's message out of a worker, where an exception would lose its form.

    Attributes:
        is_bad: whether one could do without the samples that it speaks of.
    """

    def __init__(self, message: str, is_bad: bool = True):
        self.message, self.is_bad = message, is_bad


class SeededDataset(Dataset):
    """A dataset whose every sample is drawn with sources seeded from (seed, epoch, index).

    With `skip_bad` the next sample that can be had stands in for a bad one, whose message goes
    along under the key "skipped".
    """

    def __init__(self, dataset: Any, seed: int, epoch: torch.Tensor, skip_bad: bool):
        self.dataset, self.seed, self.epoch, self.skip_bad = dataset, seed, epoch, skip_bad

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        with isolated_randomness(self.seed, int(self.epoch), index):
            if not self.skip_bad:
                return self._sample(index)
            message = ""
            for i in range(len(self)):
                sample = self._sample((index + i) % len(self))
                if not isinstance(sample, SampleError):
                    return {**sample, "skipped": message}
                if not sample.is_bad:
                    return sample
                message = message or sample.message
            return SampleError(f"no picture is left: {message}", is_bad=False)

    def _sample(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except UserError as error:
            return SampleError(str(error), is_bad=not isinstance(error, MissingOption))
        except Image.DecompressionBombError as error:  # of a dataset that calls Pillow itself
            return SampleError(f"{error}; raise --max_megapixels if you trust the file")


def collate(samples: list[Any]) -> Any:
    """PyTorch's batch of samples, or an error that names all the bad ones among them."""
    errors = [sample for sample in samples if isinstance(sample, SampleError)]
    if errors:
        messages = dict.fromkeys(error.message for error in errors)
        return SampleError("; ".join(messages), all(error.is_bad for error in errors))
    for key, value in samples[0].items():
        shapes = {tuple(s[key].shape) for s in samples} if isinstance(value, torch.Tensor) else ()
        if len(shapes) > 1:
            sizes = " and ".join(sorted(f"{shape[-1]}x{shape[-2]}" for shape in shapes))
            return SampleError(
                f"pictures of {sizes} cannot form one batch; pass --batch_size 1, or --preprocess "
                "resize_and_crop",
                is_bad=False,
            )
    return default_collate(samples)
