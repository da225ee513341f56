"""Batches of a dataset, whose order and augmentations depend only on (seed, epoch, index)."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from data.reading import notes
from data.reading.notes import Notes
from util import distributed
from util.distributed import Share
from util.errors import MissingOption, ReportedElsewhere, UserError, described, first_line
from util.run.interrupt import leave_signals_to_main
from util.runtime import is_out_of_memory, isolated_randomness, out_of_memory
from util.show.bars import tqdm
from util.streams import make_streams_last

SHM = "/dev/shm"  # where Linux keeps the shared memory that passes batches between processes
MORE_SHM = "give a container more with --shm-size 8g or --ipc=host"
SHM_FULL = (
    f"{SHM}, through which loading processes pass pictures to the program, is full; {MORE_SHM}, or "
    "pass --num_threads 0, which needs none"
)
# PyTorch's messages when it is full. A process that writes beyond its end dies with BUS_ERROR.
SHM_ERROR = re.compile("unable to (allocate shared memory|write to file </torch_)")
BUS_ERROR = -getattr(signal, "SIGBUS", math.nan)  # the exit code; Windows has none
PREFETCH = 2  # batches that each worker prepares in advance
HELD = 2  # batches that the main process holds: the current one, and the next once it has arrived
MEMORY_FLAGS = "fewer --num_threads, --batch_size 1, a smaller --load_size and --crop_size"
LARGEST_USUAL_SAMPLE = 64 << 20  # bytes; with room for samples this large, none is measured


class Loader:
    """Iterates over this process's batches of one epoch; `len()` counts the images of them all.

    Call `set_epoch` before each epoch. The results do not depend on `num_workers`.
    With `pin_memory` a GPU can fetch a batch while it computes.

    Args:
        equal_shares: give all processes the same number of images in each batch; this drops fewer
            images per epoch than there are processes.
        skip_bad: skip a sample that cannot be loaded, and report it once.
        replace_bad: whether the next good sample takes the place of a skipped one; if not, its
            batch is smaller than its share says, or left out too if no sample is left.
        advice: ends the error message about such a sample without `skip_bad`.

    Attributes:
        between: called before each batch, in all processes alike; an error ends the epoch there.
        num_images: the number of images to choose from in an epoch.
        skipped: how many samples were skipped so far, by error message.
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
        replace_bad: bool = True,
        pin_memory: bool = False,
        advice: str = "",
    ):
        self.dataset, self.advice = dataset, advice
        self.between: Callable[[], None] | None = None
        self.skipped: Counter[str] = Counter()
        self.notes: Notes | None = Notes()  # of the first epoch, until it is over
        self.num_images = int(min(max_images, len(dataset)))
        self._epoch = torch.zeros((), dtype=torch.int64)
        closing = torch.zeros((), dtype=torch.bool)
        atexit.register(closing.fill_, True)
        self._batches_of = EpochBatches(
            self.num_images, batch_size, shuffle, seed, self._epoch, equal_shares
        )
        samples = SeededDataset(dataset, seed, self._epoch, skip_bad and replace_bad)
        num_workers = min(num_workers, len(self._batches_of))
        if num_workers and os.path.isdir(SHM):
            images = min(batch_size, self.num_images)
            free = shutil.disk_usage(SHM).free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            num_workers = workers_with_room(num_workers, samples, images, free)
        if num_workers:  # the workers live on after an epoch, and must see these change
            self._epoch.share_memory_()
            closing.share_memory_()
        # PyTorch warns about more workers than cores, but --num_threads is the user's choice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        self._batches = DataLoader(
            samples,
            batch_sampler=self._batches_of,
            num_workers=num_workers,
            prefetch_factor=PREFETCH if num_workers else None,
            persistent_workers=num_workers > 0,
            collate_fn=partial(collate, leaves_out=skip_bad and not replace_bad),
            worker_init_fn=partial(begin_worker, closing),
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(seed),  # does not touch the global generator
        )

    def __len__(self) -> int:
        return self._batches_of.end

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and how many images to skip at its beginning."""
        self._epoch.fill_(epoch)
        self._batches_of.start = start

    def __iter__(self) -> Iterator[Batch]:
        any_good = False
        for batch, share in zip(self._fetch(), self._batches_of.shares(), strict=False):
            failed = isinstance(batch, SampleError)
            if distributed.highest(int(failed)) and not failed:
                raise DataErrorElsewhere
            if isinstance(batch, SampleError):
                raise DataError(f"{batch.message}{self.advice if batch.is_bad else ''}") from (
                    LoadingTraceback(batch.details) if batch.details else None
                )
            if self.between is not None:
                self.between()
            self._report(batch.pop("skipped", []))
            self._note(batch.pop("_notes", None))
            if batch:
                any_good = True
                yield Batch(batch, share)
        if not distributed.highest(int(any_good)) and self.skipped:
            error = DataError if distributed.is_main() else DataErrorElsewhere
            raise error(none_good(next(iter(self.skipped))))
        if self.notes is not None:
            for line in self.notes.summary():
                tell(line)
            self.notes = None

    def _fetch(self) -> Iterator[Any]:
        """Yield each batch; if loading fails, the last one is the error."""
        processes: list[Any] = []
        try:
            batches = iter(self._batches)
            processes = multiprocessing.active_children()
            if hasattr(signal, "SIGCHLD"):
                # When a worker dies, PyTorch's handler would raise in the middle of a step. Without
                # it, the death is noticed here, at the next batch.
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            yield from batches
        # FileNotFoundError: what the worker was about to hand over went with it.
        except (RuntimeError, ConnectionError, FileNotFoundError, EOFError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            message = (
                f"a process that loads pictures has died ({first_line(error)}); if memory ran out, "
                "lower --num_threads"
            )
            if any(process.exitcode == BUS_ERROR for process in processes):
                message = SHM_FULL
            yield SampleError(message, is_bad=False)

    def _report(self, messages: list[str]) -> None:
        """Count each bad picture that was skipped, and report it once."""
        for message in filter(None, messages):
            self.skipped[message] += 1
            if self.skipped[message] == 1:
                tell(f"skipped, {len(self.skipped)} so far: {message}")

    def _note(self, noticed: Notes | None) -> None:
        """Tell what was noticed in the pictures of the first epoch."""
        if self.notes is not None and noticed is not None:
            for line in self.notes.add(noticed):
                tell(line)


def tell(line: str) -> None:
    """Print a line without breaking the progress bars."""
    # Processes other than the main one have no standard output.
    to = sys.stdout if distributed.is_main() else sys.stderr
    tqdm.write(line, file=to)
    to.flush()


class Batch(dict):
    """The samples of one process, by key, and the share of the whole batch that they are."""

    def __init__(self, samples: dict, share: Share):
        super().__init__(samples)
        self.share = share

    def shares_kept(self) -> dict[str, tuple[float, float]]:
        """By file, which share of its height and width is no padding (`BaseDataset.unpadded`)."""
        return {
            path: (float(height / self[side].shape[2]), float(width / self[side].shape[3]))
            for side in "AB"
            if f"{side}_size" in self
            for path, (height, width) in zip(
                self[f"{side}_paths"], self[f"{side}_size"].double(), strict=True
            )
        }


class EpochBatches(Sampler[list[int]]):
    """The indices of each batch, from `start` on, in an order that depends only on (seed, epoch).

    The order is cut into batches of batch_size images per process, and each batch into consecutive
    shares. If the last batch is too small for all processes, those without a share get an image of
    weight 0. With `equal_shares` the epoch instead ends before the images that cannot be shared
    equally.
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
        # Counted from the start: a different number of processes may have left it uneven.
        left_out = (self.num_samples - self.start) % distributed.size() if self.equal_shares else 0
        return self.num_samples - left_out

    def __len__(self) -> int:
        return -(-(self.end - self.start) // (self.batch_size * distributed.size()))

    def shares(self) -> Iterator[Share]:
        """Yield this process's share of each batch."""
        rank, size = distributed.rank(), distributed.size()
        for first in range(self.start, self.end, self.batch_size * size):
            num_all = min(self.batch_size * size, self.end - first)
            least, more = divmod(num_all, size)
            num = least + (rank < more)
            yield Share(first + rank * least + min(rank, more), num, num_all, num * size / num_all)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.num_samples))
        if self.shuffle:
            with isolated_randomness(self.seed, int(self.epoch)):
                order = torch.randperm(self.num_samples).tolist()
        for share in self.shares():
            first = min(share.first, self.num_samples - 1)
            yield order[first : first + max(1, share.num)]


