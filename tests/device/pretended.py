"""A pretended GPU: tensors on a device that is not the CPU, whose numbers the CPU computes.

PyTorch lets Python register one more backend for the life of a process. A tensor of it wraps one on
the CPU, in `held`. Every operation unwraps its arguments, computes, and wraps the results, but:

- it refuses tensors of both devices, as CUDA does;
- it notes each wait: where the host needs a number, or a size, that the device has yet to compute,
  or where a copy between the two does not say non_blocking.

torch.tensor(..., device=...), which waits, passes Python by: there it fails. It cannot show what
depends on the card, such as half precision, kernels and memory, nor reading before a copy is done.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from options.base_options import BaseOptions

NAME = "pretended"
ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"tests", "site-packages", "dist-packages"}

# The host waits for the numbers, or for how many of them there are.
READS = {
    *("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"),
    *("unique_consecutive", "bincount", "repeat_interleave"),
}
COPIES = {"_to_copy", "copy_", "_foreach_copy_"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class Wait(NamedTuple):
    """Where the host waited: a place in the project, and the operation asked of PyTorch."""

    file: str
    line: int
    function: str
    operation: str


waits: list[Wait] = []


class OnDevice(torch.Tensor):
    held: torch.Tensor
    is_cuda = True  # so that the program treats it as it treats a GPU

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: int) -> Any:
        """Saved as the CPU's, since a file of a device that only this process has helps nobody."""
        note("save")
        return self.held.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        """Which PyTorch refuses for sub-classes."""
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.held})"


class Device(TorchDispatchMode):
    """Sees the operations of the thread, also those that make a tensor out of none."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # whose import would take longer than many steps

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operation of PyTorch, with tensors of the device and of the CPU."""
    name, asked = func._schema.name.removeprefix("aten::"), kwargs.get("device")
    wrappers: dict[int, OnDevice] = {}
    plain: list[torch.Tensor] = []

    def unwrap(x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, OnDevice):
            plain.append(x)
            return x
        wrappers[id(x.held)] = x
        return x.held

    def wrap(x: torch.Tensor) -> torch.Tensor:  # what is changed in place stays the same tensor
        if id(x) in wrappers:
            return wrappers[id(x)]
        return x if any(x is other for other in plain) else OnDevice(x)

    on_cpu, named = each_tensor(unwrap, list(args)), each_tensor(unwrap, kwargs)
    is_result = bool(wrappers) if asked is None else torch.device(asked).type == NAME
    if name in COPIES:
        crosses = is_result != bool(wrappers) if name == "_to_copy" else bool(wrappers and plain)
        if crosses and not kwargs.get("non_blocking", args[2:3] == (True,)):
            note(name)
    elif wrappers:
        indices = [x for x in args[1] if x is not None] if name in INDEXED else []
        if name in READS or any(map(needs_size, indices)):
            note(name)
        refuse_both(func, args, plain, indices)
    if asked is not None and is_result:
        named["device"] = torch.device("cpu")
    made = func(*on_cpu, **named)
    return each_tensor(wrap, made) if is_result else made


def each_tensor(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Change the tensors among the arguments of an operation, or among its results."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: each_tensor(change, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([each_tensor(change, inner) for inner in value])
    return value


def needs_size(index: torch.Tensor) -> bool:
    """Whether a mask has to be counted first, or indices to be uploaded."""
    return index.dtype in (torch.bool, torch.uint8) or not isinstance(index, OnDevice)


def refuse_both(func: Any, args: tuple[Any, ...], plain: list[torch.Tensor], indices: Any) -> None:
    """Raise what CUDA raises: only numbers to read, and indices, may come from the CPU."""
    takes_numbers = torch.Tag.pointwise in func.tags
    for x in plain:
        is_changed = func._schema.is_mutable and x is args[0]
        is_number = x.dim() == 0 and takes_numbers and not is_changed
        if not (is_number or any(x is index for index in indices)):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{NAME}:0 and cpu! ({func})"
            )


def note(operation: str) -> None:
    """Note a wait at the innermost function of the project.

    In the backward pass, which PyTorch computes in another thread, that is the one that began it.
    """
    main = sys._current_frames()[threading.main_thread().ident]
    for frame in (sys._getframe(), main):
        while frame is not None:
            file, function = Path(frame.f_code.co_filename), frame.f_code.co_name
            if ROOT in file.parents and not function.startswith("<"):  # 3.12 has fewer of these
                place = file.relative_to(ROOT)
                if not NOT_OURS & set(place.parts):
                    waits.append(Wait(place.as_posix(), frame.f_lineno, function, operation))
                    return
            frame = frame.f_back
    waits.append(Wait("", 0, "", operation))


class Backend:
    """What PyTorch asks of a device's module. Random numbers are the CPU's."""

    is_initialized = is_available = staticmethod(lambda: True)
    current_device = staticmethod(lambda: 0)
    device_count = staticmethod(lambda: 1)
    device = staticmethod(lambda index: contextlib.nullcontext())
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    get_rng_state = staticmethod(lambda device=None: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, device=None: torch.set_rng_state(state))
    get_amp_supported_dtype = staticmethod(lambda: [])


def register() -> None:
    """Add the device to PyTorch, and make --device cuda mean it, for the life of the process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    # Module.to() would otherwise make new weights, of which optimizers built before know nothing.
    torch.__future__.set_swap_module_params_on_conversion(True)
    chosen = BaseOptions.choose_device

    def choose_device(options: BaseOptions, opt: argparse.Namespace) -> None:
        chosen(options, opt)
        opt.device = NAME if opt.device == "cuda" else opt.device

    BaseOptions.choose_device = choose_device
