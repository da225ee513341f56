"""Whatever the command line, each program ends with status 0 or 2, and 2 comes with one line.

As tests/unit/test_option_properties.py, with more lines, other ones in each run, and all programs.
"""

from __future__ import annotations

import re
import shutil

import pytest
from chance import SEED
from hypothesis import HealthCheck, given, seed, settings

import test as test_program
import train as train_program
from options.test_options import TestOptions
from options.train_options import TrainOptions
from tests.e2e.test_bad_input import TRAIN
from tests.unit.test_option_properties import (
    NUMBERS,
    TINY,
    WORDS,
    lines,
    status_of,
    world,
)

__all__ = ["world"]  # a fixture
pytestmark = pytest.mark.slow


def many(number: int) -> settings:
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=number, deadline=None, database=None, suppress_health_check=quiet)


@seed(SEED)
@many(400)
@given(line=lines(TrainOptions))
def test_any_line_of_training(line, world):
    line = [*TINY.split(), "--name", "fresh", *line, "--dry_run"]
    assert status_of(train_program.main, "train.py", line) in (0, 2)


@seed(SEED)
@many(300)
@given(line=lines(TrainOptions))
def test_any_line_that_continues_a_run(line, world):
    line = ["--name", "run", "--continue_train", *line, "--dry_run"]
    assert status_of(train_program.main, "train.py", line) in (0, 2)


@seed(SEED)
@many(300)
@given(line=lines(TestOptions))
def test_any_line_of_testing(line, world):
    line = [*TINY.split(), *line, "--dry_run"]
    assert status_of(test_program.main, "test.py", line) in (0, 2)


# A line that works, to which a random one is added, and how many such lines.
SCRIPTS = {
    "scripts/translate.py": ("photos/train --name run --device cpu", 100),
    "scripts/export.py": ("--name run", 20),
    "scripts/try_it.py": ("--name run --device cpu --port 0 --no_browser", 100),
    "scripts/preview_augmentation.py": (f"{TRAIN} --pairs 1 --epochs 1", 100),
    "scripts/compare_checkpoints.py": ("--name run --device cpu", 100),
    "scripts/plot_losses.py": ("checkpoints/run", 40),
    "datasets/combine_A_and_B.py": (
        "--fold_A photos/val --fold_B val --fold_AB joined",
        100,
    ),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_any_line_of_a_script(script, trained, draw, ended, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    # As if Ctrl-C came at once; a page that nobody opens would be shown without end.
    monkeypatch.setattr("tornado.httpserver.HTTPServer.add_sockets", interrupted)
    works, number = SCRIPTS[script]
    usage = ended(script, ["--help"]).stdout
    flags = sorted({*re.findall(r"--[a-zA-Z]\w*", usage)} - {"--lan"})
    values = [*filter(stays_here, WORDS), *NUMBERS, "photos", "photos/train", "run", "latest"]
    assert ended(script, works.split()).status == 0
    for _ in range(number):
        line = works.split() if draw.random() < 0.7 else []
        for _ in range(draw.randrange(1, 5)):
            line += [draw.choice(flags), draw.choice(values)][: draw.choice([1, 2, 2, 2])]
        done = ended(script, line)
        said = [told for told in done.stderr.splitlines() if not told.startswith("    ")]
        if done.status == 1 and "combine" in script:  # some pairs could not be made
            assert all(told.startswith("error: ") for told in said), (line, done)
            continue
        assert done.status in (0, 2), line
        assert len(said) == (done.status == 2), (line, done)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def stays_here(word: str) -> bool:
    """Whether a file of this name is below the working folder, which lies in one for tests."""
    return not word.startswith(("/", "..", "~"))
