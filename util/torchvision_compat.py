"""Import torchvision even if its compiled operators do not fit the installed torch build.

With the CPU build of torch, pip may find only the CUDA build of torchvision. Then its C++ library
does not load, its operators are never declared, and the import stops at the first use of one:
"operator torchvision::nms does not exist". This program only uses plain Python parts (transforms,
models), which import once two operators are declared. Parts that need the C++ library remain
unusable: torchvision.ops, and decoding in torchvision.io.
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
_libraries: list[torch.library.Library] = []  # operators live only as long as their Library


def import_torchvision(name: str = "torchvision") -> ModuleType:
    """Import torchvision, or its module `name`, such as torchvision.transforms.v2.

    Raises UserError if torchvision is missing or does not fit the installed torch.
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
    """Whether an import failed in the way that `repair_torchvision` can fix."""
    return "operator torchvision::nms does not exist" in str(error)


def repair_torchvision() -> None:
    """Declare the operators that torchvision's library could not, and import torchvision.

    Call it only after an import has failed with `is_mismatch`: a library that loads declares the
    same operators itself.

    Raises UserError if torchvision still cannot be imported.
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
        f"torchvision cannot be imported with torch {torch.__version__}: {error}; install "
        "torch==2.13.0 and torchvision==0.28.0 together (pip install -r requirements.txt)"
    )
