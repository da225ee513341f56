"""Fixtures for the tests of what goes wrong by chance."""

from __future__ import annotations

import contextlib
import io
import random
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chance import SEED, TooLong

from tests.conftest import Run

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


def too_long(*_: object) -> None:
    raise TooLong
