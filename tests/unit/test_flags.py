"""The table of flags, and the guides' tables that repeat it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import data
import models
from options.flags import OF_TESTING, OF_TRAINING
from options.parser import OptionParser

ROOT = Path(__file__).resolve().parent.parent.parent
FLAGS = {
    flag.name.split()[0]: flag for section in (*OF_TRAINING, *OF_TESTING) for flag in section.flags
}
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def flags_of_plugins() -> set[str]:
    parser = OptionParser(add_help=False)
    for registry in (models.registry, data.registry):
        for name in registry.names():
            registry.find(name).modify_commandline_options(parser, is_train=name != "test")
    return {flag for action in parser._actions for flag in action.option_strings}


def rows() -> dict[str, str]:
    """The cell of the default, by flag, from the tables of docs/flags.md."""
    guide = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(--\w+)` \| ([^|]+) \|", guide, re.MULTILINE)
    assert len(found) == len(dict(found)), "a flag has two rows"
    return dict(found)


def shown(default: object) -> str:
    """A default as the guide prints it."""
    if default in (None, "", ()):
        return "–"
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def default_in(cell: str, model: type) -> str:
    """What the cell of a default says about a model: the last name of one that it builds on."""
    first, *others = cell.split("; ")
    of = {name: value for name, value in (other.split(": ") for other in others)}
    for base in model.__mro__:
        for name, value in of.items():
            if models.registry.find(name) is base:
                return value
    return first


def test_the_guide_has_a_row_for_every_flag():
    assert rows().keys() == FLAGS.keys() | flags_of_plugins()


@pytest.mark.parametrize("name", models.registry.names())
def test_the_guide_has_the_defaults_of_each_model(name):
    """Those of the program and, where they differ, of this model and its dataset."""
    model, is_train, parser = models.registry.find(name), name != "test", OptionParser()
    for section in OF_TRAINING if is_train else OF_TESTING:
        section.add_to(parser)
    model.modify_commandline_options(parser, is_train)
    dataset = data.registry.find(parser.get_default("dataset_mode"))
    dataset.modify_commandline_options(parser, is_train)
    said = rows()
    # --model has its default elsewhere, and that of --phase belongs to the program.
    for dest in set(parser.dests()) - {"model", "phase"}:
        default = parser.get_default(dest)
        assert default_in(said[f"--{dest}"], model) == shown(default), dest


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_rows_of_guides_name_flags_and_values_that_exist(guide):
    """By the first cell of a row, which says what the row is about."""
    cells = re.findall(r"^\| ((?:[^|\\]|\\.)+) \|", guide.read_text(encoding="utf-8"), re.MULTILINE)
    known = FLAGS.keys() | flags_of_plugins()
    for flag, value in re.findall(r"(--\w+)(?: ([^`:, ]+))?", " ".join(cells)):
        assert flag in known, flag
        kind = FLAGS[flag].kind if flag in FLAGS else None
        if isinstance(kind, tuple) and value:
            assert value in kind, f"{flag} {value}"


def test_a_choice_is_one_by_default():
    for name, flag in FLAGS.items():
        if isinstance(flag.kind, tuple):
            assert flag.default in flag.kind, name
