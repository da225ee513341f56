"""Ctrl-C while the program is still being imported, which takes seconds, ends it in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send a Ctrl-C to one process")
@pytest.mark.parametrize("script", ["train.py", "test.py"])
@pytest.mark.parametrize("module", ["argparse", "numpy", "torch.types", "torch.nn"])
def test_ctrl_c_while_importing(script, module, tmp_path):
    """The signal arrives when this module, one of many, has just been imported."""
    command = [sys.executable, "-X", "importtime", str(ROOT / script), "--help"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == module:
                process.send_signal(signal.SIGINT)
                break
        told = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.returncode == 130
    assert "".join(told).strip() == f"{script}: stopped by Ctrl-C"
