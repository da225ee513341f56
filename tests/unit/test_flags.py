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


def summary() -> str:
    """README's table of flags by group."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"^\| group \| flags \|\n(?:\|.*\n)+", readme, re.MULTILINE)[0]


def test_readme_names_every_flag_once():
    named = re.findall(r"`(--\w+)", summary())
    assert sorted(named) == sorted(set(named))
    assert FLAGS.keys() - set(named) == set()
    assert set(named) - FLAGS.keys() - flags_of_plugins() == {"--version"}


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
