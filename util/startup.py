"""A quick start of the program, and a quiet end if it is interrupted."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType

from util import __version__
from util.streams import make_streams_last

paused_gc = False  # whether `begin_imports` has switched off the garbage collector


def begin_imports() -> None:
    """Until `end_imports`, let Ctrl-C end the process, and pause the garbage collector.

    During an import, Ctrl-C would show a traceback or be lost. Imports create no garbage, but
    searching it repeatedly takes a sixth of their time.

    If --version is the only argument, answer at once, without importing PyTorch.
    """
    global paused_gc
    if sys.argv[1:] == ["--version"]:  # among other arguments it may be a model's own flag
        make_streams_last()
        print(f"{os.path.basename(sys.argv[0])} {__version__}")
        sys.exit()
    # A shell makes background jobs ignore Ctrl-C; leave that alone.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_on_ctrl_c)
    if gc.isenabled():
        gc.disable()
        paused_gc = True


def end_on_ctrl_c(number: int = signal.SIGINT, _: FrameType | None = None) -> None:
    """Handle Ctrl-C: end at once, with one line and status 130."""
    print(f"\n{os.path.basename(sys.argv[0])}: stopped by Ctrl-C", file=sys.stderr, flush=True)
    os._exit(128 + number)


def end_imports() -> None:
    """Undo `begin_imports`: Ctrl-C raises KeyboardInterrupt, and the garbage collector runs again.

    It ignores all objects that exist already.
    """
    global paused_gc
    if signal.getsignal(signal.SIGINT) is end_on_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if paused_gc:
        gc.freeze()
        gc.enable()
        paused_gc = False
