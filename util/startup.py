"""A start that is quick, and quiet when it is interrupted."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

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


def skip_dynamo() -> None:
    """Let Adam work without torch._dynamo, whose import takes as long as all others together.

    Several methods of PyTorch's optimizers import it on their first call, only to be left alone by
    torch.compile. Where nothing is compiled, the methods inside those wrappers do the same. To be
    called before the first optimizer is made. Leaves alone what is not wrapped as in PyTorch
    2.13: then a start takes longer, and that is all.
    """
    import torch  # here, since this file comes before all imports

    base, adam = torch.optim.Optimizer, torch.optim.Adam
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        inner = inside_dynamo_wrapper(getattr(base, name, None))
        if inner is not None:
            setattr(base, name, inner)

    step = inside_dynamo_wrapper(adam.step)
    if step is not None:

        def step_with_grad_mode(self: Any, *args: Any, **kwargs: Any) -> Any:
            with torch.set_grad_enabled(self.defaults["differentiable"]):  # as its wrapper does
                return step(self, *args, **kwargs)

        adam.step = step_with_grad_mode  # type: ignore[method-assign]


def inside_dynamo_wrapper(method: Any) -> Callable[..., Any] | None:
    """The method inside a wrapper that imports torch._dynamo, or None where there is none."""
    code = getattr(method, "__code__", None)
    imports = code is not None and "torch._dynamo" in code.co_names
    return getattr(method, "__wrapped__", None) if imports else None
