"""Devices, seeds, random states, and exit statuses."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from util import runtime
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def draws() -> list[float]:
    """A number of each random source."""
    return [random.random(), np.random.rand(), torch.rand(()).item(), random.gauss(0, 1)]


def test_a_seed_is_for_all_sources():
    runtime.seed_everything(7)
    first = draws()
    runtime.seed_everything(8)
    second = draws()
    runtime.seed_everything(7)
    assert draws() == first
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_random_states_go_on_from_a_file(tmp_path):
    """With half of a pair of normal numbers, which Python and NumPy keep for the next call."""
    runtime.seed_everything(7)
    random.gauss(0, 1), np.random.randn()
    torch.save(runtime.RandomState(CPU).state_dict(), tmp_path / "state.pth")
    expected = [*draws(), np.random.randn()]
    runtime.seed_everything(8)
    runtime.RandomState(CPU).load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert [*draws(), np.random.randn()] == expected


def test_isolated_randomness_is_a_function_of_its_key_and_leaves_no_trace():
    def inside(*key: int) -> list[float]:
        with runtime.isolated_randomness(*key):
            return draws()

    runtime.seed_everything(7)
    expected = draws()
    runtime.seed_everything(7)
    drawn = [inside(1, 2), inside(2, 1), inside(1, 2), inside(1, 3)]
    assert draws() == expected
    assert drawn[0] == drawn[2]
    for other in (drawn[1], drawn[3]):
        assert all(a != b for a, b in zip(drawn[0], other, strict=True))


@pytest.fixture
def gpus(monkeypatch):
    """`gpus(2)`: pretend that the machine has two GPUs; this is the last of `processes`."""

    def pretend(cuda: int, mps: bool = False, processes: int = 1) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr("util.distributed.size", lambda: processes)
        monkeypatch.setenv("LOCAL_RANK", str(processes - 1))

    return pretend


@pytest.mark.parametrize(
    "name, machine, device",
    [
        ("auto", (0, False), "cpu"),
        ("auto", (0, True), "mps"),
        ("auto", (2, True), "cuda"),
        ("cpu", (2, True), "cpu"),
        ("mps", (2, True), "mps"),
        ("cuda", (2, False), "cuda"),
        ("cuda:1", (2, False), "cuda:1"),
        ("cuda", (2, False, 2), "cuda:1"),
        ("auto", (2, False, 2), "cuda:1"),
        ("cuda:0", (2, False, 2), "cuda:0"),
        ("cpu", (2, False, 2), "cpu"),
    ],
)
def test_devices(name, machine, device, gpus):
    gpus(*machine)
    assert runtime.resolve_device(name) == torch.device(device)


@pytest.mark.parametrize(
    "name, machine, says",
    [
        ("cuda", (0,), "can use no CUDA GPU"),
        ("cuda:2", (2,), "there are 2 GPUs, cuda:0 to cuda:1"),
        ("cuda", (2, False, 3), "there are 2 GPUs"),
        ("mps", (2,), "no MPS"),
    ],
)
def test_devices_that_are_not_there(name, machine, says, gpus):
    gpus(*machine)
    with pytest.raises(UserError, match=f"--device {name}: .*{says}"):
        runtime.resolve_device(name)


def raising(error: BaseException):
    def main() -> None:
        raise error

    return main


def test_messages_are_in_composed_unicode(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert runtime.run(raising(UserError("e\u0301 \u1112\u1161\u11ab"))) == 2
    assert capsys.readouterr().err == "train.py: error: \u00e9 \ud55c\n"


@pytest.mark.parametrize(
    "error, status, line",
    [
        (UserError("--lr: no\nnumber\x1b[0m"), 2, "error: --lr: no\\nnumber\\x1b[0m\n"),
        (OSError(28, "No space left on device"), 2, "No space left on device\n"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C\n"),
        (MemoryError(), 2, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: 3 bytes"), 2, "out of memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), 2, "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), 2, "out of memory"),
    ],
)
def test_a_command_ends_in_a_line_and_a_status(error, status, line, capsys):
    assert runtime.run(raising(error)) == status
    printed = capsys.readouterr().err
    assert line in printed and printed.strip().count("\n") == 0


@pytest.mark.parametrize("flags", ["", "--batch_size 1, --device cpu"])
def test_memory_that_runs_out_names_the_flags_of_the_program(flags, capsys):
    assert runtime.run(raising(MemoryError("all 8 GiB")), flags) == 2
    advice = f"; try, in this order: {flags}" if flags else ""
    assert capsys.readouterr().err.endswith(f"error: out of memory (all 8 GiB){advice}\n")


def test_a_mistake_of_ours_keeps_its_traceback_and_success_is_0():
    with pytest.raises(RuntimeError, match="a bug"):
        runtime.run(raising(RuntimeError("a bug")))
    assert runtime.run(lambda: None) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_a_reader_that_leaves_is_no_error():
    """As `train.py ... | head -1`."""
    program = "from util import runtime; import sys\n"
    program += "sys.exit(runtime.run(lambda: [print('line', flush=True) for _ in range(99999)]))"
    command = [sys.executable, "-c", program]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
