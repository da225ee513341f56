"""What surrounds the code: continuous integration, and the commit hooks."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The command that README.md gives for running the tests.
TEST_COMMAND = re.search(r"^(python3 scripts/test\.py\b.*?) +#", README, re.MULTILINE)[1]


def read_yaml(name: str):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_workflow_runs_the_test_command_everywhere():
    (job,) = read_yaml(".github/workflows/tests.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [TEST_COMMAND]

    matrix = job["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert job["runs-on"] == "${{ matrix.os }}"
    oldest, newest = re.search(r"Python 3\.(\d+) to 3\.(\d+)", README).groups()
    first, last = matrix["python"]  # texts: as a number, 3.10 would be 3.1
    assert first == f"3.{oldest}" and int(oldest) < int(last.removeprefix("3.")) <= int(newest)
    uses = {step["uses"].split("@")[0]: step.get("with") for step in job["steps"] if "uses" in step}
    assert uses["actions/setup-python"] == {"python-version": "${{ matrix.python }}"}


def test_continuous_integration_here_ends_in_the_test_command():
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert last == f"exec {TEST_COMMAND}"


def test_one_range_of_python_versions_is_named_everywhere():
    said = re.search(r"Python 3\.(\d+) to 3\.(\d+)", README).groups()
    for name in ("README.md", "CONTRIBUTING.md", "scripts/environment.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"Python 3\.(\d+) to 3\.(\d+)", text)) == {said}, name
    oldest, newest = map(int, said)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">=3.{oldest},<3.{newest + 1}"\n' in settings
    check = (ROOT / "scripts" / "environment.py").read_text(encoding="utf-8")
    assert f"if not (3, {oldest}) <= sys.version_info[:2] <= (3, {newest}):" in check


def hooks() -> list[dict]:
    (local,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    return local["hooks"]


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_stops_a_commit(hook, tmp_path):
    """By its status or, as pre-commit takes it, by changing the file."""
    python, *command = shlex.split(hook["entry"])
    assert (hook["language"], python) == ("system", "python")
    bad, text = tmp_path / "bad.py", "import os\nnumber : int = ''\n"
    bad.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, *command, str(bad)], cwd=ROOT)
    assert done.returncode == 1 or bad.read_text(encoding="utf-8") != text


def test_hooks_are_the_linters():
    assert [hook["id"] for hook in hooks()] == ["ruff-check", "ruff-format", "mypy"]


def test_types_are_checked_in_all_that_is_no_test():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests"}
    assert {path.name for path in ROOT.glob("*.py")} | folders == set(
        settings["tool"]["mypy"]["files"]
    )
