"""What the tests on the pretended device share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils import backend_registration

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

OnDevice = Callable[[list[str]], list[dict[str, Any]]]


@pytest.fixture
def attempt(tmp_path: Path) -> OnDevice:
    """`attempt(commands)`: what each did, in a process of their own; see commands.py.

    Of their own, because a device stays registered as long as its process lives.
    """
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch cannot register a device written in Python")

    def run(commands: list[str]) -> list[dict[str, Any]]:
        path = os.pathsep.join(map(str, (ROOT, HERE.parent)))
        done = subprocess.run(
            [sys.executable, str(HERE / "commands.py")],
            input=json.dumps(commands),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def on_device(attempt: OnDevice) -> OnDevice:
    """`attempt` of commands that must succeed."""

    def run(commands: list[str]) -> list[dict[str, Any]]:
        results = attempt(commands)
        assert not (errors := [r["error"] for r in results if r["error"]]), "\n".join(errors)
        return results

    return run
