"""A start that is quick, and quiet when it is interrupted."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType

from util import __version__

paused_gc = False  # whether `begin_imports` keeps the garbage collector off


def begin_imports() -> None:
    """Until `end_imports`, let Ctrl-C end the process, and do not look for garbage.

    A line that only asks for --version is answered at once, without waiting for PyTorch.

    An import would show Ctrl-C as a traceback, or lose it. What imports make is no garbage, and to
    look it through again and again takes a sixth of their time.
    """
    global paused_gc
    if sys.argv[1:] == ["--version"]:  # in a longer line it may be a model's own flag
        print(f"{os.path.basename(sys.argv[0])} {__version__}")
        sys.exit()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        signal.signal(signal.SIGINT, end_on_ctrl_c)
    if gc.isenabled():
        gc.disable()
        paused_gc = True


def end_on_ctrl_c(number: int = signal.SIGINT, _: FrameType | None = None) -> None:
    """Handler of Ctrl-C: end at once, with one line and status 130."""
    print(f"\n{os.path.basename(sys.argv[0])}: stopped by Ctrl-C", file=sys.stderr, flush=True)
    os._exit(128 + number)


def end_imports() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, and garbage be looked for among what is new.

    Only where `begin_imports` has changed that.
    """
    global paused_gc
    if signal.getsignal(signal.SIGINT) is end_on_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if paused_gc:
        gc.freeze()
        gc.enable()
        paused_gc = False
