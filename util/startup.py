"""A quick start of the program, a quiet end if it is interrupted, and a line without packages."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from util import __version__
from util.streams import make_streams_last

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = {"torch": "PyTorch", "torchvision": "torchvision", "numpy": "NumPy", "PIL": "Pillow"}

paused_gc = False  # whether `begin_imports` has switched off the garbage collector


def begin_imports() -> None:
    """Until `end_imports`, let Ctrl-C end the process, and pause the garbage collector.

    During an import, Ctrl-C would show a traceback or be lost. Imports create no garbage, but
    searching it repeatedly takes a sixth of their time.

    If --version is the only argument, answer at once, without importing PyTorch. Where a package
    that everything needs is missing, end with a line, as `require_environment` does.
    """
    global paused_gc
    if sys.argv[1:] == ["--version"]:  # among other arguments it may be a model's own flag
        make_streams_last()
        print(f"{os.path.basename(sys.argv[0])} {__version__}")
        sys.exit()
    require_environment()
    # A shell makes background jobs ignore Ctrl-C; leave that alone.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_on_ctrl_c)
    if gc.isenabled():
        gc.disable()
        paused_gc = True


def require_environment(*modules: str) -> None:
    """End with a line and status 2 if one of these (by default, of REQUIRED) is not installed.

    Usually the program's environment has all of them, and was not switched on in this terminal.
    """
    missing = [REQUIRED[name] for name in modules or REQUIRED if find_spec(name) is None]
    if not missing:
        return
    venv = ROOT / ".venv"
    if Path(sys.prefix).resolve() == venv:
        way = "pip install -r requirements.txt installs what is missing"
    elif not venv.is_dir():
        way = "python3 scripts/demo.py makes an environment with all packages"
        way = way.replace("python3", "py") if os.name == "nt" else way
    elif os.name == "nt":
        way = rf"switch the program's environment on first: {venv}\Scripts\activate"
    else:
        activate = shlex.quote(f"{venv}/bin/activate")
        way = f"switch the program's environment on first: source {activate}"
    program = os.path.basename(sys.argv[0])
    told = f"{sys.executable} does not have {', '.join(missing)}; {way}"
    print(f"{program}: error: {told}", file=sys.stderr)
    sys.exit(2)


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
