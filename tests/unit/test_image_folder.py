"""Which files of a folder count as pictures, and in which order."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.image_folder import has_pictures, is_image_file, make_dataset, visible_files
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


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
    "name", [".a.png", "._a.jpg", "a.txt", "png", "a.png.part", "Thumbs.db", ".DS_Store", "a.psd"]
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
    touch(tmp_path / "train", "sub/.hidden.png")
    with pytest.raises(UserError) as caught:
        make_dataset(tmp_path / "train")
    assert str(caught.value) == f"{tmp_path / 'train'} has no pictures"


def test_what_a_folder_has_instead_of_pictures_is_told(tmp_path):
    touch(tmp_path, *(f"{i}.NEF" for i in range(4)), "sub/a.nef", "a.xmp", "b.xmp", "README")
    with pytest.raises(UserError) as caught:
        make_dataset(tmp_path)
    told = f"{tmp_path} has 5 .nef, 2 .xmp and 1 README files, but none of these types: .jpg, "
    assert str(caught.value).startswith(told)
    alone = touch(tmp_path / "alone", "a.mat")
    with pytest.raises(UserError, match=r"alone has 1 \.mat file, but none of these types: "):
        make_dataset(alone)
    many = touch(tmp_path / "many", *(f"a.{ending}" for ending in "bcdefghijkl"))
    with pytest.raises(UserError, match=r"1 \.b, .* and 1 \.i files and others, but none"):
        make_dataset(many)


# --- Not a smaller data set -----------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_folder_that_leads_to_itself_is_named(tmp_path):
    (tmp_path / "testB").symlink_to(tmp_path / "testB")
    with pytest.raises(UserError, match="testB: this folder cannot be read"):
        has_pictures(tmp_path / "testB")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("target", ["disk/not/mounted", "part2"])
def test_a_link_to_a_folder_that_cannot_be_reached_is_named(target, tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "part2").symlink_to(tmp_path / target)
    with pytest.raises(UserError, match="part2: this link leads nowhere"):
        make_dataset(tmp_path)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="needs root")
def test_a_subfolder_without_permission_is_named(tmp_path):
    touch(tmp_path, "a.png", "closed/b.png")
    for folder in [tmp_path, *tmp_path.parents[:-2]]:
        folder.chmod(0o755)
    (tmp_path / "closed").chmod(0)
    code = "import os, sys; import data.image_folder as f; os.setuid(65534)\n"
    code += "for call in f.make_dataset, f.has_pictures:\n"
    code += "    try: print(call(f.Path(sys.argv[1])))\n"
    code += "    except f.UserError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT
    )
    told = f"{tmp_path / 'closed'}: this folder cannot be read: Permission denied; fix its"
    assert [line[: len(told)] for line in done.stdout.splitlines()] == [told, "True"], done.stderr


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "mode, told",
    [
        (0o000, "error: --dataroot {}: Permission denied; fix the permissions of this folder or"),
        (0o444, "error: --dataroot {}: Permission denied; fix the permissions of this folder or"),
        (0o111, "error: --dataroot {} has no pictures for --phase train;"),
    ],
)
def test_a_dataroot_without_permission_is_named(mode, told, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for folder in [tmp_path, *tmp_path.parents[:-2]]:
        folder.chmod(0o755)
    root.chmod(mode)
    code = """if True:
        import argparse, os, sys
        from data.base_dataset import missing_phase
        from options.checks import check_dataroot
        os.setuid(65534)
        flags = dict(dataroot=sys.argv[1], dataset_mode="aligned", phase="train", isTrain=True)
        opt = argparse.Namespace(**flags)
        try:
            check_dataroot(opt, {"dataroot"})
            raise missing_phase(opt, "", [])
        except Exception as error:
            print(f"error: {error}")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, root], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.startswith(told.format(root)), done.stdout + done.stderr


def test_a_subfolder_that_vanishes_meanwhile_is_named(tmp_path):
    touch(tmp_path, "a.png", "b/c.png")
    files = visible_files(tmp_path)
    next(files)
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(UserError, match="b: this folder cannot be read: No such file"):
        list(files)


def test_has_pictures(tmp_path):
    assert not has_pictures(tmp_path)
    assert not has_pictures(tmp_path / "missing")
    touch(tmp_path, "notes.txt", ".a.png")
    assert not has_pictures(tmp_path)
    touch(tmp_path, "deep/down/a.png")
    assert has_pictures(tmp_path)
    assert not has_pictures(tmp_path / "notes.txt")


def test_files_that_are_left_out_are_told(tmp_path, capsys):
    touch(tmp_path, "a.png", "b.psd", "sub/c.PSD", "d.cr2", ".hidden", ".thumbs/e.psd")
    touch(tmp_path, "notes.txt", "boxes.json", "README.md", "Thumbs.db", "desktop.ini")
    assert found(tmp_path) == ["a.png"]
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    for part in (str(tmp_path), "3 files", ".psd", ".cr2"):
        assert part in told
    (tmp_path / "d.cr2").unlink()
    for psd in tmp_path.rglob("*.[pP][sS]*"):
        if psd.is_file():
            psd.unlink()
    assert found(tmp_path) == ["a.png"]
    assert capsys.readouterr().out == ""
