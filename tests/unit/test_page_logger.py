"""What the training page is told: signs of life, and the metrics of the pictures that it shows."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch

from util.metrics.scores import Scores
from util.run.clock import Clock
from util.show.loggers import page
from util.show.loggers.base import Example, Losses, Outcome
from util.show.loggers.page import PageLogger


def page_logger(folder: Path, images: int = 0) -> PageLogger:
    """That of a run of four images an epoch that starts after so many."""
    opt = argparse.Namespace(name="run", display_winsize=256, checkpoints_dir="./checkpoints")
    texts = {"captions": {}, "compare": [], "options": ""}
    return PageLogger(opt, folder, clock_at(images), 0, **texts)


def clock_at(images: int) -> Clock:
    clock = Clock(images // 4 + 1, 10, 4)
    clock.epoch_images, clock.total_images = images % 4, images
    return clock


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


def show(logger: PageLogger, *names: str, images: int = 4) -> None:
    pictures = {label: torch.zeros(1, 3, 8, 8) for label in ("real_A", "fake_B")}
    examples = [
        Example((f"trainA/{n}", f"trainB/{n}"), pictures, frozenset({"real_A"})) for n in names
    ]
    logger.images(clock_at(images), examples, None)


def summary(folder: Path) -> dict:
    """What the page of all runs is told."""
    text = (folder / "web" / "summary.js").read_text()
    return json.loads(re.fullmatch(r"runs\.add\((.*)\);\n", text)[1])


def shown_files(folder: Path) -> list[tuple[str, str]]:
    """Name and generated file of each picture in the summary; the files are there."""
    pictures = summary(folder)["pictures"]
    for each in pictures:
        for file in each["files"].values():
            assert (folder / "web/images" / unquote(file, errors="surrogateescape")).is_file()
    return [(each["name"], each["files"]["fake_B"]) for each in pictures]


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


STOPPED = Outcome("stopped", "")


def test_the_summary_of_a_stopped_run_has_the_epoch_that_was_reached(tmp_path):
    logger = page_logger(tmp_path)
    show(logger, "1.png", images=5)
    logger.losses(Losses(4, 4, 16, 0.1, 0.0, 0.0002, {"G": 1.0}))
    logger.close(STOPPED)
    assert (summary(tmp_path)["state"], summary(tmp_path)["epoch"]) == ("stopped", 4)
    page_logger(tmp_path, 18).close(STOPPED)
    assert summary(tmp_path)["epoch"] == 5


def test_a_resumed_run_keeps_its_newest_pictures_in_the_summary(tmp_path):
    logger = page_logger(tmp_path)
    for images in (4, 8, 12):  # in epochs 2, 3 and 4
        show(logger, "1.png", "한 %2.png", images=images)
    logger.close(STOPPED)
    newest = [("1.png", "epoch004_fake_B.png"), ("한 %2.png", "epoch004_2_fake_B.png")]
    assert shown_files(tmp_path) == newest
    page_logger(tmp_path, 13)  # and killed
    assert shown_files(tmp_path) == newest
    page_logger(tmp_path, 11).close(STOPPED)  # resumed at an earlier checkpoint
    older = [("1.png", "epoch003_fake_B.jpg"), ("한 %2.png", "epoch003_2_fake_B.jpg")]
    assert shown_files(tmp_path) == older
    logger = page_logger(tmp_path, 8)
    show(logger, "other.png", images=9)  # in epoch 3 again
    logger.close(STOPPED)
    assert shown_files(tmp_path) == [("other.png", "epoch003_fake_B.png")]
    page_logger(tmp_path).close(STOPPED)  # from the start
    assert summary(tmp_path)["pictures"] == []


def test_a_damaged_page_is_told_in_the_summary(tmp_path):
    show(page_logger(tmp_path), "1.png")
    data = tmp_path / "web" / "data" / "0001.js"
    data.write_text(data.read_text().replace("page.pictures(", "page.pictures"))
    page_logger(tmp_path, 5).close(STOPPED)
    assert summary(tmp_path)["troubles"] == ["web/data is damaged"]
    assert summary(tmp_path)["pictures"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode")
def test_a_name_that_is_not_unicode_is_in_the_summary(logger, tmp_path):
    show(logger, os.fsdecode(b"caf\xe9.png"))
    assert len(shown_files(tmp_path)) == 1
