"""What fits in the memory of a GPU, found by trying."""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Callable, Sequence

import torch

from util.errors import UserError, first_line
from util.runtime import is_out_of_memory, out_of_memory


def failure(attempt: Callable[[], None]) -> str:
    """Why memory ran out in an attempt; '' if it did not. Then frees what it has made."""
    reason = ""
    try:
        attempt()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)  # without the error itself, which holds the attempt's objects
    gc.collect()  # hooks of optimizers refer back to what holds them
    torch.cuda.empty_cache()
    return reason


def largest(fits: Callable[[int], bool], sizes: Sequence[int]) -> int | None:
    """The largest of ascending sizes that fits, if all below it do; None if none does.

    Tries as many as it takes to halve them down to one.
    """
    fitting, count = 0, len(sizes)  # how many fit for sure, and how many may
    while fitting < count:
        middle = (fitting + count) // 2
        if fits(sizes[middle]):
            fitting = middle + 1
        else:
            count = middle
    return sizes[fitting - 1] if fitting else None


def try_sizes(
    attempt: Callable[..., None], batch_size: int, crop_sizes: Sequence[int], advice: str
) -> None:
    """Make an attempt; if memory runs out, look for a smaller batch or else picture that fits.

    Args:
        attempt: takes steps, by default with the sizes of the run; memory may run out.
        batch_size: that of the run.
        crop_sizes: those that the networks take, ascending; the last one is that of the run.
        advice: flags that save memory, for the case that nothing fits.

    Raises UserError if memory runs out, with the largest sizes that fit.
    """
    reason = failure(attempt)
    if not reason:
        return
    print("out of memory; looking for sizes that fit ...", flush=True)

    def fits(batch_size: int, crop_size: int) -> bool:
        with contextlib.redirect_stdout(io.StringIO()):  # which says the same each time
            return not failure(lambda: attempt(batch_size, crop_size))

    *smaller, crop_size = crop_sizes
    if found := largest(lambda size: fits(size, crop_size), range(1, batch_size)):
        raise UserError(f"{out_of_memory(reason)}; what fits at most is --batch_size {found}")
    if found := largest(lambda size: fits(1, size), smaller):
        flags = f"--batch_size 1 --crop_size {found}"
        raise UserError(f"{out_of_memory(reason)}; what fits at most is {flags}")
    raise UserError(out_of_memory(reason, advice))
