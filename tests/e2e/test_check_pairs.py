"""scripts/check_pairs.py: what it finds in pairs, says, and writes to its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

SCRIPT = "scripts/check_pairs.py"
PORTRAITS = Path(__file__).resolve().parents[2] / "datasets" / "portrait_retouch"


def parts() -> list[Image.Image]:
    """Twelve pictures that show different things, of 256 px."""
    found = []
    for file in sorted((PORTRAITS / "trainB").glob("*.jpg")):
        picture = Image.open(file).convert("RGB")
        found += [picture.crop((x, y, x + 256, y + 256)) for x in (0, 256) for y in (0, 256)]
    return found


def retouched(picture: Image.Image) -> Image.Image:
    return picture.point(lambda v: min(255, v + 8))


@pytest.fixture
def root(pictures) -> Path:
    """Ten pairs, aligned and all different."""
    for number, picture in enumerate(parts()[:10]):
        put(pictures, f"{number}.png", retouched(picture), picture)
    return pictures.root / "mine"


def put(pictures, name: str, a: Image.Image, b: Image.Image, phase: str = "train") -> None:
    pictures.save(a, f"mine/{phase}A/{name}")
    pictures.save(b, f"mine/{phase}B/{name}")


def told(page: Path, function: str) -> list[list]:
    """The arguments of each call of this function in the page's data."""
    lines = (page / "data" / "0001.js").read_text("ascii").splitlines()
    begin = f"page.{function}("
    return [json.loads(f"[{x[len(begin) : -2]}]") for x in lines if x.startswith(begin)]


def notes_of(page: Path) -> dict[str, list[tuple[str, str]]]:
    return {name: [tuple(note) for note in notes] for name, notes in told(page, "notes")}


def kinds_of(page: Path) -> dict[str, set[str]]:
    found = {name: {kind for kind, _ in notes if kind} for name, notes in notes_of(page).items()}
    return {name: kinds for name, kinds in found.items() if kinds}


def test_good_pairs_are_found_good(run_cli, tmp_path):
    done = run_cli(SCRIPT, "--dataroot", str(PORTRAITS), "--num_threads", "0")
    assert (done.status, done.stderr) == (0, "")
    page = tmp_path / "results" / "pairs_of_portrait_retouch"
    assert done.stdout.splitlines() == [
        "3 pairs; in all of them, A and B show the same thing",
        "nothing found",
        f"page: {(page / 'index.html').as_uri()}",
    ]
    assert sorted(p.name for p in (page / "images").iterdir()) == [
        f"{name}_{side}.jpg" for name in ("collins", "hopper", "obama") for side in "AB"
    ]
    assert notes_of(page)["hopper"] == [
        ("", "aligned: 0.0 px"),
        ("", "A and B, hopper.jpg: 512x512, RGB, 8 bits, no profile"),
    ]
    assert not (tmp_path / "checkpoints").exists()
    done = run_cli(SCRIPT, "--dataroot", str(PORTRAITS), "--phase", "test")
    other = tmp_path / "results" / "pairs_of_portrait_retouch_test" / "index.html"
    assert f"page: {other.as_uri()}" in done.stdout and (page / "index.html").is_file()


