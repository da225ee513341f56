"""Reuse the memory of one training step in the next, when networks run on the CPU."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # from glibc's malloc.h
LARGEST_THRESHOLD = 32 << 20  # bytes; glibc's dynamic threshold reaches it after large tensors


def keep_freed_memory(keep: bool = True) -> None:
    """Make the C library keep freed memory instead of returning it to the system at once.

    Otherwise every large tensor gets new pages, which the system has to clear first: a tenth of the
    time of a pix2pix step. Kept memory is reused: peak memory in training did not rise with
    pictures of one size, and rose by a tenth with varied sizes (605 to 664 MB).

    Without `keep`, restores glibc's usual behaviour. Does nothing if the C library is not glibc, as
    on Windows and macOS.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0 if keep else 65536)  # mapped blocks at most; freeing returns each at once
    mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)  # blocks of at least this many bytes are mapped
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if keep else 2 * LARGEST_THRESHOLD)  # kept free at most
