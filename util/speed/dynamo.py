"""Use PyTorch's optimizers without importing its compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def skip_dynamo() -> None:
    """Let Adam work without torch._dynamo, whose import takes as long as all others together.

    Several methods of PyTorch's optimizers are wrapped so that torch.compile skips them, and the
    wrappers import torch._dynamo on their first call. Without torch.compile, the wrapped methods do
    the same. Call this before creating the first optimizer. Methods that are not wrapped as in
    PyTorch 2.13 stay as they are; the start is slower then.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = [*((torch.optim.Optimizer, name) for name in names), (torch.optim.Adam, "step")]
    for owner, name in methods:
        inner = inside_dynamo_wrapper(getattr(owner, name, None))
        if inner is not None:
            setattr(owner, name, in_grad_mode(inner) if name == "step" else inner)


def in_grad_mode(step: Callable[..., Any]) -> Callable[..., Any]:
    """Adam's step with gradients enabled or disabled, as in its wrapper."""

    def step_in_grad_mode(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return step_in_grad_mode


def inside_dynamo_wrapper(method: Any) -> Callable[..., Any] | None:
    """The method inside a wrapper that imports torch._dynamo, or None if it has no such wrapper."""
    code = getattr(method, "__code__", None)
    imports = code is not None and "torch._dynamo" in code.co_names
    return getattr(method, "__wrapped__", None) if imports else None
