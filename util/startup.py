"""Start without torch._dynamo, whose import takes as long as all others together.

Several methods of PyTorch's optimizers import it on their first call, only to be left alone by
torch.compile. Where nothing is compiled, the methods inside those wrappers do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def skip_dynamo() -> None:
    """Let Adam work without torch._dynamo; for programs that compile nothing.

    To be called before the first optimizer is made. Leaves alone what is not wrapped as in PyTorch
    2.13: then a start takes longer, and that is all.
    """
    base, adam = torch.optim.Optimizer, torch.optim.Adam
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        inner = inside_dynamo_wrapper(getattr(base, name, None))
        if inner is not None:
            setattr(base, name, inner)

    step = inside_dynamo_wrapper(adam.step)
    if step is not None:

        def step_with_grad_mode(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> Any:
            with torch.set_grad_enabled(self.defaults["differentiable"]):  # as its wrapper does
                return step(self, *args, **kwargs)

        adam.step = step_with_grad_mode  # type: ignore[method-assign]


def inside_dynamo_wrapper(method: Any) -> Callable[..., Any] | None:
    """The method inside a wrapper that imports torch._dynamo, or None where there is none."""
    code = getattr(method, "__code__", None)
    imports = code is not None and "torch._dynamo" in code.co_names
    return getattr(method, "__wrapped__", None) if imports else None
