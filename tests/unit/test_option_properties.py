"""Whatever the command line, train.py and test.py end with status 0 or 2, without a traceback.

Flags and their values are drawn from what the parsers know, so that new flags take part by
themselves. `--dry_run` does all that comes before the first step: options, pictures, networks.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import data
import models
import test as test_program
import train as train_program
from options.parser import OptionParser
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util import runtime

PROGRAMS = {"train.py": (train_program, TrainOptions), "test.py": (test_program, TestOptions)}
TINY = "--dataroot photos --name run --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 28"
TINY += " --crop_size 24 --num_threads 0 --device cpu --model pix2pix"

# Neither so large that a network of this width would be built, nor all refused.
NUMBERS = ["-1", "0", "1", "2", "3", "4", "24", "28", "0.5", "1.0", "٣", str(10**30), 5000 * "9"]
NUMBERS += ["nan", "inf", "-inf", "1e308", "1e-320", "1e999", "0x10", "--", "-", ""]
WORDS = ["", " ", ".", "..", "../run", "/", "a/b", "run", "other", "latest", "1", "photos", "none"]
WORDS += ["on", "off", "auto", "perhaps", "True", "{", "}", "{}", "{0}", "{name}", "{nme}"]
WORDS += ["{name.x}", "{name[0]}", "{ngf[0]}", "{name!r}", "{name!z}", "{ngf:>400}", "{ngf:x}"]
WORDS += ["é", "фото", "写真", "a b", "-a", "--ngf", "%s", "$HOME", "\\", "a\nb", "\t", 300 * "n"]
WORDS += [os.fsdecode(b"caf\xe9")]


def actions(program: type, model: str) -> list[argparse.Action]:
    """The flags of a program, with those of a model."""
    parser = OptionParser(add_help=False)
    program(models.registry, data.registry).add_flags(parser)
    models.registry.find(model).modify_commandline_options(parser, program.is_train)
    return [action for action in parser._actions if action.dest != "dry_run"]


def words(action: argparse.Action) -> st.SearchStrategy[list[str]]:
    """A flag bare, or with a value that fits or does not."""
    fitting = [str(choice) for choice in action.choices or []] or [str(action.default)]
    if action.dest == "model":
        fitting = ["pix2pix", "cycle_gan", "colorization", "template", "test"]
    values = st.sampled_from(fitting) | st.sampled_from(NUMBERS) | st.sampled_from(WORDS)
    flag = action.option_strings[0]
    return values.map(lambda v: [flag, v]) | values.map(lambda v: [f"{flag}={v}"]) | st.just([flag])


def lines(program: type) -> st.SearchStrategy[list[str]]:
    """Some flags of any kind, in any order, some of them twice."""
    flags = actions(program, "cycle_gan") + actions(program, "pix2pix")
    some = st.lists(st.one_of([words(action) for action in flags]), max_size=6)
    return some.map(lambda groups: [word for group in groups for word in group])


@pytest.fixture(scope="module")
def world(tmp_path_factory, pictures_in) -> Iterator[Path]:
    """The working folder: photos of all kinds, and a run of that name."""
    folder = tmp_path_factory.mktemp("world")
    pictures = pictures_in(folder)
    for phase in ("train", "test"):
        Path(pictures.side_by_side(2, (24, 24), phase))
        Path(pictures.unaligned(2, 1, phase, (24, 24)))
    (folder / "joined").rename(folder / "photos")
    for place in (folder / "unpaired").iterdir():
        place.rename(folder / "photos" / place.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = [*TINY.split(), "--n_epochs", "1", "--n_epochs_decay", "0", "--no_html"]
        assert status_of(train_program.main, "train.py", flags) == 0
        yield folder


def status_of(main: Callable[[], None], script: str, line: list[str]) -> int:
    """How a program ends with this line; an exception that it does not expect comes through."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", [script, *line])
        patch.setattr(runtime, "show_tracebacks", False)
        try:
            status = runtime.run(main)
        except SystemExit as end:  # --help
            status = end.code or 0
    if status == 2 and "--verbose" not in " ".join(line):
        assert errors.getvalue().startswith(f"{script}: error: ")
        assert "Traceback" not in errors.getvalue()
    return status


quick = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@quick
@example(line=["--suffix", "{load_size:{foo}}"])
@example(line=["--netD", "n_layers", "--n_layers_D", "99999"])
@given(line=lines(TrainOptions))
def test_any_line_of_training(line, world):
    before = sorted(world.rglob("*"))
    line = [*TINY.split(), "--name", "fresh", *line, "--dry_run"]
    assert status_of(train_program.main, "train.py", line) in (0, 2)
    assert sorted(world.rglob("*")) == before


@quick
@given(line=lines(TrainOptions))
def test_any_line_that_continues_a_run(line, world):
    line = ["--name", "run", "--continue_train", *line, "--dry_run"]
    assert status_of(train_program.main, "train.py", line) in (0, 2)


@quick
@given(line=lines(TestOptions))
def test_any_line_of_testing(line, world):
    line = [*TINY.split(), *line, "--dry_run"]
    assert status_of(test_program.main, "test.py", line) in (0, 2)


@quick
@given(line=st.lists(st.sampled_from(WORDS + NUMBERS) | st.text(max_size=8), max_size=6))
@pytest.mark.parametrize("script", PROGRAMS)
def test_any_words(script, line, world):
    assert status_of(PROGRAMS[script][0].main, script, [*line, "--dry_run"]) in (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("script", PROGRAMS)
def test_each_flag_with_each_number(script, world):
    program, options = PROGRAMS[script]
    base = [*TINY.split(), *(["--name", "fresh"] if script == "train.py" else []), "--dry_run"]
    tracebacks = []
    for action in actions(options, "pix2pix"):
        for number in NUMBERS:
            flag = f"{action.option_strings[0]}={number}"
            try:
                assert status_of(program.main, script, [*base, flag]) in (0, 2), flag
            except Exception as error:
                tracebacks.append(f"{flag[:60]} {type(error).__name__}: {str(error)[:60]}")
    assert not tracebacks, "\n".join(tracebacks)


def test_a_line_without_mistakes_is_accepted(world):
    """Otherwise the properties above would hold for a program that rejects everything."""
    fresh = [*TINY.split(), "--name", "fresh", "--dry_run"]
    assert status_of(train_program.main, "train.py", fresh) == 0
    again = ["--name", "run", "--continue_train", "--dry_run"]
    assert status_of(train_program.main, "train.py", again) == 0
    assert status_of(test_program.main, "test.py", [*TINY.split(), "--dry_run"]) == 0
