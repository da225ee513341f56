"""Packages that the program can begin without: it needs torch, torchvision, NumPy and Pillow."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from util.errors import UserError

NAMES = {
    "skimage": "scikit-image",
    "yaml": "PyYAML",
}  # by module, where the package has another name


def needed(module: str, by: str, otherwise: str = "") -> Any:
    """Import a module where it is used: it is slow to import, rarely needed, or not everybody's.

    Args:
        by: what needs it.
        otherwise: what to do without it.

    Raises UserError, with the command that installs it, if it or a package it needs is missing.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).split(".")[0]
        package = NAMES.get(missing, missing)
        more = f", or {otherwise}" if otherwise else ""
        raise UserError(f"{by} needs {package}: pip install {package}{more}") from error


@cache
def has_ssim() -> bool:
    """Whether scikit-image is there, which computes SSIM; says once if it is not."""
    has = find_spec("skimage") is not None
    if not has:
        print("without SSIM, which needs scikit-image: pip install scikit-image")
    return has
