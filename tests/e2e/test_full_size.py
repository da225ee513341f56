"""test.py --full_size on photographs: same size, format and data, changed only where it should."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --device cpu --seed 1"
PORTRAITS = Path(__file__).parents[2] / "datasets" / "portrait_retouch"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, pictures_in, run_in) -> Path:
    """Runs: `still` changes nothing, `pairs` changes all, `sets` is a CycleGAN."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = pictures_in(folder)
    once = "--n_epochs 1 --n_epochs_decay 0 --num_threads 0 --no_html"
    for name, flags, dataroot in (
        ("still", "--model pix2pix --residual --lr 1e-30", str(PORTRAITS)),
        ("pairs", "--model pix2pix", pictures.side_by_side(2)),
        ("sets", "--model cycle_gan", pictures.unaligned(1, 1)),
    ):
        line = f"{TINY} {once} --name {name} {flags}".split()
        done = run_in(folder, "train.py", "--dataroot", dataroot, *line)
        assert done.status == 0, done.stderr
    return folder / "checkpoints"


@pytest.fixture
def photos(tmp_path) -> Path:
    """A JPEG turned by EXIF, one of its stem in a subfolder, and a PNG of that stem."""
    folder = tmp_path / "photos"
    (folder / "sea").mkdir(parents=True)
    portrait, told = Image.open(PORTRAITS / "trainB" / "collins.jpg"), Image.Exif()
    portrait = portrait.resize((90, 70))
    told[ExifTags.Base.Orientation], told[ExifTags.Base.Artist] = 6, "Someone"
    portrait.save(folder / "one.jpg", exif=told, quality=95, subsampling=0)
    portrait.save(folder / "sea" / "two.jpeg", dpi=(240, 240))
    portrait.save(folder / "one.png")
    return folder


@pytest.fixture
def test(checkpoints, run_here, photos) -> Callable:
    def run(flags: str, name: str = "still", dataroot: Path = photos):
        line = f"--checkpoints_dir {checkpoints} --name {name} --num_threads 0 --device cpu {flags}"
        done = run_here("test.py", "--dataroot", str(dataroot), *line.split())
        assert done.status == 0, done.stderr
        return done

    return run


def written(tmp_path: Path, run: str = "still/test_latest") -> set[str]:
    full = tmp_path / "results" / run / "full"
    return {file.relative_to(full).as_posix() for file in full.rglob("*") if file.is_file()}


