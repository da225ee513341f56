"""Several processes that train one model together, on PyTorch's distributed engine.

    torchrun --nproc_per_node=2 train.py ...

starts two copies of a program. Each computes on its share of every batch; process 0, the main one,
logs, saves and draws. Without torchrun there is one process, and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

from util.errors import ReportedElsewhere, UserError

T = TypeVar("T")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun has started know each other; only the main one prints."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    try:
        store, number, count = next(dist.rendezvous("env://"))
        # After a restart the store still holds the addresses of the processes before.
        store = dist.PrefixStore(f"start {restarts()}", store)
        dist.init_process_group(engines(), store=store, rank=number, world_size=count)
    except RuntimeError as error:
        raise UserError(f"torchrun's processes do not reach each other: {error}") from error
    try:
        if not is_main():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
        yield
        dist.barrier()  # nobody leaves while others still talk
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        raise UserError(
            "another process of this run has ended: its reason stands above, or it was killed, "
            "as where memory runs out"
        ) from error
    finally:
        dist.destroy_process_group()


def engines() -> str:
    """Which engine of torch.distributed serves which tensors: gloo those of the CPU, which every
    run sends, and nccl, which PyTorch has on Linux only, those of GPUs.

    To be named, as PyTorch by itself takes the GPU's alone where there is one.
    """
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if nccl else "gloo"


class Share(NamedTuple):
    """What a process gets of a batch: `num` of its `num_all` images, from position `first` on.

    The mean over all images is the mean over all processes of `weight` times their own means.
    """

    first: int
    num: int
    num_all: int
    weight: float


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that logs, saves and draws."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarts() -> int:
    """How often torchrun has started these processes again after one of them had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def from_main(make: Callable[[], T]) -> T:
    """What `make` gives in the main process, for all; it is called there alone.

    Where it raises, the others raise ReportedElsewhere.
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
    """The body runs in the main process, and then in the others."""
    if not is_main():
        dist.barrier()
    yield
    if is_main() and size() > 1:
        dist.barrier()


def gather(mine: T) -> list[T]:
    """What each process has, in the order of their numbers, in the main process; [] in others."""
    if size() == 1:
        return [mine]
    everyones: list[Any] | None = [None] * size() if is_main() else None
    dist.gather_object(mine, everyones)
    return everyones or []


def highest(number: int) -> int:
    """The highest of the numbers that the processes have."""
    if size() == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def add_up(*numbers: float) -> list[float]:
    """The sums over all processes of numbers that each has."""
    if size() == 1:
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def mean_losses(losses: Mapping[str, float], weight: float) -> dict[str, float]:
    """Means over all processes, of which each counts with its weight; the weights' mean is 1."""
    sums = add_up(*(value * weight for value in losses.values()))
    return {name: total / size() for name, total in zip(losses, sums, strict=True)}


def average(tensors: list[torch.Tensor]) -> None:
    """Replace tensors of one type on one device by their means over all processes, in place."""
    if size() == 1 or not tensors:
        return
    # In one piece, since many small messages take longer than a large one.
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat.div_(size()))
    pieces = flat.split([tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.detach().copy_(piece.view_as(tensor))


def share(tensors: Iterable[torch.Tensor]) -> None:
    """Replace tensors by those of the main process, in place."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error of the engine says that another process has ended."""
    phrases = ("Connection closed by peer", "Connection reset by peer", "remote process exited")
    return isinstance(error, dist.DistNetworkError) or any(p in str(error) for p in phrases)


def refuse_several() -> None:
    """For programs that one process runs."""
    if size() > 1:
        raise UserError("this program runs in one process: start it without torchrun")
