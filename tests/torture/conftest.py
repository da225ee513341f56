"""Fixtures for the tests of what goes wrong by chance."""

from __future__ import annotations

import contextlib
import io
import random
import runpy
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chance import SEED, TooLong

from tests.conftest import Run
from tests.e2e.test_bad_input import TRAIN

ROOT = Path(__file__).resolve().parents[2]
TIME_S = 60


@pytest.fixture(autouse=True)
def seed_told() -> None:
    """pytest shows it where a test fails."""
    print(f"to repeat this: TORTURE_SEED={SEED}")


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """A random source of its own for each test, different in each run."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], Run]:
    """`ended("train.py", words)`: how a program ends, in this process and the working folder.

    Exceptions that it does not expect come through, and TooLong after a minute.
    """
    if not hasattr(signal, "SIGALRM"):
        pytest.skip("has no such limit of time")

    def run(script: str, words: list[str]) -> Run:
        output, errors = io.StringIO(), io.StringIO()
        with (
            monkeypatch.context() as patch,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            patch.setattr(sys, "argv", [script, *words])
            patch.setattr("util.runtime.show_tracebacks", False)
            signal.signal(signal.SIGALRM, too_long)
            signal.alarm(TIME_S)
            try:
                runpy.run_path(str(ROOT / script), run_name="__main__")
                status = 0
            except SystemExit as end:
                status = end.code or 0
            finally:
                signal.alarm(0)
        return Run(output.getvalue(), errors.getvalue(), status)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory, pictures_in, run_in) -> Path:
    """A folder, to be copied, with pairs in photos/ and a run that has files of every kind."""
    folder = tmp_path_factory.mktemp("trained")
    for number, phase in ((3, "train"), (2, "val")):
        pictures_in(folder).side_by_side(number, (24, 24), phase)
    (folder / "joined").rename(folder / "photos")
    shutil.copytree(folder / "photos" / "val", folder / "val")
    flags = TRAIN.replace("--name new", "--name run") + " --n_epochs 2 --save_epoch_freq 1"
    done = run_in(folder, "train.py", *flags.split(), "--ema", "0.5", "--print_freq", "1")
    assert (done.status, done.stderr) == (0, "")
    return folder


def too_long(*_: object) -> None:
    raise TooLong