def test_what_is_wrong_is_found_and_the_worst_comes_first(pictures, root, run_cli, tmp_path):
    fresh = parts()
    put(pictures, "moved.png", ImageChops.offset(retouched(fresh[10]), 3, 0), fresh[10])
    put(pictures, "partner.png", fresh[11], fresh[5])
    put(pictures, "copy.jpg", retouched(fresh[2]), fresh[2])
    put(pictures, "same.png", fresh[11].rotate(180), fresh[11].rotate(180))
    put(pictures, "dark.png", *2 * [fresh[10].rotate(180).point(lambda v: v // 16)])
    put(pictures, "leaked.png", retouched(fresh[0]), fresh[0], phase="test")
    put(pictures, "bad.png", fresh[0], fresh[0])
    (root / "trainB" / "bad.png").write_bytes(b"none")
    pictures.save(fresh[0], "mine/trainA/alone.png")
    (root / "trainA" / "raw.nef").touch()

    done = run_cli(SCRIPT, "--dataroot", str(root), "--out", "page")
    assert (done.status, done.stderr) == (1, "")
    assert (
        "no partner of the same name for 1 picture in" in done.stdout and "alone.png" in done.stdout
    )
    assert "ignored 1 file of other types (.nef)" in done.stdout
    assert "16 pairs; in 14 of them, A and B show the same thing" in done.stdout
    worst = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert worst[:3] == ["bad.png", "0.png", "partner.png"]

    page = tmp_path / "page"
    assert kinds_of(page) == {
        "": {"train.py", "refused"},
        "0": {"leak"},
        "partner": {"wrong partner?", "outlier"},  # its sides differ far more than those of others
        "moved": {"misaligned"},
        "same": {"no change", "outlier"},
        "dark": {"no change", "outlier"},
        "2": {"duplicate"},
        "copy": {"duplicate"},
    }
    assert ("misaligned", "B is off A: 3.0 px left") in notes_of(page)["moved"]
    assert ("leak", "what it shows is also in testA/leaked.png") in notes_of(page)["0"]
    shown = [name for _, name, *_ in told(page, "result")]
    assert shown[:4] == ["0", "partner", "moved", "dark"] and len(shown) == 15


def test_pairs_that_are_not_alike_get_no_number(pictures, run_here, tmp_path):
    """Such as label maps and photographs, side by side in one file."""
    random = np.random.default_rng(0)
    for number, picture in enumerate(parts()):
        labels = Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8))
        joined = Image.new("RGB", (512, 256))
        joined.paste(labels.resize((256, 256), Image.Resampling.NEAREST))
        joined.paste(picture, (256, 0))
        pictures.save(joined, f"joined/train/{number:02d}.png")
    root = tmp_path / "joined"
    done = run_here(SCRIPT, "--dataroot", str(root), "--out", "page")
    assert (done.status, done.stderr) == (0, "")
    assert "12 pairs; in none of them" in done.stdout and "nothing found" in done.stdout
    assert notes_of(tmp_path / "page")["03"] == [
        ("", "A and B are not alike, so where B lies on A is not measured"),
        ("", "A and B, 03.png: 512x256, RGB, 8 bits, no profile"),
    ]
    assert all(set(metrics) == {"L1"} for *_, metrics in told(tmp_path / "page", "result"))


def test_what_files_say_stands_beside_them(pictures, root, run_here, tmp_path):
    picture = parts()[11].convert("L").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = retouched(picture).rotate(90, expand=True).convert("CMYK")
    turned.save(root / "trainA" / "odd.jpg", exif=exif, quality=95)
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(root / "trainB" / "odd.png")
    done = run_here(SCRIPT, "--dataroot", str(root), "--out", "page")
    assert (done.status, done.stderr) == (1, "")
    assert notes_of(tmp_path / "page")["odd"] == [
        ("outlier", "A is CMYK, 8 bits; most are RGB, 8 bits"),
        ("outlier", "B is grey, 16 bits; most are RGB, 8 bits"),
        ("", "aligned: 0.0 px"),
        ("", "A, odd.jpg: 256x256, CMYK, 8 bits, no profile, turned by EXIF (6)"),
        ("", "B, odd.png: 256x256, grey, 16 bits, no profile"),
    ]


def test_it_says_what_train_py_would_with_the_same_flags(pictures, root, run_here, tmp_path):
    a = parts()[10]
    put(pictures, "small.png", retouched(a), a.resize((200, 256)))
    done = run_here(SCRIPT, "--dataroot", str(root), "--out", "page")
    assert done.status == 1 and "1 pair had sides of different shapes" in done.stdout
    assert kinds_of(tmp_path / "page")["small"] >= {"changed"}
    flags = "--preprocess none --netG resnet_6blocks"
    done = run_here(SCRIPT, "--dataroot", str(root), "--out", "page", *flags.split())
    assert done.status == 1
    assert "A is 256x256 but its B is 200x256; with --preprocess none" in done.stdout


def test_a_page_replaces_an_earlier_one_and_nothing_else(pictures, root, run_here, tmp_path):
    flags = [SCRIPT, "--dataroot", str(root), "--max_dataset_size"]
    assert "2 of 10 pairs" in run_here(*flags, "2", "--out", "page").stdout
    assert "1 of 10 pairs" in run_here(*flags, "1", "--out", "page").stdout
    assert [p.name for p in sorted((tmp_path / "page" / "images").iterdir())] == [
        "0_A.jpg",
        "0_B.jpg",
    ]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    for out, told in (
        ("other", "--out other has files that are no page of this script"),
        (str(root / "trainA" / "page"), "is inside of --dataroot"),
    ):
        done = run_here(*flags, "1", "--out", out)
        assert done.status == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1
    assert (tmp_path / "other" / "mine.txt").read_text() == "kept"
    assert sorted(path.name for path in (root / "trainA").iterdir())[0] == "0.png"


def test_without_pairs_it_says_so_in_one_line(pictures, run_here):
    unpaired = pictures.unaligned(2, 2)
    for flags, told in (
        (["--dataroot", unpaired], "pictures that are no pairs are for --model cycle_gan"),
        (["--dataroot", unpaired, "--model", "cycle_gan"], "only pairs are checked"),
        (["--dataroot", pictures.single(2)], "needs pairs side by side in"),
        (["--dataroot", "nowhere"], "there is no such folder"),
        (["--dataroot", unpaired, "--agument", "auto"], "(did you mean --augment?)"),
        ([], "check_pairs.py --dataroot"),
    ):
        done = run_here(SCRIPT, *flags)
        assert done.status == 2 and told in done.stderr, done.stderr
        assert not flags or len(done.stderr.splitlines()) == 1


def test_help_says_what_the_exit_status_means(run_here):
    done = run_here(SCRIPT, "--help")
    assert done.status == 0
    assert "Exit status: 0 if nothing was found, 1 if something is worth a look" in done.stdout
