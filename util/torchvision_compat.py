"""Imports torchvision beside a torch build that its compiled operators do not fit.

Where the CPU build of torch is installed, pip may find torchvision only in its CUDA build. Its C++
library then does not load, so the operators are never declared, and the import stops at the first
one that it describes: "operator torchvision::nms does not exist". All that is used here
(transforms, models) is plain Python, and imports once the two operators in question are declared.
What needs the C++ library stays out of reach: torchvision.ops, and decoding in torchvision.io.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from util.errors import UserError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # an operator lives only as long as its Library


def import_torchvision(name: str = "torchvision") -> ModuleType:
    """torchvision, or the module of it called `name`, for instance torchvision.transforms.v2.

    Errors: UserError where torchvision is missing or does not fit the installed torch.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _unfit(error) from error
    except RuntimeError as error:
        if not is_mismatch(error):
            raise
    repair_torchvision()
    return importlib.import_module(name)


def is_mismatch(error: BaseException) -> bool:
    """Whether this is how an import fails that `repair_torchvision` can make work."""
    return "operator torchvision::nms does not exist" in str(error)


def repair_torchvision() -> None:
    """Declares what torchvision's own library could not, and imports torchvision.

    Only for after an import has failed with `is_mismatch`: where the library does load, it
    declares the same operators itself.

    Errors: UserError where torchvision cannot be imported even so.
    """
    for half_imported in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[half_imported]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        raise _unfit(error) from error


def _unfit(error: Exception) -> UserError:
    return UserError(
        f"torchvision cannot be imported beside torch {torch.__version__}: {error}; install the "
        "pair torch==2.13.0 and torchvision==0.28.0 (pip install -r requirements.txt)"
    )
