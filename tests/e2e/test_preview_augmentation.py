"""scripts/preview_augmentation.py: a sheet of what a run would see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import data
import models
from data.loader import SeededDataset
from options.train_options import TrainOptions
from util.util import tensor2im

SCRIPT = "scripts/preview_augmentation.py"
FLAGS = "--model pix2pix --netG resnet_6blocks --load_size 64 --crop_size 56 --seed 4"


def holds(sheet: np.ndarray, part: np.ndarray) -> bool:
    """Whether a picture is somewhere in a larger one."""
    height, width = part.shape[:2]
    found = np.argwhere((sheet == part[0, 0]).all(-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], part) for y, x in found)


def test_the_sheet_shows_what_the_run_would_see(pictures, run_cli, tmp_path):
    root = pictures.two_folders(3)
    flags = ["--dataroot", root, *FLAGS.split(), "--augment", "auto"]
    run = tmp_path / "checkpoints" / "experiment_name"
    run.mkdir(parents=True)
    (run / "latest_net_G.pth").touch()  # a run of this name exists
    before = sorted(tmp_path.rglob("*"))
    done = run_cli(SCRIPT, *flags, "--pairs", "2", "--epochs", "3", "--out", "seen/here.png")
    assert (done.status, done.stderr) == (0, "")
    file = tmp_path / "seen" / "here.png"
    assert str(file) in done.stdout and "--augment auto" in done.stdout
    assert "Options" not in done.stdout and "try_steps" not in done.stdout
    assert sorted({*tmp_path.rglob("*")} - {*before}) == [file.parent, file]

    sheet = np.asarray(Image.open(file))
    opt = TrainOptions(models.registry, data.registry).parse([*flags, "--name", "other"])
    dataset = data.create_dataset(opt).dataset
    for epoch in (1, 2, 3, 4):
        seen = SeededDataset(dataset, 4, torch.tensor(epoch), False)
        for index in range(3):
            shown = epoch < 4 and index < 2
            for side in "AB":
                assert holds(sheet, tensor2im(seen[index][side])) == shown, (epoch, index, side)


def test_large_pictures_are_shown_whole_up_to_a_size(pictures, run_cli, tmp_path):
    root = pictures.two_folders(1, (600, 600))
    line = f"{SCRIPT} --dataroot {root} {FLAGS} --load_size 600 --crop_size 520 --epochs 1"
    widths = {}
    for tile in ("", "--tile 100"):
        assert run_cli(*line.split(), *tile.split()).status == 0
        widths[tile] = Image.open(tmp_path / "augmentation.png").width
    assert 2 * 100 < widths["--tile 100"] < 400 and 2 * 512 < widths[""] < 1200


def test_weight_maps_are_below_their_pair(pictures, run_cli, tmp_path):
    root = pictures.two_folders(1)
    grey = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1))
    pictures.save(Image.fromarray(grey), "pairs/trainW/p0.png")
    flags = ["--dataroot", root, *FLAGS.split(), "--augment", "rotation"]
    assert run_cli(SCRIPT, *flags, "--epochs", "2").status == 0
    sheet = np.asarray(Image.open(tmp_path / "augmentation.png"))
    opt = TrainOptions(models.registry, data.registry).parse([*flags, "--name", "other"])
    seen = SeededDataset(data.create_dataset(opt).dataset, 4, torch.tensor(2), False)[0]
    assert holds(sheet, tensor2im(2 * seen["W"] - 1))


def test_without_pictures_it_says_how_it_is_called(run_cli):
    done = run_cli(SCRIPT)
    assert done.status == 2
    assert "--dataroot is required" in done.stderr
    assert done.stderr.count("preview_augmentation.py --dataroot ") == 2
    assert "train.py" not in done.stderr


@pytest.mark.parametrize("flags", ["--model cycle_gan", "--model colorization --preprocess none"])
def test_other_datasets(flags, pictures, run_cli, tmp_path):
    root = pictures.unaligned(3, 2) if "cycle" in flags else pictures.side_by_side(2)
    line = f"{SCRIPT} --dataroot {root} {flags} --epochs 1 --augment scale --val_split 0.4"
    done = run_cli(*line.split(), "--load_size", "64", "--crop_size", "32")
    assert (done.status, done.stderr) == (0, "")
    assert Image.open(tmp_path / "augmentation.png").width > 64


@pytest.mark.parametrize(
    "flags, told",
    [
        ("--out sheet.txt", "--out sheet.txt: the file must end in .png or .jpg"),
        ("--augment zoom", "'zoom' is not one of scale,"),
        ("--agument auto", "(did you mean --augment?)"),
        ("--pairs 0", "--pairs: '0' is not a whole number of at least 1"),
    ],
)
def test_mistakes_are_told_in_one_line(flags, told, pictures, run_cli):
    done = run_cli(SCRIPT, "--dataroot", pictures.two_folders(2), *FLAGS.split(), *flags.split())
    assert done.status == 2
    assert told in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_bad_picture_is_told_in_one_line(pictures, run_cli, tmp_path):
    root = pictures.two_folders(2)
    (tmp_path / "pairs" / "trainB" / "p1.png").write_bytes(b"none")
    done = run_cli(SCRIPT, "--dataroot", root, *FLAGS.split())
    assert done.status == 2
    assert "p1.png" in done.stderr and len(done.stderr.splitlines()) == 1
