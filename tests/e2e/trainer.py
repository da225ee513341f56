"""Runs train.py in processes that start quickly, and stops them where a test wants.

They are forked from a process that has already imported the program, since importing takes
longer than the runs.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

IMPORTED = ["train", "models.pix2pix_model", "models.cycle_gan_model", "data.aligned_dataset"]
IMPORTED += ["data.unaligned_dataset", "PIL.PngImagePlugin"]
IMPORTED += ["torch._dynamo"]  # which --grad_checkpoint imports, for seconds
WORKER_DIES = 0  # instead of a signal


class Tripwire:
    """Writes standard output to a file; at a certain line, sends this process a signal.

    Or, for WORKER_DIES, one of its processes that load pictures is killed.
    """

    def __init__(self, file: Path, pattern: str, number: int):
        self.file = open(file, "a", encoding="utf-8")  # noqa: SIM115 - as long as the process
        self.pattern, self.number = pattern, number

    def write(self, text: str) -> int:
        count = self.file.write(text)
        self.file.flush()
        if self.pattern and re.search(self.pattern, text):
            if self.number == WORKER_DIES:
                self.pattern = ""
                multiprocessing.active_children()[0].kill()
            else:
                os.kill(os.getpid(), self.number)
        return count

    def flush(self) -> None:
        self.file.flush()


def trip_at_call(place: str, number: int) -> None:
    """Send this process a signal when a function, MODULE:NAME, is called for the Nth time.

    `place` is "MODULE:NAME N"; NAME may be that of a method, CLASS.NAME.
    """
    where, count = place.split()
    module, names = where.split(":")
    owner = importlib.import_module(module)
    *parents, name = names.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    called, left = getattr(owner, name), [int(count)]

    def tripped(*arguments, **named):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)
        return called(*arguments, **named)

    setattr(owner, name, tripped)


def child(folder: Path, words: list[str], pattern: str, number: int) -> None:
    """What a forked process does: train.py in `folder`, as from the command line."""
    multiprocessing.set_start_method(None, force=True)  # of this system, not of this test
    torch.set_num_threads(1)
    os.chdir(folder)
    sys.argv = ["train.py", *words]
    import train
    from util import runtime

    if pattern.startswith("call "):
        trip_at_call(pattern.removeprefix("call "), number)
        pattern = ""
    with (
        contextlib.redirect_stdout(Tripwire(folder / "out.txt", pattern, number)),  # type: ignore
        open(folder / "err.txt", "a", encoding="utf-8") as errors,
        contextlib.redirect_stderr(errors),
    ):
        status = runtime.run(train.main)
    sys.exit(status)


class Trainer:
    """Runs train.py in processes that start quickly."""

    def __init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        self.method = "forkserver" if "forkserver" in methods else "spawn"
        self.context = multiprocessing.get_context(self.method)
        if self.method == "forkserver":
            self.context.set_forkserver_preload(IMPORTED)

    def start(
        self, folder: Path, flags: str, at: str = "", number: int = signal.SIGTERM
    ) -> BaseProcess:
        """Start train.py; it gets the signal when it prints what the pattern `at` matches."""
        process = self.context.Process(target=child, args=(folder, flags.split(), at, int(number)))
        process.start()
        return process

    def run(
        self, folder: Path, flags: str, at: str = "", number: int = signal.SIGTERM, ends: int = 0
    ) -> None:
        """Run it to its end, which must be of this status (minus the signal if killed by one)."""
        process = self.start(folder, flags, at, number)
        process.join(60)
        process.kill()  # unless it has ended
        process.join()
        assert process.exitcode == ends, told(folder)[-1500:]


def told(folder: Path) -> str:
    """All that the processes in a folder have printed."""
    files = [folder / "out.txt", folder / "err.txt"]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each number, text and tensor of a state under its path; tensors as (type, shape, bytes)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{index}")
    elif isinstance(value, torch.Tensor):
        yield path, (value.dtype, tuple(value.shape), value.numpy().tobytes())
    else:
        yield path, value
