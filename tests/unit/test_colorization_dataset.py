"""Photographs as lightness and colour: where they are looked for, and what grey ones give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data
import models
from data.colorization_dataset import ColorizationDataset
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError


@pytest.fixture
def names(tmp_path, monkeypatch) -> Callable[..., list[str]]:
    """`names("folder", "--phase", "val")`: the stems of the pictures that test.py would colour."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)

    def stems(dataroot: str, *flags: str) -> list[str]:
        line = ["--dataroot", dataroot, "--name", "run", "--model", "colorization", *flags]
        opt = TestOptions(models.registry, data.registry).parse(line)
        return [Path(path).stem for path in ColorizationDataset(opt).paths]

    return stems


def test_testing_takes_a_phase_a_plain_folder_or_one_picture(names, pictures, capsys) -> None:
    folder = pictures.single(2)
    assert names(folder) == ["s0", "s1"]
    assert "taking the pictures in" in capsys.readouterr().out
    assert names(f"{folder}/s1.png") == ["s1"]
    assert names(folder, "--max_dataset_size", "1") == ["s0"]

    capsys.readouterr()
    pictures.save(pictures.draw(7), "single/train/t0.png")
    assert names(folder) == ["t0"]  # a phase is what --dataroot is made for
    pictures.save(pictures.draw(8), "single/test/t1.png")
    assert names(folder) == ["t1"]
    assert "taking" not in capsys.readouterr().out


def test_a_folder_without_pictures_is_refused(names, pictures, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures for --phase test"):
        names("empty")


def test_training_needs_a_phase(pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["--dataroot", pictures.single(2), "--model", "colorization"]
    opt = TrainOptions(models.registry, data.registry).parse(line)
    with pytest.raises(UserError, match="no pictures for --phase train"):
        ColorizationDataset(opt)


def test_a_grey_picture_has_its_lightness_and_no_colour(pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = pictures.save(Image.new("L", (32, 32), 119), "grey/g.png")  # L* of sRGB 119 is 50.03
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)
    line = ["--dataroot", str(file), "--name", "run", "--model", "colorization"]
    opt = TestOptions(models.registry, data.registry).parse([*line, "--device", "cpu"])
    sample = ColorizationDataset(opt)[0]
    assert sample["A"].shape == (1, 256, 256)
    assert np.allclose(sample["A"], 0, atol=2e-3)
    assert np.allclose(sample["B"], 0, atol=1e-3)
