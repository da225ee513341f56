"""Keep the memory that a step has used for the next one, where networks run on the processor."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def keep_freed_memory(keep: bool = True) -> None:
    """Let the C library hold what is freed instead of giving it back to the system at once.

    Otherwise every large tensor gets new pages, each of which the system first has to clear: a
    fifth of the time of pix2pix's generator. What is kept is used again: the peak of training
    did not rise. Does nothing where the C library is not glibc, so on Windows and macOS.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0 if keep else 65536)  # blocks that are mapped, so returned, one by one
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if keep else 2**26)  # bytes free at the end of the heap
