"""datasets/combine_A_and_B.py: what is paired, what is written, and what happens to bad files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "datasets"))
import combine_A_and_B

from data.aligned_dataset import split_halves
from util.errors import UserError


def combine(root: Path, *flags: str) -> None:
    folders = [f"--fold_{side}={root / side}" for side in ("A", "B", "AB")]
    combine_A_and_B.main([*folders, "--no_multiprocessing", *flags])


def made(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


@pytest.fixture
def pairs(pictures):
    """A/train/p0.png, A/train/p1.png, A/test/p0.png and the same of B, in one folder."""
    for file, index in (("train/p0", 0), ("train/p1", 1), ("test/p0", 2)):
        for side, picture in zip("AB", pictures.pair(index), strict=True):
            pictures.save(picture, f"{side}/{file}.png")
    return pictures


def test_a_is_left_and_b_right_pixel_by_pixel_in_the_same_sub_folders(pairs) -> None:
    combine(pairs.root)
    assert made(pairs.root / "AB") == ["test/p0.png", "train/p0.png", "train/p1.png"]
    halves = split_halves(Image.open(pairs.root / "AB" / "train" / "p1.png"))
    for half, original in zip(halves, pairs.pair(1), strict=True):
        np.testing.assert_array_equal(pixels(half), pixels(original))


def test_the_forms_of_a_name_in_unicode_are_one_name(pictures) -> None:
    for side, name, picture in zip("AB", ["e\u0301", "\u00e9"], pictures.pair(0), strict=True):
        pictures.save(picture, f"{side}/{name}.png")
    combine(pictures.root)
    assert made(pictures.root / "AB") == ["\u00e9.png"]


def test_a_tilde_is_the_home_folder(pairs, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(pairs.root))
    monkeypatch.setenv("USERPROFILE", str(pairs.root))
    combine(Path("~"))
    assert len(made(pairs.root / "AB")) == 3


def test_pictures_of_plain_folders_are_paired_whatever_their_types(pictures) -> None:
    a, b = pictures.pair(0)
    pictures.save(a, "A/x.JPG")
    pictures.save(b, "B/x.webp")
    combine(pictures.root)
    assert made(pictures.root / "AB") == ["x.JPG"]
    left, right = split_halves(Image.open(pictures.root / "AB" / "x.JPG"))
    assert np.abs(pixels(left).astype(int) - pixels(a)).mean() < 4
    assert np.abs(pixels(right).astype(int) - pixels(b)).mean() < 4


def test_pairs_of_gif_files_keep_their_colours(pictures) -> None:
    for side, picture in zip("AB", pictures.pair(0), strict=True):
        pictures.save(picture, f"{side}/x.gif")
    combine(pictures.root)
    assert made(pictures.root / "AB") == ["x.png"]
    left, right = split_halves(Image.open(pictures.root / "AB" / "x.png"))
    for half, side in ((left, "A"), (right, "B")):
        np.testing.assert_array_equal(
            pixels(half), pixels(Image.open(pictures.root / side / "x.gif"))
        )


def test_a_picture_above_the_limit_is_refused_until_it_is_raised(pictures, capsys) -> None:
    for side, picture in zip("AB", pictures.pair(0), strict=True):
        pictures.save(picture, f"{side}/x.png")
    with pytest.raises(SystemExit):
        combine(pictures.root, "--max_megapixels", "0.003")
    assert "--max_megapixels" in capsys.readouterr().err
    combine(pictures.root, "--max_megapixels", "0.004")
    assert made(pictures.root / "AB") == ["x.png"]


def test_b_of_another_size_is_brought_to_the_size_of_a(pictures, capsys) -> None:
    pictures.save(pictures.draw(0, 60, 40), "A/x.png")
    pictures.save(pictures.draw(1, 120, 80), "B/x.png")
    combine(pictures.root)
    joined = Image.open(pictures.root / "AB" / "x.png")
    assert joined.size == (120, 40)
    expected = pictures.draw(1, 120, 80).resize((60, 40), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels(split_halves(joined)[1]), pixels(expected))
    assert "1 pairs" in (out := capsys.readouterr().out)
    assert "B was resized to A's size in 1 of them" in out


def test_the_number_of_processes_does_not_change_the_files(pairs) -> None:
    combine(pairs.root)
    one_by_one = {name: (pairs.root / "AB" / name).read_bytes() for name in made(pairs.root / "AB")}
    combine(pairs.root, "--no_multiprocessing", "off", "--fold_AB", str(pairs.root / "again"))
    again = {
        name: (pairs.root / "again" / name).read_bytes() for name in made(pairs.root / "again")
    }
    assert again == one_by_one


@pytest.mark.parametrize("multiprocessing", ["on", "off"])
def test_bad_files_are_named_and_counted_and_the_others_go_on(
    pairs, capsys, multiprocessing
) -> None:
    pairs.save(pairs.draw(5), "A/train/alone.png")
    pairs.save(pairs.draw(6), "B/test/lonely.png")
    pairs.save(pairs.draw(7), "B/train/p0.jpg")  # as B/train/p0.png
    (pairs.root / "B" / "test" / "p0.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(SystemExit) as end:
        combine(pairs.root, "--no_multiprocessing", "off" if multiprocessing == "on" else "on")
    assert end.value.code == 1
    assert made(pairs.root / "AB") == ["train/p1.png"]
    out, err = capsys.readouterr()
    assert "1 pairs" in out
    assert "4 errors" in out
    expected = [
        ("A/train/alone.png", "no partner"),
        ("B/test/lonely.png", "no partner"),
        ("B/test/p0.png", "cannot be read"),
        ("B/train/p0.jpg", "same name"),
    ]
    for line, words in zip(sorted(err.splitlines()), expected, strict=True):
        assert line.startswith("error: ")
        assert all(word in line.replace("\\", "/") for word in words)


def test_what_is_there_already_is_kept_unless_overwrite(pairs, capsys) -> None:
    combine(pairs.root)
    file = pairs.root / "AB" / "train" / "p0.png"
    other = pairs.root / "AB" / "train" / "p1.png"
    before = file.stat().st_mtime_ns
    combine(pairs.root)  # the same content: nothing to do, and no error
    assert file.stat().st_mtime_ns == before

    other.write_bytes(b"mine")
    with pytest.raises(SystemExit) as end:
        combine(pairs.root)
    assert end.value.code == 1
    assert "p1.png exists with other content" in capsys.readouterr().err
    assert other.read_bytes() == b"mine"

    combine(pairs.root, "--overwrite")
    assert Image.open(other).size == (128, 48)
    assert all(p.suffix == ".png" for p in (pairs.root / "AB").rglob("*.*"))


def test_num_imgs_counts_for_each_split(pairs) -> None:
    combine(pairs.root, "--num_imgs", "1")
    assert made(pairs.root / "AB") == ["test/p0.png", "train/p0.png"]


def test_use_ab_pairs_by_ending_within_one_folder(pictures) -> None:
    a, b = pictures.pair(0)
    pictures.save(a, "both/train/x_A.png")
    pictures.save(b, "both/train/x_B.png")
    pictures.save(b, "both/train/other.png")
    both, out = str(pictures.root / "both"), str(pictures.root / "AB")
    with pytest.raises(UserError, match="--use_AB"):
        combine(pictures.root, "--fold_A", both, "--fold_B", both)
    combine(pictures.root, "--fold_A", both, "--fold_B", both, "--fold_AB", out, "--use_AB")
    assert made(pictures.root / "AB") == ["train/x.png"]
    np.testing.assert_array_equal(
        pixels(split_halves(Image.open(pictures.root / "AB" / "train" / "x.png"))[1]), pixels(b)
    )


def test_the_result_never_lands_among_the_inputs(pairs) -> None:
    with pytest.raises(UserError, match="--fold_AB"):
        combine(pairs.root, "--fold_AB", str(pairs.root / "A" / "joined"))
    with pytest.raises(UserError, match="--fold_AB"):
        combine(pairs.root, "--fold_AB", str(pairs.root / "B"), "--overwrite")


def test_a_pair_too_wide_for_its_format_is_an_error_of_that_file(pictures, capsys) -> None:
    for side in "AB":
        pictures.save(Image.new("RGB", (9000, 2)), f"{side}/wide.webp")
        pictures.save(pictures.draw(0), f"{side}/x.png")
    with pytest.raises(SystemExit):
        combine(pictures.root)
    assert "18000x2" in capsys.readouterr().err
    assert made(pictures.root / "AB") == ["x.png"]


def test_the_exit_status_as_a_program(pairs, run_cli) -> None:
    command = ["datasets/combine_A_and_B.py", "--fold_A", "A", "--fold_B", "B", "--fold_AB"]
    assert run_cli(*command, "AB").status == 0
    (pairs.root / "A" / "train" / "p0.png").unlink()
    assert run_cli(*command, "AB2").status == 1
    missing = run_cli(*command[:-4], "nowhere", *command[-3:], "AB3")
    assert missing.status == 2
    assert "nowhere" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_more_than_eight_bits_are_not_cut_off_in_silence(pictures, capsys):
    for side in "AB":
        deep = Image.fromarray(np.full((8, 8), 40000, np.uint16))
        pictures.save(deep, f"{side}/train/x.png")
    with pytest.raises(SystemExit):
        combine(pictures.root)
    error = capsys.readouterr().err
    assert "x.png" in error and "trainA" in error
    assert not (pictures.root / "AB").exists()
