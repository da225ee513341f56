"""Train one model in several processes, with torch.distributed.

    torchrun --nproc_per_node=2 train.py ...

starts two copies of a program. Each works on its share of every batch; process 0, the main one,
also logs, saves and draws. Without torchrun there is one process, and nothing here has any effect.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

from util.errors import ReportedElsewhere, UserError

T = TypeVar("T")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes of torchrun are connected, and only the main one prints."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    try:
        store, number, count = next(dist.rendezvous("env://"))
        # After a restart, the store still holds the addresses of the previous processes.
        store = dist.PrefixStore(f"start {restarts()}", store)
        dist.init_process_group(engines(), store=store, rank=number, world_size=count)
    except RuntimeError as error:
        raise UserError(f"torchrun's processes cannot reach each other: {error}") from error
    try:
        if not is_main():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
        yield
        dist.barrier()  # nobody leaves while others still talk
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        raise UserError(
            "another process of this run has ended: the lines above give the reason, or it was "
            "killed, for example because memory ran out"
        ) from error
    finally:
        dist.destroy_process_group()


def engines() -> str:
    """The backends of torch.distributed: gloo for CPU tensors, which every run sends, and nccl,
    which PyTorch has only on Linux, for GPU tensors.

    Both must be named: by default, on a machine with a GPU, PyTorch uses only the GPU's backend.
    """
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if nccl else "gloo"


class Share(NamedTuple):
    """A process's part of a batch: `num` of its `num_all` images, starting at position `first`.

    The mean over all images is the mean over all processes of `weight` times the process's mean.
    """

    first: int
    num: int
    num_all: int
    weight: float


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that logs, saves and draws."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process among those on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarts() -> int:
    """How often torchrun has restarted these processes because one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def from_main(make: Callable[[], T]) -> T:
    """Call `make` in the main process only, and return its result in all processes.

    If it raises, the other processes raise ReportedElsewhere.
    """
    if size() == 1:
        return make()
    result: list[Any] = [None, False]
    try:
        if is_main():
            result = [make(), True]
    finally:
        dist.broadcast_object_list(result)
    made, succeeded = result
    if not succeeded:
        raise ReportedElsewhere
    return made


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """Run the body in the main process first, and then in the others."""
    if not is_main():
        dist.barrier()
    yield
    if is_main() and size() > 1:
        dist.barrier()


def gather(mine: T) -> list[T]:
    """The values of all processes, in order of rank, in the main process; [] in the others."""
    if size() == 1:
        return [mine]
    everyones: list[Any] | None = [None] * size() if is_main() else None
    dist.gather_object(mine, everyones)
    return everyones or []


def highest(number: int) -> int:
    """The highest of all processes' numbers."""
    if size() == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def add_up(*numbers: float) -> list[float]:
    """The sum of each number over all processes."""
    if size() == 1:
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def average(tensors: list[torch.Tensor]) -> None:
    """Replace tensors by their means over all processes, in place.

    All tensors must have the same type and device.
    """
    if size() == 1 or not tensors:
        return
    # Many small messages would take longer than one large one.
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat.div_(size()))
    pieces = flat.split([tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.detach().copy_(piece.view_as(tensor))


def share(tensors: Iterable[torch.Tensor]) -> None:
    """Replace tensors by the main process's, in place."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error of torch.distributed means that another process has ended."""
    phrases = ("Connection closed by peer", "Connection reset by peer", "remote process exited")
    return isinstance(error, dist.DistNetworkError) or any(p in str(error) for p in phrases)


def refuse_several() -> None:
    """Raise UserError if torchrun has started several processes."""
    if size() > 1:
        raise UserError("this program runs in one process: start it without torchrun")
