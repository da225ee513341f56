"""What the demo says of its figures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import demo
from util.show.results import Results


def test_it_reads_the_figures_that_the_results_page_has(tmp_path, monkeypatch):
    def picture(level: float) -> torch.Tensor:
        return torch.full((1, 3, 16, 16), level / 127.5 - 1)

    monkeypatch.setattr(demo, "RESULTS", tmp_path)
    labels = {"measure": ("fake_B", "real_B"), "untouched": "real_A", "title": ""}
    labels |= {"captions": {}, "compare": [], "options": "", "winsize_px": 64}
    results = Results(tmp_path / "test_latest", **labels)
    for name, made in (("a, b);", 10), ("c", 20)):
        pictures = {"real_A": picture(130), "fake_B": picture(100 + made), "real_B": picture(100)}
        results.add(pictures, {label: [f"{name}.png"] for label in pictures})
    results.close()
    assert demo.l1_of_results("test") == pytest.approx((15, 30), abs=0.1)


def test_the_summary_follows_the_figures():
    text = demo.summary((20.0, 0.8), (0.9, 3.7), (7.1, 4.2))
    known, new = (line for line in text.splitlines() if "tested on" in line)
    assert "0.9, better than doing nothing (3.7)" in known
    assert "7.1, no better than doing nothing (4.2)" in new
    assert "needs more pairs" in text
    text = demo.summary((20.0, 0.8), (0.9, 3.7), (3.9, 4.2))
    assert "3.9, better than doing nothing (4.2)" in text and "needs more pairs" not in text


@pytest.mark.parametrize(
    "flags, display, opens",
    [([], ":0", True), ([], "", False), (["--no_browser"], ":0", False)],
)
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a display is always there")
def test_it_opens_its_page_where_there_is_a_display(flags, display, opens, monkeypatch, capsys):
    shown = []
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "argv", ["demo.py", *flags])
    monkeypatch.setattr("webbrowser.open", shown.append)
    # The training takes minutes; here are its end, and what is said then.
    monkeypatch.setattr(demo.environment, "ensure", lambda *_: Path(sys.executable))
    monkeypatch.setattr(demo, "run", lambda *_: None)
    monkeypatch.setattr(demo.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(demo, "l1_of_training", lambda: (20.0, 0.8))
    monkeypatch.setattr(demo, "l1_of_results", lambda phase: (0.9, 3.7))
    assert demo.main() == 0
    said = capsys.readouterr().out
    page = (demo.RESULTS / "train_latest" / "index.html").as_uri()
    assert shown == ([page] if opens else []) and page in said
    assert ("The first opens now" in said) == opens
    assert "python scripts/check_pairs.py --dataroot my_data" in said
    assert f"python scripts/try_it.py --name {demo.RUN.name}" in said


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal")
def test_ctrl_c_lets_the_training_save_and_ends_the_demo():
    training = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    print("saved", flush=True)
    raise SystemExit(130)
"""
    program = f"import sys, demo; demo.run(sys.executable, ['-c', {training!r}])"
    command = [sys.executable, "-c", program]
    folder = Path(demo.__file__).parent
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert any(line == "ready\n" for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.stdout.read().splitlines()
    assert rest[:2] == ["saved", "The demo has ended early; the same command begins it anew."]
    assert rest[2].startswith("Before commands that begin with python, type ") and len(rest) == 3
    assert process.returncode == 130
