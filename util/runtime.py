"""Where and how reproducibly a process runs: device, seeds, and how a command ends."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator

import numpy as np
import torch

from util import distributed, nvidia
from util.errors import ReportedElsewhere, Stopped, UserError, first_line
from util.startup import end_imports
from util.streams import make_streams_last

show_tracebacks = False  # set by --verbose
status = 1  # of the process: of an exception that `run` lets through, until it has returned


def resolve_device(name: str | torch.device) -> torch.device:
    """The device a --device value stands for: auto takes CUDA, then MPS, then the CPU.

    Raises UserError where the wanted device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and distributed.size() > 1:
        device = torch.device("cuda", distributed.local_rank())
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            why = unused_card() or "install the CUDA build of PyTorch and the driver"
            raise UserError(
                f"--device {name}: PyTorch {torch.__version__} sees no CUDA GPU: {why}; or pass "
                "--device cpu"
            )
        if (device.index or 0) >= count:
            raise UserError(f"--device {name}: there are {count} GPUs, cuda:0 to cuda:{count - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: this machine or PyTorch build has no MPS; pass --device cpu")
    return device


def unused_card() -> str:
    """Why PyTorch cannot use an NVIDIA card that is there, and what mends it; else ''.

    A CUDA_VISIBLE_DEVICES that names none (empty, -1, Slurm's NoDevFiles) is somebody's wish.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    if torch.cuda.is_available() or not re.match(r"\s*(\d|GPU-|MIG-)", visible):
        return ""
    return nvidia.why_unused(torch.version.cuda)


def warn_of_unused_card(device: str) -> str:
    """Print a line where --device auto leaves an NVIDIA card unused; returns it, or ''."""
    why = unused_card() if device == "auto" else ""
    if why:
        why = f"WARNING: the NVIDIA card is not used, so this takes many times longer: {why}"
        print(f"\n{why}\n", flush=True)
    return why


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (all devices) for initialisation, dropout and sampling."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def isolated_randomness(*key: int) -> Iterator[None]:
    """Inside, every CPU random source is a function of `key` alone; outside, nothing has moved.

    That makes the augmentation of a sample depend on (seed, epoch, index) and not on which worker
    draws it, or on how much was drawn before.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


class RandomState:
    """The random sources that training on a device draws from, as a part of a checkpoint."""

    def __init__(self, device: torch.device):
        self.device = device

    def state_dict(self) -> dict:
        version, words, gauss = random.getstate()
        name, keys, *rest = np.random.get_state(legacy=True)
        on_gpu = self.device.type == "cuda"
        return {
            "python": [version, list(words), gauss],
            "numpy": [name, torch.tensor(np.asarray(keys, dtype=np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if on_gpu else None,
        }

    def load_state_dict(self, state: dict) -> None:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or this machine had no memory left."""
    wanting = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error) for words in wanting
    )


def out_of_memory(reason: str) -> str:
    """The line that says so, and what helps."""
    return (
        f"out of memory ({reason}); what helps, in this order: --batch_size 1, --precision auto, "
        "--grad_checkpoint, a smaller --crop_size, a smaller --ngf and --ndf, fewer --num_threads"
    )


def run(main: Callable[[], None]) -> int:
    """Run a command and return its exit status, which is kept in `status` too; see `outcome`."""
    global status
    status = outcome(main)
    return status


def outcome(main: Callable[[], None]) -> int:
    """Run a command and return what status it should end with.

    A UserError, or an OSError such as a full disk, ends in one line on stderr and status 2, after
    a traceback only where `show_tracebacks` is set; Ctrl-C ends in status 130. That what is printed
    has nowhere to go does not end it.
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
        print(f"{program}: error: {line}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        return stopped.status
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"{program}: error: {out_of_memory(first_line(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{program}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    return 0
