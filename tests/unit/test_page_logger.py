"""What the training page is told: signs of life, and the metrics of the pictures that it shows."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import pytest
import torch

from util.metrics.scores import Scores
from util.run.clock import Clock
from util.show.loggers import page
from util.show.loggers.base import Example, Outcome
from util.show.loggers.page import PageLogger


def page_logger(folder: Path) -> PageLogger:
    opt = argparse.Namespace(name="run", display_winsize=256, checkpoints_dir="./checkpoints")
    texts = {"captions": {}, "compare": [], "options": ""}
    return PageLogger(opt, folder, Clock(1, 10, 4), 0, **texts)


@pytest.fixture
def logger(tmp_path):
    logger = page_logger(tmp_path)
    yield logger
    logger.close(Outcome("finished", ""))


def told(folder: Path, function: str) -> list[list]:
    calls = (folder / "web" / "data" / "0001.js").read_text()
    return [json.loads(f"[{a}]") for a in re.findall(rf"page\.{function}\((.*)\);", calls)]


def alive_s(folder: Path) -> int:
    """When the run was last known to be alive."""
    text = (folder / "web" / "data" / "alive.js").read_text()
    return int(re.fullmatch(r"page\.alive\((\d+)\);\n", text)[1])


def show(logger: PageLogger, *names: str) -> None:
    clock = Clock(2, 10, 4)
    pictures = {label: torch.zeros(1, 3, 8, 8) for label in ("real_A", "fake_B")}
    examples = [
        Example((f"trainA/{n}", f"trainB/{n}"), pictures, frozenset({"real_A"})) for n in names
    ]
    logger.images(clock, examples, None)


def test_signs_of_life_come_without_steps_and_end_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "BEAT_S", 0.05)
    logger = page_logger(tmp_path)
    file = tmp_path / "web" / "data" / "alive.js"
    assert alive_s(tmp_path) == pytest.approx(time.time(), abs=5)
    for _ in range(2):
        file.unlink()
        deadline = time.monotonic() + 5
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    logger.close(Outcome("finished", ""))
    time.sleep(0.1)  # one that had begun
    file.unlink()
    time.sleep(0.2)
    assert not file.exists()


@pytest.mark.parametrize("side", ["A", "B"])
@pytest.mark.parametrize("is_shown_first", [True, False])
def test_the_pictures_shown_have_their_own_metrics(logger, tmp_path, side, is_shown_first):
    """Those of a run with --direction BtoA are kept by the file in trainB."""
    found = {f"train{side}/{n}.png": {"SSIM": n / 10} for n in (1, 2, 3)}
    nothing = {f"train{side}/{n}.png": {"SSIM": 0.5} for n in (1, 2, 3)}
    scores = Scores(2, 8, {"last": {"SSIM": 0.2}}, {"SSIM": 0.5}, found, nothing_by_picture=nothing)
    steps = [lambda: show(logger, "1.png", "3.png"), lambda: logger.validation(scores)]
    for step in steps if is_shown_first else reversed(steps):
        step()
    expected = {"1": [{"SSIM": 0.1}, {"SSIM": 0.5}], "2": [{"SSIM": 0.3}, {"SSIM": 0.5}]}
    assert told(tmp_path, "judged") == [[2, expected]]
    show(logger, "1.png", "3.png")
    assert len(told(tmp_path, "judged")) == 1  # told once


def test_a_model_with_two_generators_has_the_metrics_of_both(logger, tmp_path):
    found = {"trainA/1.png": {"SSIM_input_A": 0.1}, "trainB/1.png": {"SSIM_input_B": 0.2}}
    show(logger, "1.png")
    logger.validation(Scores(2, 8, {"last": {"SWD_A": 3.0}}, {}, found))
    assert told(tmp_path, "judged") == [
        [2, {"1": [{"SSIM_input_A": 0.1, "SSIM_input_B": 0.2}, {}]}]
    ]


def test_pictures_that_are_not_validated_have_no_metrics(logger, tmp_path):
    show(logger, "1.png")
    logger.validation(Scores(2, 8, {"last": {"SSIM": 0.2}}, {}, {"valA/1.png": {"SSIM": 0.2}}))
    assert told(tmp_path, "judged") == []
