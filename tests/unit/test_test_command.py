"""scripts/test.py in a small project, with the real linters and a real pytest."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """import pytest


def test_quick():
    pass


@pytest.mark.slow
def test_slow():
    pass
"""
PYPROJECT = """[tool.mypy]
files = ["typed.py"]

[tool.pytest.ini_options]
addopts = "-p xdist"
markers = ["slow: takes long"]
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """`run("--slow", ...)`: the tests that ran, the stages of the summary, and the status."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    command = importlib.import_module("scripts.test")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command.environment, "ensure", lambda *_: sys.executable)  # nothing to do
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # for speed
    (tmp_path / "typed.py").touch()
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)

    def run(*arguments: str) -> tuple[set[str], list[str], int]:
        status = command.main(["-v", "-n", "0", *arguments])
        told, summary = capfd.readouterr().out.split("== summary")
        stages = re.findall(r"^(\w[\w ]*?) +(?:ok|FAILED \(\d+\)) +[\d.]+ s$", summary, re.M)
        return set(re.findall(r"::(test_\w+) PASSED", told)), stages, status

    return run


def test_alone_it_lints_and_runs_what_is_not_slow(run):
    stages = ["environment", "ruff check", "ruff format", "mypy", "pytest"]
    assert run() == ({"test_quick"}, stages, 0)


def test_slow_runs_the_rest(run):
    assert run("--slow") == ({"test_slow"}, ["environment", "pytest"], 0)


def test_arguments_reach_pytest(run):
    assert run("--slow", "-k", "quick")[::2] == (set(), 5)  # which is pytest's status for none
    assert run("--slow", "-m", "slow or not slow")[::2] == ({"test_quick", "test_slow"}, 0)


def test_a_complaint_of_a_linter_fails(run, tmp_path):
    (tmp_path / "typed.py").write_text("number: int = ''\n")
    ran, _, status = run()
    assert (ran, status) == ({"test_quick"}, 1)
