"""Keep the memory that a step has used for the next one, where networks run on the processor."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # from glibc's malloc.h
LARGEST_THRESHOLD = 32 << 20  # bytes; what glibc's own rule arrives at after some large tensors


def keep_freed_memory(keep: bool = True) -> None:
    """Let the C library hold what is freed instead of giving it back to the system at once.

    Otherwise every large tensor gets new pages, each of which the system first has to clear: a
    tenth of the time of a pix2pix step. What is kept is used again: with pictures of one size the
    peak of training did not rise; with varied sizes it did by a tenth (664 against 605 MB).
    Without `keep` it does again what it comes to by itself. Does nothing where the C library is
    not glibc, so on Windows and macOS.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0 if keep else 65536)  # blocks that are mapped, so returned, one by one
    mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)  # bytes, from which on a block is mapped
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if keep else 2 * LARGEST_THRESHOLD)  # free at the end
