"""Which files of a folder count as pictures, and in which order."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from data.image_folder import has_pictures, is_image_file, make_dataset
from util.errors import UserError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path, *arguments) -> list[str]:
    """Pictures of a folder, relative to it."""
    return [Path(path).relative_to(folder).as_posix() for path in make_dataset(folder, *arguments)]


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "bmp", "gif", "jfif", "webp", "tif"])
def test_known_endings_in_any_letter_case(ending):
    for name in (f"a.{ending}", f"a.{ending.upper()}", f"a.b.{ending.title()}"):
        assert is_image_file(name)


@pytest.mark.parametrize(
    "name", [".a.png", "._a.jpg", "a.txt", "png", "a.png.part", "Thumbs.db", ".DS_Store", "a.heic"]
)
def test_other_files(name):
    assert not is_image_file(name)


def test_pictures_come_in_order_whatever_the_order_on_disk(tmp_path):
    touch(tmp_path, "c.png", "a.jpg", "b/z.png", "b/y.PNG", "B.webp", "notes.txt")
    assert found(tmp_path) == ["B.webp", "a.jpg", "b/y.PNG", "b/z.png", "c.png"]


def test_hidden_files_and_folders_are_skipped(tmp_path):
    touch(tmp_path, "a.png", ".b.png", ".thumbs/c.png", "sub/.d.png", "sub/e.png")
    assert found(tmp_path) == ["a.png", "sub/e.png"]


@pytest.mark.parametrize("limit, number", [(2, 2), (9, 3), (math.inf, 3)])
def test_at_most_so_many(limit, number, tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    assert found(tmp_path, limit) == ["a.png", "b.png", "c.png"][:number]


def test_what_the_limit_leaves_out_is_told(tmp_path, capsys):
    touch(tmp_path, "a.png", "b.png", "c.png")
    make_dataset(tmp_path, 3)
    assert capsys.readouterr().out == ""
    make_dataset(tmp_path, 2)
    assert capsys.readouterr().out == f"{tmp_path}: 2 of 3 pictures (--max_dataset_size 2)\n"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "a.png", "deep/b.png")
    folder = touch(tmp_path / "photos", "c.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "d.png").symlink_to(elsewhere / "a.png")
    assert found(folder) == ["c.png", "d.png", "linked/a.png", "linked/deep/b.png"]
    (tmp_path / "alias").symlink_to(folder)
    assert len(make_dataset(tmp_path / "alias")) == 4


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_in_a_circle_ends(tmp_path):
    touch(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    assert found(tmp_path) == ["a.png", "sub/b.png"]


def test_missing_folder_is_named_with_what_is_there(tmp_path):
    touch(tmp_path, "trainA/a.png", "trainB/b.png")
    with pytest.raises(UserError, match="there is no such folder") as caught:
        make_dataset(tmp_path / "testA")
    message = str(caught.value)
    assert str(tmp_path / "testA") in message
    assert "trainA, trainB" in message


def test_empty_folder_is_named(tmp_path):
    touch(tmp_path / "train", "notes.txt", "sub/.hidden.png")
    with pytest.raises(UserError, match="no pictures") as caught:
        make_dataset(tmp_path / "train")
    assert str(tmp_path / "train") in str(caught.value)


def test_has_pictures(tmp_path):
    assert not has_pictures(tmp_path)
    assert not has_pictures(tmp_path / "missing")
    touch(tmp_path, "notes.txt", ".a.png")
    assert not has_pictures(tmp_path)
    touch(tmp_path, "deep/down/a.png")
    assert has_pictures(tmp_path)
    assert not has_pictures(tmp_path / "notes.txt")


def test_files_that_are_left_out_are_told(tmp_path, capsys):
    touch(tmp_path, "a.png", "b.heic", "sub/c.HEIC", "d.avif", ".hidden", ".thumbs/e.heic")
    touch(tmp_path, "notes.txt", "boxes.json", "README.md", "Thumbs.db", "desktop.ini")
    assert found(tmp_path) == ["a.png"]
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    for part in (str(tmp_path), "3 files", ".heic", ".avif"):
        assert part in told
    (tmp_path / "d.avif").unlink()
    for heic in tmp_path.rglob("*.[hH]*"):
        if heic.is_file():
            heic.unlink()
    assert found(tmp_path) == ["a.png"]
    assert capsys.readouterr().out == ""
