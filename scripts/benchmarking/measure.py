"""How to measure: by alternating, by the clock, by a program's output, by memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable

import torch

from scripts.benchmarking.variants import ROOT, VARIANTS, Setting, is_fast
from util.errors import UserError
from util.run.memory import process_peak
from util.speed import heap

GIB = 2**30

Samples = dict[str, list[float]]  # for each variant, one value per turn


def in_turns(
    measure: Callable[[str], float], turns: int, variants: Iterable[str] = VARIANTS
) -> Samples:
    """Measure the variants alternately, `turns` times each; all but plain keep freed memory."""
    samples: Samples = {variant: [] for variant in variants}
    for _ in range(turns):
        for variant in samples:
            heap.keep_freed_memory(is_fast(variant))
            samples[variant].append(measure(variant))
    return samples


def seconds(work: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Mean duration of a call, including the work it leaves to the device."""
    synchronize(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - started) / times


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_until(command: list[str], marks: list[str]) -> list[float]:
    """Seconds from the start of a command until it has printed each of these texts, in order.

    The command is killed after the last.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None  # since it is a pipe
    times: list[float] = []
    line = ""
    with process:
        for line in process.stdout:
            if marks[len(times)] in line:
                times.append(time.perf_counter() - started)
            if len(times) == len(marks):
                break
        process.kill()
    if len(times) < len(marks):
        raise UserError(f"{' '.join(command)} ended with {line.strip()!r}")
    return times


def matrix_rate(dtype: torch.dtype, setting: Setting) -> float:
    """Floating-point operations per second in the fastest of several large matrix products."""
    device, is_cuda = setting.device, setting.device.type == "cuda"
    n = 8192 if is_cuda else 256 if setting.tiny else 2048
    a, b = (torch.rand(n, n, device=device).to(dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # as convolutions do
    try:
        fastest_s = min(seconds(lambda: a @ b, device, times=5) for _ in range(5))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * n**3 / fastest_s


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process so far, or its peak allocation on the GPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return process_peak() / GIB
