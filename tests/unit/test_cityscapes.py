"""datasets/prepare_cityscapes_dataset.py on a Cityscapes of four tiny streets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "datasets"))
import prepare_cityscapes_dataset

from util.errors import UserError

ROAD, CAR, SKY = (128, 64, 128), (0, 0, 142), (70, 130, 180)
FRAMES = {
    "train": ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "bonn/bonn_000002_0"],
    "val": ["ulm/ulm_000000_000019"],
}


def label_map(width: int, height: int) -> Image.Image:
    """Sky above road with a car, in RGBA as Cityscapes has it."""
    colours = np.full((height, width, 4), (*ROAD, 255), np.uint8)
    colours[: height // 2, :, :3] = SKY
    colours[height // 3 : height // 2 + 7, width // 5 : width // 3, :3] = CAR
    return Image.fromarray(colours)


@pytest.fixture
def cityscapes(pictures):
    for split, frames in FRAMES.items():
        for index, frame in enumerate(frames):
            pictures.save(
                pictures.draw(index, 530, 270), f"leftImg8bit/{split}/{frame}_leftImg8bit.png"
            )
            pictures.save(label_map(530, 270), f"gtFine/{split}/{frame}_gtFine_color.png")
            pictures.save(Image.new("L", (530, 270)), f"gtFine/{split}/{frame}_gtFine_labelIds.png")
    return pictures


def prepare(root: Path, *flags: str) -> Path:
    out = root / "cityscapes"
    prepare_cityscapes_dataset.main(
        [
            *("--gtFine_dir", str(root / "gtFine"), "--leftImg8bit_dir", str(root / "leftImg8bit")),
            *("--output_dir", str(out), "--no_multiprocessing", *flags),
        ]
    )
    return out


def test_both_layouts_hold_every_frame(cityscapes) -> None:
    out = prepare(cityscapes.root)
    train = sorted(f"{frame.split('/')[1]}.png" for frame in FRAMES["train"])
    val = ["ulm_000000_000019.png"]
    for folder, names, size in (
        ("train", train, (512, 256)),
        ("trainA", train, (256, 256)),
        ("trainB", train, (256, 256)),
        ("val", val, (512, 256)),
        ("testA", val, (256, 256)),
        ("testB", val, (256, 256)),
    ):
        files = sorted((out / folder).iterdir())
        assert [file.name for file in files] == names
        assert {Image.open(file).size for file in files} == {size}
    assert len(list(out.iterdir())) == 6


def test_the_photograph_is_left_and_the_label_map_keeps_its_colours(cityscapes) -> None:
    out = prepare(cityscapes.root)
    name = "aachen_000001_000019.png"
    joined, a, b = (np.asarray(Image.open(out / d / name)) for d in ("train", "trainA", "trainB"))
    np.testing.assert_array_equal(joined, np.concatenate([a, b], axis=1))
    photo = cityscapes.draw(1, 530, 270).resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(a, np.asarray(photo))
    assert {tuple(colour) for colour in b.reshape(-1, 3)} == {ROAD, CAR, SKY}


def test_a_photograph_without_a_label_map_stops_it_before_anything_is_written(cityscapes) -> None:
    (label,) = cityscapes.root.glob("gtFine/train/bonn/*_color.png")
    label.unlink()
    with pytest.raises(UserError) as error:
        prepare(cityscapes.root)
    assert "1 of 4 photographs" in str(error.value)
    assert label.name in str(error.value)
    assert not (cityscapes.root / "cityscapes").exists()


def test_a_label_map_without_a_photograph_is_named(cityscapes, capsys) -> None:
    prepare(cityscapes.root)
    assert "label maps" not in capsys.readouterr().out
    (photo,) = cityscapes.root.glob("leftImg8bit/train/bonn/*.png")
    photo.unlink()
    out = prepare(cityscapes.root, "--overwrite")
    said = capsys.readouterr().out
    assert "1 label maps have no photograph" in said
    assert "bonn_000002_0_gtFine_color.png" in said
    assert "3 pairs" in said and out.is_dir()


def test_a_missing_part_is_named(cityscapes) -> None:
    (cityscapes.root / "leftImg8bit" / "val").rename(cityscapes.root / "leftImg8bit" / "other")
    with pytest.raises(UserError, match=r"val/CITY.*other"):
        prepare(cityscapes.root)


def test_a_damaged_picture_is_named_and_the_others_go_on(cityscapes, capsys) -> None:
    (label,) = cityscapes.root.glob("gtFine/train/bonn/*_color.png")
    label.write_bytes(label.read_bytes()[:200])
    with pytest.raises(SystemExit) as end:
        prepare(cityscapes.root)
    assert end.value.code == 1
    out, err = capsys.readouterr()
    assert label.name in err
    assert "3 pairs" in out
    assert len(list((cityscapes.root / "cityscapes" / "train").iterdir())) == 2


def test_it_runs_as_a_program_on_several_processes(cityscapes, run_cli) -> None:
    done = run_cli(
        *("datasets/prepare_cityscapes_dataset.py", "--gtFine_dir", "gtFine"),
        *("--leftImg8bit_dir", "leftImg8bit"),
    )
    assert (done.status, done.stderr) == (0, "")
    assert len(list((cityscapes.root / "datasets" / "cityscapes" / "trainA").iterdir())) == 3
