"""Decoded and resized pictures, kept between epochs and shared by all loading processes.

Decoding and resizing take most of the time of a sample and give the same pixels each time; crop and
flip come after, so that caching changes nothing but speed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from data.transforms import Size

RAM_SHARE = 0.25  # of the memory that is available at the start, and of /dev/shm
DISK_SHARE = 0.5  # of the free space
UNKNOWN_RAM = 1 << 30  # what is taken to be available where the system does not say

Key = tuple[str, str]  # (file, second file or form of the first)
Form = tuple[Size, int]  # (width, height) and channels, 1 or 3


class PictureCache:
    """8-bit pictures by key, all in one block of shared memory or one mapped file.

    Args:
        forms: of the pictures of each key.
        file: where the block is mapped, for a cache that outlives the run; None: in memory.
    """

    def __init__(self, forms: Mapping[Key, list[Form]], file: Path | None = None):
        self.forms, self.file = forms, file
        lengths = [sum(map(num_bytes, pictures)) for pictures in forms.values()]
        starts = np.cumsum([len(lengths), *lengths]).tolist()
        self.places = dict(zip(forms, zip(range(len(lengths)), starts, strict=False), strict=True))
        if file is None:
            self._memory = torch.zeros(starts[-1], dtype=torch.uint8).share_memory_()
        elif not file.exists() or file.stat().st_size != starts[-1]:
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "wb") as block:
                block.truncate(starts[-1])

    def get(self, key: Key, make: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """The pictures of a key, (C, H, W) uint8, made the first time in any process and kept."""
        if key not in self.places:
            return make()
        block = self._block()
        flag, start = self.places[key]
        stored = []
        for (width, height), channels in self.forms[key]:
            end = start + num_bytes(((width, height), channels))
            stored.append(block[start:end].view(channels, height, width))
            start = end
        if not block[flag]:
            for place, pixels in zip(stored, make(), strict=True):
                place.copy_(pixels)
            block[flag] = 1  # after the pixels: another process may look at any moment
        return stored

    def _block(self) -> torch.Tensor:
        """The bytes: a flag per picture that says whether it is there, then all pixels."""
        if self.file is None:
            return self._memory
        if getattr(self, "_mapped_in", None) != os.getpid():  # each process maps the file itself
            self._mapped = torch.from_numpy(np.memmap(self.file, dtype=np.uint8, mode="r+"))
            self._mapped_in = os.getpid()
        return self._mapped

    def __getstate__(self) -> dict:
        return {name: v for name, v in vars(self).items() if not name.startswith("_mapped")}


def num_bytes(form: Form) -> int:
    (width, height), channels = form
    return width * height * channels


def create_cache(
    mode: str, forms: Mapping[Key, list[Form]], folder: Path, settings: str
) -> PictureCache | None:
    """The cache that --cache asks for, or None where it is off, empty or over its budget.

    Args:
        mode: none, ram, disk or auto (ram where it fits).
        forms: of the pictures of each key.
        folder: for disk; a file there is used again while pictures and settings are the same.
        settings: all that the pixels depend on besides the files.
    """
    if mode == "none" or not forms:
        return None
    needed = sum(1 + sum(map(num_bytes, pictures)) for pictures in forms.values())
    file, budget = None, 0.0
    if mode == "disk":
        stamps = [[*key, os.path.getmtime(key[0]), os.path.getsize(key[0])] for key in forms]
        digest = hashlib.sha256(json.dumps(["planar", settings, stamps]).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        file, budget = folder / f"{digest}.bin", shutil.disk_usage(folder).free * DISK_SHARE
    else:
        budget = ram_budget()
    if needed > budget and not (file and file.exists()):
        if mode != "auto":
            print(
                f"--cache {mode}: the pictures need {needed / 1e9:.1f} GB and the budget is "
                f"{budget / 1e9:.1f} GB; they are not cached"
            )
        return None
    return PictureCache(forms, file)


def ram_budget() -> float:
    """Bytes that pictures may take in memory: RAM_SHARE of what is free, over all processes here.

    torchrun starts LOCAL_WORLD_SIZE processes on a machine, each with a cache of its own.
    """
    available = UNKNOWN_RAM
    if os.path.exists("/proc/meminfo"):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) * 1024
    if os.path.isdir("/dev/shm"):  # where shared memory lies; small in many containers
        available = min(available, shutil.disk_usage("/dev/shm").free)
    return available * RAM_SHARE / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
