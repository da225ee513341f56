"""PyTorch's optimizers without PyTorch's compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def skip_dynamo() -> None:
    """Let Adam work without torch._dynamo, whose import takes as long as all others together.

    Several methods of PyTorch's optimizers import it on their first call, only to be left alone by
    torch.compile. Where nothing is compiled, the methods inside those wrappers do the same. To be
    called before the first optimizer is made. Leaves alone what is not wrapped as in PyTorch
    2.13: then a start takes longer, and that is all.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = [*((torch.optim.Optimizer, name) for name in names), (torch.optim.Adam, "step")]
    for owner, name in methods:
        inner = inside_dynamo_wrapper(getattr(owner, name, None))
        if inner is not None:
            setattr(owner, name, in_grad_mode(inner) if name == "step" else inner)


def in_grad_mode(step: Callable[..., Any]) -> Callable[..., Any]:
    """Adam's step with gradients on or off as its wrapper has them."""

    def step_in_grad_mode(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return step_in_grad_mode


def inside_dynamo_wrapper(method: Any) -> Callable[..., Any] | None:
    """The method inside a wrapper that imports torch._dynamo, or None where there is none."""
    code = getattr(method, "__code__", None)
    imports = code is not None and "torch._dynamo" in code.co_names
    return getattr(method, "__wrapped__", None) if imports else None
