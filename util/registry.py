"""Find plug-ins by file name: models/foo_model.py defines FooModel, and so on."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from util.errors import UserError, did_you_mean, first_line
from util.torchvision_compat import is_mismatch, repair_torchvision


def registry_of(package: str) -> Registry:
    """The registry of a package of plug-ins, "models" or "data".

    Found by name, because the code that chooses plug-ins must not import their packages.
    """
    return importlib.import_module(package).registry


class Registry:
    """The classes that a flag selects by name. To add one, add its file.

    Args:
        package: the package with the files, such as "models".
        kind: the suffix of file and class names, such as "model".
        base: the class that each must derive from.
        flag: the command-line flag that selects a class, for messages.
    """

    def __init__(self, package: str, kind: str, base: type, flag: str):
        self.package, self.kind, self.base, self.flag = package, kind, base, flag
        self.folder = Path(importlib.import_module(package).__file__ or "").parent

    def names(self) -> list[str]:
        """Every name that `find` accepts, sorted."""
        files = self.folder.glob(f"*_{self.kind}.py")
        return sorted(n for f in files if (n := f.stem.removesuffix(f"_{self.kind}")) != "base")

    def find(self, name: str) -> Any:
        """The class of that name; UserError if it, its file or one of its imports is missing."""
        if name not in self.names():
            raise UserError(
                f"{self.flag} {name}: there is no {self.package}/{name}_{self.kind}.py"
                f"{did_you_mean(name, self.names())}; available: {', '.join(self.names())}"
            )
        try:
            module = self._import(f"{self.package}.{name}_{self.kind}")
        except ImportError as error:
            raise UserError(
                f"{self.flag} {name}: {self.folder / f'{name}_{self.kind}.py'} has an import that "
                f"fails ({first_line(error)}); install the package, or change the file"
            ) from error
        wanted = f"{name.replace('_', '')}{self.kind}".lower()
        for key, value in vars(module).items():
            if key.lower() == wanted and isinstance(value, type) and issubclass(value, self.base):
                refuse_interface_of_2018(value, f"{self.flag} {name}: {module.__file__}")
                return value
        raise UserError(
            f"{self.flag} {name}: {module.__file__} must define a class named {wanted} (in any "
            f"letter case, without underscores) that derives from {self.base.__name__}"
        )

    def usable(self) -> dict[str, Any]:
        """The classes by name, without those that `find` cannot give."""
        classes = {}
        for name in self.names():
            with contextlib.suppress(Exception):  # a file is anybody's, and told of when chosen
                classes[name] = self.find(name)
        return classes

    def _import(self, module_name: str):
        try:
            return importlib.import_module(module_name)
        except RuntimeError as error:  # the plug-in imports a torchvision that does not fit torch
            if not is_mismatch(error):
                raise
            repair_torchvision()
            return importlib.import_module(module_name)


def speaks_for(kind: type, says: Callable[[type], bool], *methods: str) -> bool:
    """Whether what a class or its bases say of these methods is true of those that `kind` has.

    It is if the class that says it also defines them, or is below the one that does. So a plug-in
    that replaces a method does not inherit what its base says of it.

    Args:
        says: whether a class says it itself.
    """
    line = kind.__mro__
    said = next((place for place, one in enumerate(line) if says(one)), len(line))
    replaced = next((p for p, one in enumerate(line) if defines(*methods)(one)), len(line))
    return said < len(line) and said <= replaced


def defines(*names: str) -> Callable[[type], bool]:
    """Whether a class itself, and not only a base, has an attribute of one of these names."""
    return lambda kind: any(name in vars(kind) for name in names)


def refuse_interface_of_2018(plugin: type, place: str) -> None:
    """Raise UserError for a class that is set up by `initialize` instead of `__init__`.

    The message begins with `place`.
    """
    setup = next(filter(defines("initialize", "__init__"), plugin.__mro__))
    initialize = vars(setup).get("initialize")
    takes_opt = initialize is not None and len(signature(initialize).parameters) > 1
    above = plugin.__bases__[0].__name__
    if "__init__" not in vars(setup) and takes_opt:
        raise UserError(
            f"{place} is written for the interface of 2018; rename its `initialize` to `__init__`, "
            f"and the call in it, {above}.initialize(self, opt), to {above}.__init__(self, opt)"
        )
