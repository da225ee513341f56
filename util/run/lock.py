"""One writer per run: a lock on its folder that is released when its process dies."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from util import distributed
from util.errors import UserError
from util.files import writing

HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # errors if another process holds the lock


class RunLock:
    """Holds folder/.lock until the block is left or the process ends, however it ends.

    In a run of several processes, the main one holds it. Raises UserError if another run already
    does. Some network disks have no locks: then a line says so, and the run continues without one.
    """

    def __init__(self, folder: Path):
        self.path = folder / ".lock"
        if not distributed.is_main():
            return
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - it holds the lock
        try:
            lock_exclusively(self.file.fileno())
        except OSError as error:
            if error.errno not in HELD:
                print(
                    f"{folder} is on a disk without locks ({error.strerror}): make sure that no "
                    "other process writes to this run"
                )
                return
            self.file.seek(0)
            holder = self.file.read().strip() or "unknown"
            self.file.close()
            raise UserError(
                f"{folder} is being written by another process ({holder}); wait for it, stop it, "
                "or choose another --name"
            ) from error
        with writing(self.path):
            self.file.truncate(0)
            self.file.write(f"process {os.getpid()} on {socket.gethostname()}")
            self.file.flush()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        if distributed.is_main():
            self.file.close()


if sys.platform == "win32":  # a form that type checkers understand
    import msvcrt

    def lock_exclusively(handle: int) -> None:
        """Lock a byte far beyond the text, so that others can read who holds the lock."""
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def lock_exclusively(handle: int) -> None:
        """Take a record lock: unlike flock's, worker processes that outlive us do not share it."""
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
