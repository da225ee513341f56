"""Imports point one way: util < options, data, models < train.py, test.py, scripts.

Inside util: ground floor < metrics, speed < run < step, show.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MAY_IMPORT = {"util": set(), "options": {"util"}, "data": {"util"}, "models": {"util"}}
OURS = {*MAY_IMPORT, "train", "test", "scripts", "datasets", "tests"}
WINGS = {
    "util/run": {"run", "metrics"},
    "util/speed": {"speed"},
    "util/step": {"step", "speed", "run"},
    "util/metrics": {"metrics"},
    "util/show": {"show", "metrics", "speed", "run"},
    "util": set(),  # the ground floor
}
FILES = [file for package in MAY_IMPORT for file in sorted((ROOT / package).rglob("*.py"))]


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of every import of a file, also those inside functions."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - (node.level - 1)] if node.level else ()
            yield node.lineno, (*above, *(node.module or "").split("."))[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_one_way(file):
    package = file.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[package] | {package}
    wrong = [f"line {line}: {name}" for line, name in imported(file) if name in OURS - allowed]
    assert wrong == []


def imported_from_util(file: Path) -> Iterator[str]:
    """The part of util, such as run or errors, that each import of a file is from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "in util, imports say the whole path"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("util."))


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "util").rglob("*.py")),
    ids=lambda file: file.relative_to(ROOT).as_posix(),
)
def test_inside_util_imports_go_down(file):
    path = file.relative_to(ROOT).as_posix()
    allowed = next(allowed for wing, allowed in WINGS.items() if path.startswith(f"{wing}/"))
    wings = {wing.removeprefix("util/") for wing in WINGS} - {"util"}
    assert (set(imported_from_util(file)) & wings) - allowed == set()


@pytest.mark.parametrize(
    "file",
    [*(ROOT / "scripts").glob("*.py"), *(ROOT / "datasets").glob("*.py")],
    ids=lambda file: file.relative_to(ROOT).as_posix(),
)
def test_a_program_says_where_our_files_are_before_it_imports_them(file):
    """Python looks for them beside the program; tests import it with the path of pytest."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [(node.lineno, getattr(node, "module", None) or node.names[0].name) for node in imports]
    told = [line for line, name in names if name == "environment"]  # which says it
    told += [node.lineno for node in body if "sys.path.insert(" in ast.unparse(node)]
    first = min(told, default=math.inf)
    assert [name for line, name in names if name.split(".")[0] in OURS and line < first] == []


def test_the_ground_floor_is_small():
    assert len(list((ROOT / "util").glob("*.py"))) <= 13


def test_the_walk_sees_imports_of_every_form(tmp_path):
    file = ROOT / "models" / "networks" / "x.py"
    source = "import os.path, data\nfrom ..schedules import x\nfrom . import y\ndef f():\n"
    source += "    from util.errors import UserError\n    import options.parser as p\n"

    class Text:
        """A file that is not there."""

        relative_to = staticmethod(file.relative_to)
        read_text = staticmethod(lambda encoding: source)

    found = [name for _, name in imported(Text())]
    assert sorted(found) == ["data", "models", "models", "options", "os", "util"]


def test_there_is_something_to_walk():
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(MAY_IMPORT)
    assert len(FILES) > 30