class DataError(UserError):
    """A sample could not be loaded; the run itself is sound and can be saved."""


class DataErrorElsewhere(DataError, ReportedElsewhere):
    """Another process could not load a sample."""


class LoadingTraceback(Exception):
    """The cause of a DataError: its text is the traceback from the process that had the error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class SampleError:
    """Passes an error from a worker to the main process; an exception would lose its type.

    Attributes:
        is_bad: whether the sample is at fault, and training could do without it.
        details: the traceback of the exception.
    """

    def __init__(self, message: str, is_bad: bool = True, details: str = ""):
        self.message, self.is_bad, self.details = message, is_bad, details

    @staticmethod
    def of(error: BaseException, place: str) -> SampleError:
        """The SampleError for an exception that was raised at this place."""
        details, is_bad = traceback.format_exc(), True
        if isinstance(error, UserError):
            message, is_bad = str(error), not isinstance(error, MissingOption)
        elif isinstance(error, Image.DecompressionBombError):  # a dataset called Pillow directly
            message = f"{error}; raise --max_megapixels if you trust the file"
        else:
            message = f"{place}: {described(error)}"
            is_bad = isinstance(error, OSError)  # such as Pillow's; anything else is a bug
            if SHM_ERROR.search(str(error)):
                message = SHM_FULL
            elif is_out_of_memory(error):
                message = out_of_memory(message, MEMORY_FLAGS)
        return SampleError(message, is_bad, details)


class SeededDataset(Dataset):
    """A dataset that seeds the random generators from (seed, epoch, index) for each sample.

    With `replace_bad` the next good sample replaces a bad one; the key "skipped" then holds the
    error message.
    """

    def __init__(self, dataset: Any, seed: int, epoch: torch.Tensor, replace_bad: bool):
        self.dataset, self.seed, self.epoch, self.replace_bad = dataset, seed, epoch, replace_bad

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        with isolated_randomness(self.seed, int(self.epoch), index):
            if not self.replace_bad:
                return self._sample(index)
            message = ""
            for i in range(len(self)):
                sample = self._sample((index + i) % len(self))
                if not isinstance(sample, SampleError):
                    return {**sample, "skipped": message}
                if not sample.is_bad:
                    return sample
                message = message or sample.message
            return SampleError(none_good(message), is_bad=False)

    def _sample(self, index: int) -> Any:
        try:
            sample = self.dataset[index]
            if not isinstance(sample, dict):
                raise TypeError(f"a sample must be a dict, but this is a {type(sample).__name__}")
            return {**sample, "_notes": notes.take()}
        except BaseException as error:  # a user's own dataset may raise anything
            if isinstance(error, KeyboardInterrupt) and get_worker_info() is None:
                raise
            return SampleError.of(error, f"{type(self.dataset).__name__}, sample {index}")


def none_good(message: str) -> str:
    """The error of a data set whose pictures are all bad; `message` is that of the first."""
    return f"no picture can be loaded: {message}"


def collate(samples: list[Any], leaves_out: bool = False) -> Any:
    """The samples as one batch, or an error that names all the bad ones.

    If it `leaves_out` the bad ones, the key "skipped" holds their error messages. It is the only
    key if none is good.
    """
    errors = [sample for sample in samples if isinstance(sample, SampleError)]
    all_bad = all(error.is_bad for error in errors)
    if errors and not (leaves_out and all_bad):
        messages = dict.fromkeys(error.message for error in errors)
        details = "\n".join(dict.fromkeys(error.details for error in errors))
        return SampleError("; ".join(messages), all_bad, details)
    if errors:
        good = [sample for sample in samples if not isinstance(sample, SampleError)]
        batch = collate(good) if good else {}
        if not isinstance(batch, SampleError):
            batch["skipped"] = [error.message for error in errors]
        return batch
    noticed = Notes()
    for sample in samples:
        noticed.add(sample.pop("_notes", Notes()))
    try:
        batch = different_sizes(samples) or default_collate(samples)
        return {**batch, "_notes": noticed} if isinstance(batch, dict) else batch
    except Exception as error:
        return SampleError.of(error, "samples of one batch")


def different_sizes(samples: list[dict]) -> SampleError | None:
    """The error for pictures of different sizes, which cannot form a batch; None if they can."""
    for key, value in samples[0].items():
        shapes = {tuple(s[key].shape) for s in samples} if isinstance(value, torch.Tensor) else ()
        if len(shapes) > 1:
            sizes = " and ".join(sorted(f"{shape[-1]}x{shape[-2]}" for shape in shapes))
            return SampleError(
                f"pictures of {sizes} cannot form one batch; pass --batch_size 1, or --preprocess "
                "resize_and_crop",
                is_bad=False,
            )
    return None


def begin_worker(closing: torch.Tensor, _: int) -> None:
    """Set up a worker process."""
    leave_signals_to_main(closing)
    make_streams_last()  # a spawned worker does not inherit this


def num_bytes(value: Any) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = [*value.values()]
    return sum(map(num_bytes, value)) if isinstance(value, list | tuple) else 0


def workers_with_room(wanted: int, samples: Dataset, batch_size: int, free: int) -> int:
    """How many of the wanted workers can pass their batches through `free` bytes.

    Prints a line if that is fewer than wanted. Only loads a sample to measure it if space may be
    short.
    """
    num_batches = PREFETCH * wanted + HELD
    if free >= num_batches * batch_size * LARGEST_USUAL_SAMPLE:
        return wanted
    last = len(samples) - 1  # type: ignore[arg-type] # a map-style dataset
    some = dict.fromkeys(round(last * part) for part in (0, 0.25, 0.5, 0.75, 1))
    # Samples with errors are reported when their turn comes.
    batch_bytes = batch_size * max(num_bytes(collate([samples[index]])) for index in some)
    if free >= num_batches * batch_bytes:
        return wanted
    possible = max(0, (free // batch_bytes - HELD) // PREFETCH)
    print(
        f"loading processes: {possible} instead of {wanted}, since {SHM} has {free / 2**20:.0f} "
        f"MiB left and a batch takes {batch_bytes / 2**20:.0f} MiB; {MORE_SHM}"
    )
    return possible
