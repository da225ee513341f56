"""Photographs as lightness and colour: where they are found, their values, and the way back."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
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
    assert "using the pictures in" in capsys.readouterr().out
    assert names(f"{folder}/s1.png") == ["s1"]
    assert names(folder, "--max_dataset_size", "1") == ["s0"]

    capsys.readouterr()
    pictures.save(pictures.draw(7), "single/train/t0.png")
    assert names(folder) == ["t0"]  # a phase is what --dataroot is made for
    pictures.save(pictures.draw(8), "single/test/t1.png")
    assert names(folder) == ["t1"]
    assert "using the pictures" not in capsys.readouterr().out


def test_a_folder_without_pictures_is_refused(names, pictures, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="--phase test: empty has no pictures"):
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


# L, a and b of sRGB colours under D65, and the grey level of the same lightness: that of their
# relative luminances 0.2126, 0.7152 and 0.0722, as the sRGB standard has them.
KNOWN_COLOURS = {
    (255, 0, 0): ((53.24, 80.09, 67.20), 127),
    (0, 255, 0): ((87.73, -86.18, 83.18), 220),
    (0, 0, 255): ((32.30, 79.19, -107.86), 76),
    (255, 255, 255): ((100, 0, 0), 255),
    (0, 0, 0): ((0, 0, 0), 0),
}


@pytest.fixture
def coloured(pictures, tmp_path, monkeypatch) -> tuple[Namespace, dict]:
    """Options, and a batch of a picture of each known colour."""
    monkeypatch.chdir(tmp_path)
    for number, colour in enumerate(KNOWN_COLOURS):
        pictures.save(Image.new("RGB", (32, 32), colour), f"colours/train/{number}.png")
    line = f"--dataroot {tmp_path}/colours --model colorization --netG resnet_6blocks --ngf 2"
    line += " --ndf 2 --load_size 32 --crop_size 32 --batch_size 5 --serial_batches"
    line += " --num_threads 0 --device cpu"
    opt = TrainOptions(models.registry, data.registry).parse(line.split())
    return opt, next(iter(data.create_dataset(opt)))


def test_known_colours_have_their_numbers_in_lab(coloured) -> None:
    _, batch = coloured
    lab = torch.tensor([lab for lab, _ in KNOWN_COLOURS.values()])
    expected = lab.view(5, 3, 1, 1).expand(-1, -1, 32, 32)
    torch.testing.assert_close(batch["A"], expected[:, :1] / 50 - 1, rtol=0, atol=0.02 / 50)
    torch.testing.assert_close(batch["B"], expected[:, 1:] / 110, rtol=0, atol=0.02 / 110)


def test_known_colours_come_back(coloured) -> None:
    """And without their colour they come as greys of the same lightness."""
    opt, batch = coloured
    model = models.create_model(opt)
    model.set_input(batch)
    model.fake_B = torch.zeros_like(batch["B"])
    model.compute_visuals()
    shown = model.get_current_visuals()
    levels = {name: (shown[name][..., 7, 9] + 1) * 127.5 for name in ("real_B_rgb", "fake_B_rgb")}
    greys = [[grey] * 3 for _, grey in KNOWN_COLOURS.values()]
    assert np.abs(levels["real_B_rgb"].numpy() - [*KNOWN_COLOURS]).max() < 0.1
    assert np.abs(levels["fake_B_rgb"].numpy() - greys).max() < 0.6


def test_a_photograph_comes_back(pictures, tmp_path, monkeypatch) -> None:
    """Its crop and all, to half a level of 8 bits."""
    monkeypatch.chdir(tmp_path)
    picture = pictures.draw(4, 48, 40)
    pictures.save(picture, "photos/test/p.png")
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)
    line = "--dataroot photos --name run --model colorization --preprocess crop --crop_size 32"
    line += " --netG resnet_6blocks --ngf 2 --num_threads 0 --device cpu"
    opt = TestOptions(models.registry, data.registry).parse(line.split())
    model = models.create_model(opt)
    model.set_input(next(iter(data.create_dataset(opt))))
    model.test()
    shown = ((model.get_current_visuals()["real_B_rgb"][0] + 1) * 127.5).permute(1, 2, 0)
    assert np.abs(shown.numpy() - np.asarray(picture)[4:36, 8:40]).max() < 0.5
