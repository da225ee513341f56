"""Plug-ins found by file name: one new file is enough, and a wrong one is explained."""

from __future__ import annotations

import sys
from abc import ABC
from pathlib import Path

import pytest

import data
import models
from data.base_dataset import BaseDataset
from models.base_model import BaseModel
from util.errors import UserError
from util.registry import Registry


class Base(ABC):  # noqa: B024  # what plug-ins below derive from
    pass


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`plugins(file=text, ...)`: a registry over a package of these files."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def make(**files: str) -> Registry:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(f"from test_registry import Base\n{text}\n")
        return Registry("plugins", "model", Base, "--model")

    yield make
    for name in [name for name in sys.modules if name.split(".")[0] == "plugins"]:
        del sys.modules[name]


CLASS = "class {}(Base): pass"


def test_a_file_dropped_in_is_found(plugins):
    registry = plugins(foo_model=CLASS.format("FooModel"))
    assert registry.names() == ["foo"]
    assert registry.find("foo").__name__ == "FooModel"
    plugins(late_model=CLASS.format("LateModel"))
    assert registry.names() == ["foo", "late"]
    assert registry.find("late").__name__ == "LateModel"


@pytest.mark.parametrize(
    "file, name",
    [
        ("cycle_gan_model", "CycleGANModel"),
        ("cycle_gan_model", "CycleGanModel"),
        ("pix2pix_model", "Pix2PixModel"),
        ("Mixed_model", "MixedModel"),
    ],
)
def test_letter_case_and_underscores_do_not_count(file, name, plugins):
    registry = plugins(**{file: CLASS.format(name)})
    assert registry.find(file.removesuffix("_model")).__name__ == name


def test_only_files_of_this_kind_count(plugins):
    files = {"base_model": "", "helpers": "", "foo_dataset": "", "foo_model": ""}
    assert plugins(**files).names() == ["foo"]


def test_the_class_among_others_is_taken(plugins):
    text = "class Helper(Base): pass\nFOOMODEL = 3\nclass FooModel(Helper): pass"
    assert plugins(foo_model=text).find("foo").__name__ == "FooModel"


OLD = "class {}(Base):\n    def initialize(self, opt): pass\n"


@pytest.mark.parametrize(
    "text, is_old",
    [
        (OLD.format("FooModel"), True),
        (OLD.format("Own") + CLASS.format("FooModel").replace("Base", "Own"), True),
        (OLD.format("FooModel") + "    def __init__(self, opt): pass", False),
        (OLD.format("Own") + "class FooModel(Own):\n    def __init__(self, opt): pass", False),
        ("class Own(Base):\n    def __init__(self): pass\n" + OLD.format("FooModel"), True),
    ],
)
def test_the_interface_of_2018_is_told(text, is_old, plugins):
    registry = plugins(foo_model=text)
    if not is_old:
        assert registry.find("foo").__name__ == "FooModel"
        return
    with pytest.raises(UserError, match=r"--model foo: .*foo_model\.py.* 2018.*__init__"):
        registry.find("foo")


@pytest.mark.parametrize(
    "text",
    ["", "class Foo(Base): pass", "class FooModel: pass", "FooModel = 3", "def FooModel(): pass"],
)
def test_a_file_without_the_class_is_explained(text, plugins):
    with pytest.raises(UserError) as caught:
        plugins(foo_model=text).find("foo")
    message = str(caught.value)
    for part in ("--model foo", "foo_model.py", "foomodel", "Base"):
        assert part in message


def test_an_unknown_name_lists_what_exists(plugins):
    registry = plugins(horse_model=CLASS.format("HorseModel"), cow_model=CLASS.format("CowModel"))
    with pytest.raises(UserError) as caught:
        registry.find("hrose")
    message = str(caught.value)
    for part in ("--model hrose", "did you mean horse?", "cow, horse"):
        assert part in message


@pytest.mark.parametrize("name", ["base", "", "../foo", "foo_model"])
def test_names_that_are_none(name, plugins):
    with pytest.raises(UserError):
        plugins(foo_model=CLASS.format("FooModel"), base_model="").find(name)


@pytest.mark.parametrize("text", ["import nothing_of_this_name", "from math import nothing_of_it"])
def test_what_a_plugin_lacks_is_named_with_its_file(text, plugins):
    with pytest.raises(UserError, match=f"foo_model.py.*{text.split()[-1]}"):
        plugins(foo_model=text).find("foo")


def test_an_error_inside_a_plugin_is_not_hidden(plugins):
    with pytest.raises(ZeroDivisionError):
        plugins(foo_model="1 / 0").find("foo")


def test_those_that_can_be_used(plugins):
    registry = plugins(
        foo_model=CLASS.format("FooModel"),
        raising_model="1 / 0",
        unfinished_model="class UnfinishedModel(",
        other_model=CLASS.format("AnotherModel"),
        lacking_model="import nothing_of_this_name",
    )
    assert {n: c.__name__ for n, c in registry.usable().items()} == {"foo": "FooModel"}


def test_the_programs_own():
    assert {"pix2pix", "cycle_gan", "test"} <= set(models.registry.names())
    assert {"aligned", "unaligned", "single"} <= set(data.registry.names())
    for registry, base in ((models.registry, BaseModel), (data.registry, BaseDataset)):
        for name in registry.names():
            assert issubclass(registry.find(name), base)
            assert registry.find(name) is not base
