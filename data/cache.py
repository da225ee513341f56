"""A cache of decoded and resized pictures, kept between epochs and shared by all workers.

Decoding and resizing take most of a sample's time and give the same pixels each time. Crop and flip
come afterwards, so caching changes nothing but the speed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch

from data import reading
from data.transforms import Size
from util.errors import first_line

RAM_SHARE = 0.25  # of the memory available at the start, and of /dev/shm
DISK_SHARE = 0.5  # of the free space
UNKNOWN_RAM = 1 << 30  # bytes assumed to be available if the system does not say
CHECKSUM = 4  # bytes
KEPT_S = 30 * 24 * 3600  # files that no run has used for this long are deleted

ALIGNMENT = 4  # bytes; where a float32 may begin

Key = tuple[str, str]  # (file, second file of a pair or number of channels)


class Form(NamedTuple):
    """What pixels look like: (width, height), channels, and whether float32 instead of uint8."""

    size: Size
    num_channels: int
    is_float: bool = False

    @property
    def num_bytes(self) -> int:
        """Of the pixels, and unused ones up to where the next may begin."""
        used = self.size[0] * self.size[1] * self.num_channels * (4 if self.is_float else 1)
        return -(-used // ALIGNMENT) * ALIGNMENT

    def view(self, block: torch.Tensor) -> torch.Tensor:
        """The bytes of `num_bytes` as pixels (C, H, W)."""
        (width, height), dtype = self.size, torch.float32 if self.is_float else torch.uint8
        values = block.view(dtype)[: width * height * self.num_channels]
        return values.view(self.num_channels, height, width)


class PictureCache:
    """Pictures by key, all in one block of shared memory or one mapped file.

    A checksum for each key shows that its pixels are complete. Each process checks it once, so
    pixels that a crash kept from reaching the disk, or that another process has not finished
    writing, are made again.

    Args:
        forms: the sizes and channels of each key's pictures.
        file: where the block is mapped, for a cache that outlives the run; None: in memory.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, forms: Mapping[Key, list[Form]], file: Path | None = None):
        self.forms, self.file = forms, file
        lengths = [sum(form.num_bytes for form in pictures) for pictures in forms.values()]
        starts = np.cumsum([CHECKSUM * len(lengths), *lengths]).tolist()
        ends = zip(forms, pairwise(starts), strict=True)
        self.places = {key: (number, *pixels) for number, (key, pixels) in enumerate(ends)}
        self._memory: torch.Tensor | None = None
        self._mapped_in: int | None = None
        self._checked: set[Key] = set()
        if file is None:
            # Moving zeros into shared memory would take their memory twice.
            self._memory = torch.empty(starts[-1], dtype=torch.uint8).share_memory_().zero_()
        elif file.exists() and file.stat().st_size == starts[-1]:
            os.utime(file)  # mark it as used
        else:
            create_file(file, starts[-1])

    def get(self, key: Key, make: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """The pixels of a key, (C, H, W); the first process to ask for them makes them."""
        if key not in self.places:
            return make()
        checksums, block = self.checksums(), self._block()
        number, start, end = self.places[key]
        stored, first = [], start
        for form in self.forms[key]:
            last = first + form.num_bytes
            stored.append(form.view(block[first:last]))
            first = last
        if key not in self._checked:
            pixels = block[start:end].numpy()
            if checksums[number] != checksum(pixels):
                made = make()
                if [(p.shape, p.dtype) for p in made] != [(p.shape, p.dtype) for p in stored]:
                    return made  # the file is not what its header or ending told
                for place, picture in zip(stored, made, strict=True):
                    place.copy_(picture)
                checksums[number] = checksum(pixels)
            self._checked.add(key)
        return stored

    def checksums(self) -> np.ndarray:
        """(keys,) uint32; 0 for pictures that have not been made yet."""
        return self._block()[: CHECKSUM * len(self.places)].numpy().view(np.uint32)

    def _block(self) -> torch.Tensor:
        """All bytes: the checksums, then the pixels."""
        if self.file is not None and self._mapped_in != os.getpid():
            # Each process maps the file itself, and may find a newer file than its parent did.
            self._memory = torch.from_numpy(np.memmap(self.file, dtype=np.uint8, mode="r+"))
            self._mapped_in, self._checked = os.getpid(), set()
        assert self._memory is not None
        return self._memory

    def __getstate__(self) -> dict:
        unmapped = {"_memory": None, "_mapped_in": None}
        return {**vars(self), **(unmapped if self.file else {})}


def checksum(pixels: np.ndarray) -> int:
    """The CRC-32 of the bytes; never 0."""
    return zlib.crc32(pixels.data) or 1


def create_file(file: Path, size: int) -> None:
    """Create a file of zeros, with its space reserved, and delete old unused files beside it.

    Raises OSError if there is not enough space.
    """
    # Another run may look for the file or create it at the same time, so it must appear whole.
    temporary = file.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as block:
            if hasattr(os, "posix_fallocate"):
                # If the file had holes, filling one on a full disk would kill the process.
                os.posix_fallocate(block.fileno(), 0, size)
            else:
                block.truncate(size)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    for other in file.parent.iterdir():
        with contextlib.suppress(OSError):  # gone already, or in use
            if time.time() - other.stat().st_mtime > KEPT_S:
                other.unlink()


def cache_of(opt: argparse.Namespace, forms: Mapping[Key, list[Form]]) -> PictureCache | None:
    """The cache that --cache asks for, for pictures that a dataset reads with these options."""
    sizes = [opt.preprocess, opt.load_size, opt.crop_size, opt.size_multiple, opt.size_minimum]
    settings = str([*sizes, opt.direction, opt.range_A, opt.range_B])
    return create_cache(opt.cache, forms, Path(opt.checkpoints_dir) / ".cache", settings)


def create_cache(
    mode: str, forms: Mapping[Key, list[Form]], folder: Path, settings: str
) -> PictureCache | None:
    """The cache that --cache asks for, or None if it is off, empty or over its budget.

    Args:
        mode: none, ram, disk or auto (ram if it fits).
        forms: the sizes and channels of each key's pictures.
        folder: for disk; a file there is reused as long as pictures and settings stay the same.
        settings: everything that the pixels depend on besides the files.
    """
    if mode == "none" or not forms:
        return None
    needed = sum(CHECKSUM + sum(form.num_bytes for form in own) for own in forms.values())
    file, budget = None, 0.0
    if mode == "disk":
        pictures = [[key, *map(stamp, key), form] for key, form in forms.items()]
        content = json.dumps([reading.VERSION, PIL.__version__, settings, pictures])
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        file, budget = folder / f"{digest}.bin", shutil.disk_usage(folder).free * DISK_SHARE
    else:
        budget = ram_budget()
    if needed > budget and not (file and file.exists()):
        if mode != "auto":
            print(
                f"--cache {mode}: the pictures need {needed / 1e9:.1f} GB but the budget is "
                f"{budget / 1e9:.1f} GB; they are not cached"
            )
        return None
    try:
        return PictureCache(forms, file)
    except OSError as error:
        print(f"--cache {mode}: {folder}: {first_line(error)}; the pictures are not cached")
        return None


def stamp(part: str) -> list[int]:
    """The time and size of a file, which change with its content; [] if the part is no file."""
    if not os.path.isfile(part):
        return []
    status = os.stat(part)
    return [status.st_mtime_ns, status.st_size]


def ram_budget() -> float:
    """Bytes of memory for this process's pictures: its part of RAM_SHARE of what is free.

    torchrun starts LOCAL_WORLD_SIZE processes on a machine, each with its own cache.
    """
    available = UNKNOWN_RAM
    if os.path.exists("/proc/meminfo"):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) * 1024
    if os.path.isdir("/dev/shm"):  # holds shared memory; small in many containers
        available = min(available, shutil.disk_usage("/dev/shm").free)
    available = min([available, *cgroups_free()])
    return available * RAM_SHARE / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def cgroups_free(
    mount: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Bytes left under each memory limit of the containers or jobs that this process runs in.

    Args:
        mount: where the system describes control groups: version 2, or version 1 in memory/.
        membership: lines NUMBER:CONTROLLERS:PATH; version 2 has no controllers.
    """
    left = []
    for line in membership.read_text().splitlines() if membership.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used, cached = mount, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                values = [(folder / name).read_text() for name in (limit, used, "memory.stat")]
            except OSError:  # above the mount, or hidden from a container
                continue
            if values[0].strip() != "max":
                # Cached file contents count as used, but are freed when memory is needed.
                status = dict(entry.split() for entry in values[2].splitlines())
                left.append(int(values[0]) - int(values[1]) + int(status.get(cached, 0)))
    return [max(0, free) for free in left]
