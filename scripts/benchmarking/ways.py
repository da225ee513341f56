"""Single settings compared: what each one alone does to a training step and its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

import train
from scripts.benchmarking.measure import GIB, in_turns, seconds
from scripts.benchmarking.rows import WARM_UP, random_batch, take_step
from scripts.benchmarking.table import cell, markdown
from scripts.benchmarking.variants import Setting, build
from util.errors import UserError

SEARCHING = "cudnn.benchmark"
FLAGS = {
    "default": "",
    "bf16": "--precision bf16",
    "fp16": "--precision fp16",
    "channels_last": "--channels_last on",
    "bf16, channels_last": "--precision bf16 --channels_last on",
    "compiled": "--compile",
    "bf16, compiled": "--precision bf16 --compile",
    "recomputing": "--grad_checkpoint",
    "inputs joined": "",
    "inputs one by one": "",
    SEARCHING: "",
}
JOINS = {"inputs joined": True, "inputs one by one": False}


def ways(setting: Setting) -> list[str]:
    """The names of the settings that this device has."""
    without = set()
    if not setting.compiles:
        without |= {"compiled", "bf16, compiled"}
    if setting.device.type != "cuda":
        without |= {"fp16", SEARCHING}
    return [way for way in FLAGS if way not in without]


class Way(NamedTuple):
    """What was measured.

    Attributes:
        gib: the peak of what is allocated on a GPU in a step, beyond what stays allocated between
            steps: weights and moments; 0 on a CPU.
    """

    name: str
    seconds: list[float]
    gib: float


def compare(setting: Setting, model: str) -> list[Way]:
    """Training steps of a model in each way, alternately; the default is the first.

    Leaves out what does not fit into the memory; UserError if the default does not.
    """
    batch = random_batch(setting)
    runs: dict[str, train.Run] = {}
    for way in ways(setting):
        try:
            runs[way] = start(setting, model, way, batch)
        except torch.OutOfMemoryError as error:
            if way == "default":
                line = f"{model} does not fit at {setting.size_px} px; pass a smaller --size"
                raise UserError(line) from error
    peaks = dict.fromkeys(runs, 0)

    def step(way: str) -> float:
        before = allocated(setting.device)
        with searching(way):
            took_s = seconds(
                partial(take_step, runs[way].model, batch), setting.device, setting.steps_per_turn
            )
        peaks[way] = max(peaks[way], peak(setting.device) - before)
        return took_s

    samples = in_turns(step, setting.steps, runs)
    return [Way(name, took, peaks[name] / GIB) for name, took in samples.items()]


def start(setting: Setting, model: str, way: str, batch: dict[str, Any]) -> train.Run:
    """A run that has taken its first steps."""
    run = build(setting, "default", model, f"way_{[*FLAGS].index(way)}", FLAGS[way])
    run.model.joins_inputs = JOINS.get(way, run.model.joins_inputs)
    with searching(way):
        for _ in range(WARM_UP):
            take_step(run.model, batch)
    return run


@contextlib.contextmanager
def searching(way: str) -> Iterator[None]:
    """Inside, cuDNN searches for the fastest algorithm if that is the way."""
    torch.backends.cudnn.benchmark = way == SEARCHING
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False


def allocated(device: torch.device) -> int:
    """Bytes of tensors on a GPU now, from where the peak counts anew; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def table_of(model: str, found: Sequence[Way]) -> str:
    """In Markdown; gains are those of the fastest turns."""
    lines = [["", f"{model}: one training step, s", "gain", "beyond weights, GiB"]]
    for way in found:
        gain = min(found[0].seconds) / min(way.seconds)
        memory = f"{way.gib:.2f}" if way.gib else ""
        lines.append([way.name, cell(way.seconds), f"{gain:.2f}", memory])
    return markdown(lines)
