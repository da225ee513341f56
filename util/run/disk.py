"""Whether the disk has room for the checkpoints of a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from util import distributed
from util.image_pool import ImagePool
from util.run.clock import Clock
from util.run.labels import with_weights
from util.run.trial import largest

MOMENTS = 2  # that Adam keeps of each weight
WHOLE = 2  # checkpoints with a state beside the numbered ones: `latest`, and the one being written


class Room:
    """The room that a run's checkpoints need on the disk, from where it stands to its end.

    Args:
        folder: checkpoints_dir/name, which may not exist yet.
        weights, state: the size of one checkpoint's networks, and of its state, in bytes.
        clock: the position of the run.
        epoch_freq: numbered checkpoints are saved every this many epochs, and at the end.
        iter_freq: iter_N is saved every this many images; 0: never.
        keep, keep_states: see Checkpoints.
        has_best: whether there is a checkpoint `best`.
        resumes: whether the numbered checkpoints in the folder belong to this run.
    """

    def __init__(
        self,
        folder: Path,
        weights: int,
        state: int,
        clock: Clock,
        *,
        epoch_freq: int,
        iter_freq: int = 0,
        keep: int = 0,
        keep_states: int = 0,
        has_best: bool = False,
        resumes: bool = False,
    ):
        self.folder, self.weights, self.state = folder, weights, state
        self.keep, self.keep_states = keep, keep_states
        self.num_whole = WHOLE + has_best
        there = with_weights(folder) if resumes else []
        numbers = [int(label) for label in there if label.isdecimal()]
        # Those from here on, which a run that has gone back may have, are saved again.
        self.num_numbers = sum(number < clock.epoch for number in numbers)
        self.num_numbers += -(-clock.last_epoch // epoch_freq) - (clock.epoch - 1) // epoch_freq
        self.num_iters = sum(label.startswith("iter_") for label in there)
        if iter_freq:
            last = clock.total_images + clock.images_left
            self.num_iters += last // iter_freq - clock.total_images // iter_freq

    def needed(self, keep: int | None = None) -> int:
        """The bytes that are still to be written at most at a time, where `keep` numbers stay.

        The peak is in the last save, before it deletes what it replaces.
        """
        keep = self.keep if keep is None else keep
        older = min(self.num_numbers - 1, keep or self.num_numbers)
        num_weights = older + self.num_iters + self.num_whole
        num_states = min(older, 1 + self.keep_states) + self.num_whole
        peak = num_weights * self.weights + num_states * self.state
        return max(peak - used(self.folder), self.weights + self.state)

    def free(self) -> int:
        """The bytes that are free on the disk of the folder."""
        parents = (self.folder, *self.folder.absolute().parents)
        return shutil.disk_usage(next(path for path in parents if path.is_dir())).free

    def warning(self) -> str:
        """What to do if the disk has less room than the run needs; else ''."""
        needed, free = self.needed(), self.free()
        if needed <= free:
            return ""
        fitting = largest(lambda keep: self.needed(keep) <= free, range(1, self.num_numbers))
        keep = fitting or 1
        return (
            f"warning: the checkpoints of this run need {size_text(needed)}, but the disk of "
            f"{self.folder} has {size_text(free)} free; --keep_checkpoints {keep} needs "
            f"{size_text(self.needed(keep))}{'' if fitting else ', so free some space too'}"
        )


def weights_size(networks: Iterable[nn.Module]) -> int:
    """Bytes of the files of some networks."""
    return sum(value.nbytes for net in networks for value in net.state_dict().values())


def state_size(
    optimizers: Iterable[torch.optim.Optimizer], memories: Iterable[object], picture: int
) -> int:
    """Bytes of a state, if optimizers keep as much as Adam and image pools are full.

    Args:
        memories: see BaseModel.memories; others than image pools count as nothing.
        picture: bytes of one generated picture.
    """
    groups = [group["params"] for optimizer in optimizers for group in optimizer.param_groups]
    moments = MOMENTS * sum(weight.nbytes for weights in groups for weight in weights)
    pooled = sum(memory.pool_size for memory in memories if isinstance(memory, ImagePool))
    return moments + pooled * picture * distributed.size()


def used(folder: Path) -> int:
    """Bytes of the checkpoints in a folder; files with several names count once."""
    files = [file.stat() for file in folder.glob("*.pth")]
    return sum({(s.st_dev, s.st_ino): s.st_size for s in files}.values())


def size_text(num_bytes: int) -> str:
    """'31 MB', '4.1 GB'."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
