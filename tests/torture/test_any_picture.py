"""Whatever happens to a picture's file, it is read, or one line says that it cannot be."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from chance import damaged

from data.image_io import read_picture
from data.reading.picture import Side
from tests.e2e.test_bad_input import (
    CMYK,
    GOOD_PICTURES,
    ONE,
    PHOTO,
    TRAIN,
    TWO_FRAMES,
    saved,
    wave,
)
from tests.unit.test_photo import XMP, exif
from tests.unit.test_profiles import ADOBE_RGB

pytest.importorskip("resource", reason="needs a limit of memory for a process")
pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NUM_OF_EACH = 30  # damaged pictures of each kind that are read
WHOLE_PROGRAMS = {
    "train.py": TRAIN,
    "test.py": f"{ONE} --full_size scaled --preprocess scale_width",
    "scripts/translate.py": "damaged --name run --out done",
    "scripts/preview_augmentation.py": TRAIN,
}


def tiff(values: np.ndarray, **settings) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="rgb", **settings)
    return file.getvalue()


def numpy(save: Callable, values: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, values)
    return file.getvalue()


def kinds() -> dict[str, bytes]:
    """The contents of small files of each kind, by name."""
    deep = np.stack([wave(), wave()[::-1], wave()[:, ::-1]], -1)
    sixteen = np.uint16(deep * 65535)
    told = {"exif": exif(6), "icc_profile": ADOBE_RGB}
    bits, palette = PHOTO.convert("1"), PHOTO.convert("P")
    return {
        **{f"{number}_{name}": content for number, (_, name, content) in enumerate(GOOD_PICTURES)},
        "told.jpg": saved(PHOTO, "jpeg", xmp=XMP, **told),
        "progressive.jpg": saved(PHOTO, "jpeg", progressive=True, **told),
        "several.jpg": saved(PHOTO.copy(), "mpo", save_all=True, append_images=[PHOTO.copy()]),
        "told.png": saved(PHOTO, "png", **told),
        "bits.png": saved(bits, "png"),
        "palette.png": saved(palette, "png", transparency=3),
        "sixteen.png": bytes(imagecodecs.png_encode(sixteen)),
        "told.webp": saved(PHOTO, "webp", xmp=XMP, **told),
        "lossless.webp": saved(PHOTO.convert("RGBA"), "webp", lossless=True),
        "animated.gif": saved(PHOTO, "gif", **TWO_FRAMES),
        "told.tif": tiff(np.asarray(PHOTO), iccprofile=ADOBE_RGB),
        "sixteen.tif": tiff(sixteen),
        "float.tif": tiff(np.float32(deep)),
        "tiled.tif": tiff(sixteen, tile=(16, 16)),
        "planar.tif": tiff(np.moveaxis(sixteen, -1, 0), planarconfig="separate"),
        "lzw.tif": saved(PHOTO, "tiff", compression="tiff_lzw", exif=exif()),
        "deep_lzw.tif": tiff(sixteen, compression="lzw"),
        "zip.tif": tiff(sixteen, compression="zlib", predictor=True),
        "jpeg.tif": saved(PHOTO, "tiff", compression="jpeg"),
        "fax.tif": saved(bits, "tiff", compression="group4"),
        "cmyk_lzw.tif": saved(CMYK, "tiff", compression="tiff_lzw"),
        "large.tif": tiff(sixteen, bigtiff=True),
        "plain.jp2": saved(PHOTO, "jpeg2000"),
        "sixteen.jp2": bytes(imagecodecs.jpeg2k_encode(sixteen, level=0, reversible=True)),
        "palette.bmp": saved(palette, "bmp"),
        "plain.ppm": saved(PHOTO, "ppm"),
        "sixteen.ppm": b"P6\n48 24\n65535\n" + sixteen.astype(">u2").tobytes(),
        "text.ppm": b"P3\n48 24\n65535\n" + b" ".join(b"%d" % v for v in sixteen.ravel()),
        "plain.npy": numpy(np.save, sixteen),
        "plain.npz": numpy(np.savez_compressed, np.float32(deep)),
    }


KINDS = kinds()


def damage_all(folder: Path, number: int, draw) -> None:
    """Fill a new folder with so many damaged pictures of each kind."""
    folder.mkdir()
    for name, content in KINDS.items():
        for index in range(number):
            changed = damaged(content, draw, KINDS.values())
            (folder / f"{index}_{name}").write_bytes(changed)


def read_all(folder: Path) -> list[str]:
    """Whatever goes wrong as the pictures of a folder are read, in lines."""
    report, said = folder.parent / "report.txt", folder.parent / "said.txt"
    words = [sys.executable, str(HERE / "read_pictures.py"), str(folder), str(report)]
    with open(said, "wb") as file:
        done = subprocess.run(
            words, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, stderr=file, timeout=600
        )
    lines = report.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= len([*folder.iterdir()]) or done.returncode, said.read_text()
    died = [f"{lines[-1]}: ended with {done.returncode}"] if done.returncode else []
    return [line for line in lines if not line.startswith("reading ")] + died


@pytest.mark.parametrize("name", KINDS)
def test_whole_pictures_are_read(name, tmp_path):
    """Otherwise the test below would hold for a program that refuses everything."""
    (tmp_path / name).write_bytes(KINDS[name])
    assert read_picture(tmp_path / name).ready(Side("A", 3)) is not None


def test_any_picture(tmp_path, draw):
    damage_all(tmp_path / "damaged", NUM_OF_EACH, draw)
    found = read_all(tmp_path / "damaged")
    assert not found, "\n".join(found)


@pytest.fixture
def folders(trained, draw, tmp_path) -> Path:
    """The working folder, with a damaged picture of each kind for all programs."""
    world = shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    damage_all(world / "damaged", 1, draw)
    for place in ("one", "photos/train"):
        shutil.copytree(world / "damaged", world / place, dirs_exist_ok=True)
    shutil.copytree(world / "damaged", world / "whole")
    for file in (world / "whole").iterdir():
        file.write_bytes(saved(PHOTO, "png"))
    return world


@pytest.mark.parametrize("script", WHOLE_PROGRAMS)
def test_programs_refuse_any_picture_in_one_line(script, folders, run_cli):
    done = run_cli(script, *WHOLE_PROGRAMS[script].split())
    assert done.status == 2, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert "error: " in done.stderr


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_programs_skip_any_bad_picture(script, folders, run_cli):
    flags = "--skip_bad_images --num_threads 1"
    done = run_cli(script, *WHOLE_PROGRAMS[script].split(), *flags.split())
    assert (done.status, done.stderr) == (0, "")
    assert "skipped" in done.stdout


def test_pairs_are_made_of_all_others(folders, run_cli):
    done = run_cli(
        "datasets/combine_A_and_B.py", *"--fold_A damaged --fold_B whole --fold_AB new".split()
    )
    assert done.status == 1, done
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert done.stdout.startswith(f"{len([*(folders / 'new').iterdir()])} pairs in new")
