"""Keeps libraries from printing complaints about pictures, which name neither file nor remedy.

What cannot be read raises an error, and that is reported with the file's name.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2  # its file descriptor, to which libtiff and libpng write

warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
for _name in ("PIL", "tifffile"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_lock = threading.Lock()
_num_inside = 0
_stderr: int | None = None  # a copy of it while it is switched off


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the standard error of this process, if it has one, goes nowhere, for all threads."""
    global _num_inside, _stderr
    with _lock:
        if _num_inside == 0:
            _stderr = switched_off()
        _num_inside += 1
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0 and _stderr is not None:
                os.dup2(_stderr, STDERR)
                os.close(_stderr)


def switched_off() -> int | None:
    """A copy of the standard error, which then goes nowhere; None if there is none."""
    try:
        copy = os.dup(STDERR)
    except OSError:
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    os.close(nowhere)
    return copy
