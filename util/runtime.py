"""The environment of a process: its device, its random seeds, and how it ends."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from util import distributed, nvidia
from util.errors import ReportedElsewhere, Stopped, UserError, first_line
from util.startup import end_imports
from util.streams import RED, make_streams_last, paint

show_tracebacks = False  # set by --verbose
status = 1  # exit status of the process; 1, for an unexpected exception, until `run` returns


def has_gpu(index: int | None = None) -> bool:
    """Whether PyTorch sees this CUDA GPU, by default the current one, and has code for it."""
    if not torch.cuda.is_available():
        return False
    if torch.version.cuda is None:  # ROCm
        return True
    return nvidia.has_code(torch.cuda.get_device_capability(index), torch.cuda.get_arch_list())


def resolve_device(name: str | torch.device) -> torch.device:
    """The device that --device names; auto prefers CUDA, then MPS, then the CPU.

    Raises UserError if the device is not available.
    """
    if name == "auto":
        name = "cuda" if has_gpu() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and distributed.size() > 1:
        device = torch.device("cuda", distributed.local_rank())
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if 0 < count <= (device.index or 0):
            raise UserError(f"--device {name}: there are {count} GPUs, cuda:0 to cuda:{count - 1}")
        if count == 0 or not has_gpu(device.index):
            why = unused_card() or "install the CUDA build of PyTorch and the driver"
            raise UserError(
                f"--device {name}: PyTorch {torch.__version__} can use no CUDA GPU: {why}; or pass "
                "--device cpu"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: this machine or PyTorch build has no MPS; pass --device cpu")
    return device


def unused_card() -> str:
    """Why PyTorch cannot use an NVIDIA card of this machine, and how to fix that; else ''.

    A CUDA_VISIBLE_DEVICES that names no card (empty, -1, Slurm's NoDevFiles) is deliberate.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    if has_gpu() or not re.match(r"\s*(\d|GPU-|MIG-)", visible):
        return ""
    seen = f"PyTorch {torch.__version__} has no code for the card that it sees"
    why = nvidia.why_unused(torch.version.cuda)
    return why or (f"{seen}; install another build of it" if torch.cuda.is_available() else "")


def warn_of_unused_card(device: str) -> str:
    """Print and return a warning if --device auto leaves an NVIDIA card unused; else return ''."""
    why = unused_card() if device == "auto" else ""
    if why:
        why = f"WARNING: the NVIDIA card is not used, so this takes many times longer: {why}"
        print(f"\n{why}\n", flush=True)
    return why


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on all devices, for initialisation, dropout and sampling."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def isolated_randomness(*key: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, all random generators depend only on `key`; afterwards they are as before.

    They are those of the CPU and, if given, of a device. So the augmentation of a sample depends on
    (seed, epoch, index), not on the worker that draws it or on what was drawn before.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), seeded_device(device, seed):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


GPU_KINDS = ("cuda", "mps")


@contextlib.contextmanager
def current_gpu(device: torch.device | None) -> Iterator[Any]:
    """Inside, this GPU is the current one of the given module torch.cuda or torch.mps, which is
    None for another device.
    """
    if device is None or device.type not in GPU_KINDS:
        yield None
        return
    with torch.cuda.device(device if device.type == "cuda" else -1):
        yield getattr(torch, device.type)


@contextlib.contextmanager
def seeded_device(device: torch.device | None, seed: int) -> Iterator[None]:
    """Inside, a GPU's random generator starts from this seed; afterwards it is as before."""
    with current_gpu(device) as module:
        if module is None:
            yield
            return
        before = module.get_rng_state()
        module.manual_seed(seed)
        try:
            yield
        finally:
            module.set_rng_state(before)


class RandomState:
    """The random generators used in training on a device, as a part of a checkpoint."""

    def __init__(self, device: torch.device):
        self.device = device

    def state_dict(self) -> dict:
        version, words, gauss = random.getstate()
        name, keys, *rest = np.random.get_state(legacy=True)
        gpus = dict.fromkeys(GPU_KINDS)
        with current_gpu(self.device) as module:
            if module is not None:
                gpus[self.device.type] = module.get_rng_state()
        return {
            "python": [version, list(words), gauss],
            "numpy": [name, torch.tensor(np.asarray(keys, dtype=np.int64)), *rest],
            "torch": torch.get_rng_state(),
            **gpus,
        }

    def load_state_dict(self, state: dict) -> None:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        with current_gpu(self.device) as module:
            if module is not None and state.get(self.device.type) is not None:
                module.set_rng_state(state[self.device.type])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or this machine ran out of memory."""
    wanting = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error) for words in wanting
    )


def out_of_memory(reason: str, flags: str = "") -> str:
    """The error message; `flags` are those that may help, the best first."""
    return f"out of memory ({reason})" + (f"; try, in this order: {flags}" if flags else "")


def run(main: Callable[[], None], memory_flags: str = "") -> int:
    """Run a command, and return and store its exit status in `status`; see `outcome`."""
    global status
    status = outcome(main, memory_flags)
    return status


def outcome(main: Callable[[], None], memory_flags: str = "") -> int:
    """Run a command and return its exit status.

    A UserError, or an OSError such as a full disk, ends in status 2 and one line on stderr, after a
    traceback if `show_tracebacks` is set. If memory runs out, the line suggests `memory_flags`.
    Ctrl-C ends in status 130. The command keeps running even if its output can no longer be
    written.
    """
    program = os.path.basename(sys.argv[0])
    make_streams_last()
    try:
        end_imports()
        with distributed.joined():
            main()
    except ReportedElsewhere:
        return 2
    except (UserError, OSError) as error:
        if show_tracebacks:
            traceback.print_exc()
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error))
        examples = getattr(error, "examples", ())
        word = paint("error:", RED, sys.stderr)
        print(f"{program}: {word} {line}", *examples, sep="\n    ", file=sys.stderr)
        return 2
    except Stopped as stopped:
        return stopped.status
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            f"{program}: error: {out_of_memory(first_line(error), memory_flags)}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print(f"\n{program}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    return 0