def test_photographs_come_back_with_their_names_folders_and_data(test, photos, tmp_path):
    done = test("--full_size auto")
    assert "auto: transfer, since its training pairs differ by" in done.stdout
    assert "3 full-size results in" in done.stdout
    assert written(tmp_path) == {"one.jpg", "one_2.png", "sea/two.jpeg"}
    full = tmp_path / "results/still/test_latest/full"
    result, before = Image.open(full / "one.jpg"), Image.open(photos / "one.jpg")
    assert result.size == (70, 90), "upright"
    assert result.getexif()[ExifTags.Base.Artist] == "Someone"
    upright = np.asarray(before.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(upright - np.asarray(result)).mean() < 2
    for name, source in (("one_2.png", "one.png"),):
        assert np.array_equal(Image.open(full / name), Image.open(photos / source))
    assert Image.open(full / "sea/two.jpeg").info["dpi"] == (240, 240)


@pytest.mark.parametrize("way", ["native", "scaled", "transfer"])
def test_each_way_changes_the_whole_photograph(way, test, photos, tmp_path):
    test(f"--full_size {way} --output_format png", "pairs")
    run = "pairs/test_latest"
    assert written(tmp_path, run) == {"one.png", "one_2.png", "sea/two.png"}
    result = Image.open(tmp_path / "results" / run / "full/one_2.png")
    assert result.size == (90, 70)
    assert np.abs(np.asarray(result).astype(int) - Image.open(photos / "one.png")).mean() > 5


def test_the_next_test_replaces_the_photographs_and_leaves_other_files(test, photos, tmp_path):
    test("--full_size native")
    (tmp_path / "results/still/test_latest/full/mine.txt").write_text("stays")
    (photos / "one.png").unlink()
    test("--full_size native --output_name {stem}_{name}_{epoch}")
    assert written(tmp_path) == {"mine.txt", "one_still_latest.jpg", "sea/two_still_latest.jpeg"}


@pytest.mark.parametrize("inside, told", [("", ""), ("full", "3 full"), ("full/sea", "1 full")])
def test_results_of_the_last_test_may_be_inputs(
    inside, told, test, checkpoints, run_here, tmp_path
):
    test("--full_size native")
    folder = tmp_path / "results/still/test_latest"
    inputs = {file: file.read_bytes() for file in (folder / inside).rglob("*.*g")}
    if inside:
        assert f"\n{told}" in test("--full_size native", dataroot=folder / inside).stdout
    else:  # one_real.png, which is there, would be that of full/one.jpg
        line = f"--checkpoints_dir {checkpoints} --name still --num_threads 0 --full_size native"
        done = run_here("test.py", "--dataroot", str(folder), *line.split())
        assert done.status == 2 and "its result would replace" in done.stderr
    assert inputs and all(file.read_bytes() == content for file, content in inputs.items())


def test_folders_that_the_last_test_made_go_with_its_photographs(test, photos, tmp_path):
    for name in ("sea/far/off/deep.png", "kept/with.png", "own/as.png"):
        (photos / name).parent.mkdir(parents=True)
        shutil.copy(photos / "one.png", photos / name)
    test("--full_size native")
    full = tmp_path / "results/still/test_latest/full"
    (full / "kept/mine.txt").write_text("stays")
    (full / "empty").mkdir()  # by somebody else
    test("--full_size native", dataroot=photos / "own")
    found = {path.relative_to(full).as_posix() for path in full.rglob("*")}
    assert found == {"as.png", "kept", "kept/mine.txt", "empty"}


def test_pairs_side_by_side_are_taken_apart(test, pictures, tmp_path):
    dataroot = Path(pictures.side_by_side(1, (40, 40), phase="test"))
    test("--model pix2pix --full_size native", "still", dataroot)
    (name,) = written(tmp_path)
    result = Image.open(tmp_path / "results/still/test_latest/full" / name)
    (pair,) = (dataroot / "test").iterdir()
    whole = Image.open(pair)
    assert np.array_equal(result, whole.crop((0, 0, whole.width // 2, whole.height)))


def test_both_directions_of_a_cycle_gan(test, pictures, tmp_path):
    dataroot = pictures.unaligned(1, 1, phase="test")
    done = test("--model cycle_gan --full_size auto", "sets", dataroot)
    assert "auto: scaled, since the run does not tell" in done.stdout
    names = written(tmp_path, "sets/test_latest")
    assert len(names) == 2
    assert any("_fake_A" in n for n in names) and any("_fake_B" in n for n in names)


def test_strips_change_nothing_but_the_memory(test, photos, tmp_path):
    (photos / "one.jpg").unlink()
    results = []
    for rows in (0, 16):
        test(f"--full_size native --output_format png --tile {rows} --seed 3", "pairs")
        results.append(Image.open(tmp_path / "results/pairs/test_latest/full/one.png").copy())
    whole, strips = (np.asarray(result).astype(int) for result in results)
    assert np.abs(whole - strips).max() <= 1


def test_a_u_net_far_above_its_size_is_told(train_tiny_unet, run_here, photos):
    for name in ("one.jpg", "one.png"):
        Image.open(photos / name).resize((300, 200)).save(photos / name)
    done = run_here("test.py", "--dataroot", str(photos), *train_tiny_unet, "--full_size", "native")
    assert done.status == 0, done.stderr
    assert done.stdout.count("a U-Net may repeat patterns") == 1


@pytest.fixture
def train_tiny_unet(run_here, pictures) -> list[str]:
    line = "--netG unet_128 --ngf 1 --ndf 1 --load_size 128 --crop_size 128 --device cpu --no_html"
    line += " --n_epochs 1 --n_epochs_decay 0 --num_threads 0 --name net --model pix2pix"
    done = run_here("train.py", "--dataroot", pictures.two_folders(1), *line.split())
    assert done.status == 0, done.stderr
    return "--name net --device cpu --num_threads 0".split()


# --- The other files --------------------------------------------------------------------------


def images(tmp_path: Path) -> set[str]:
    return {file.name for file in (tmp_path / "results/still/test_latest/images").iterdir()}


def test_names_and_formats_of_results(test, photos, tmp_path):
    test("--only_results")
    found = images(tmp_path)
    assert len(found) == 3 and all(name.endswith("_fake.png") for name in found)
    test("--only_results --output_format keep --output_name {stem}")
    found = images(tmp_path)
    assert len(found) == 3 and sum(name.endswith(".jpg") for name in found) == 2
    test("--output_format tif")
    found = images(tmp_path)
    assert sum(name.endswith("fake.tif") for name in found) == 3
    assert sum(name.endswith("real.png") for name in found) == 3, "for the page"
    test("--output_format jpg --jpeg_quality 5")
    small = sum(f.stat().st_size for f in (tmp_path / "results").rglob("*_fake.jpg"))
    test("--output_format jpg")
    assert sum(f.stat().st_size for f in (tmp_path / "results").rglob("*_fake.jpg")) > small


@pytest.mark.parametrize(
    "flags, line",
    [
        ("--output_name {label}", "lacks {stem}"),
        ("--output_name {stem}", "lacks {label}"),
        ("--output_name {stem}{x}", "it may have {stem}"),
        ("--output_name ../{stem}_{label}", "no file name"),
        ("--output_name {stem", "--output_name"),
        ("--jpeg_quality 0", "--jpeg_quality"),
        ("--full_size big", "--full_size"),
        ("--output_format gif", "--output_format"),
    ],
)
def test_mistakes_end_in_one_line(flags, line, checkpoints, run_here, photos):
    words = f"--checkpoints_dir {checkpoints} --name still --device cpu {flags}".split()
    done = run_here("test.py", "--dataroot", str(photos), *words)
    assert done.status == 2
    assert line in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
