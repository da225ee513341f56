"""Which pictures test.py takes, what it says about the others, and what becomes of old results."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --device cpu --seed 1"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, pictures_in, run_in) -> Path:
    """Two trained runs: `pairs`, a pix2pix, and `sets`, a CycleGAN."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = pictures_in(folder)
    once = "--n_epochs 1 --n_epochs_decay 0 --num_threads 0 --no_html"
    for name, model, dataroot in (
        ("pairs", "pix2pix", pictures.two_folders(1)),
        ("sets", "cycle_gan", pictures.unaligned(1, 1)),
    ):
        line = f"{TINY} {once} --name {name} --model {model}".split()
        done = run_in(folder, "train.py", "--dataroot", dataroot, *line)
        assert done.status == 0, done.stderr
    return folder / "checkpoints"


@pytest.fixture
def test(checkpoints, run_here) -> Callable:
    """`test(dataroot, "--flags")`: test.py in tmp_path, by default with the run `pairs`."""

    def run(dataroot: str | Path, flags: str = "--model test"):
        line = f"--checkpoints_dir {checkpoints} --name pairs --num_threads 0 {flags}".split()
        return run_here("test.py", "--dataroot", str(dataroot), "--device", "cpu", *line)

    return run


# --- Not all of them ------------------------------------------------------------------------------


def test_a_part_of_the_pictures_is_told_at_the_start_and_at_the_end(test, pictures):
    dataroot = pictures.single(4)
    done = test(dataroot, "--model test --num_test 3")
    assert done.status == 0, done.stderr
    told = "3 of 4 pictures (--num_test inf takes all)"
    first, *_, last = [line for line in done.stdout.splitlines() if "--num_test inf" in line]
    assert first == f"dataset [single]: {told}"
    assert last == done.stdout.splitlines()[-1] == told
    assert "--num_test inf" not in test(dataroot, "--model test --num_test 4").stdout
    done = test(dataroot, "--model test --num_test inf --max_dataset_size 2")
    assert f"{dataroot}: 2 of 4 pictures (--max_dataset_size 2)" in done.stdout
    assert "dataset [single]: 2 images" in done.stdout


# --- A side is missing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, model, side, way, suffix",
    [
        ("sets", "cycle_gan", "A", "AtoB", " --model_suffix _A"),
        ("sets", "cycle_gan", "B", "AtoB", " --model_suffix _B"),
        ("sets", "cycle_gan", "A", "BtoA", " --model_suffix _B"),
        ("pairs", "pix2pix", "A", "AtoB", ""),
        ("pairs", "pix2pix", "B", "BtoA", ""),
    ],
)
def test_one_side_alone_can_be_tested_with_the_line_that_the_error_says(
    name, model, side, way, suffix, test, run_here, pictures
):
    pictures.unaligned(2, 2, phase="test")
    dataroot = pictures.root / "my data"
    (pictures.root / "unpaired").rename(dataroot)
    other = dataroot / f"test{'B' if side == 'A' else 'A'}"
    for picture in other.iterdir():
        picture.unlink()
    done = test(dataroot, f"--name {name} --model {model} --direction {way}")
    assert done.status == 2
    reason, _, command = done.stderr.partition("; for one direction: python ")
    assert reason == f"test.py: error: --phase test: {other} has no pictures"
    assert command.endswith(f" --model test --dataroot '{dataroot / f'test{side}'}'{suffix}\n")
    done = run_here(*shlex.split(command), "--num_threads", "0", "--device", "cpu")
    assert done.status == 0, done.stderr
    assert "2 results in" in done.stdout


def test_pictures_that_no_generator_takes_are_not_offered(test, pictures):
    pictures.unaligned(2, 0, phase="test")
    done = test(pictures.root / "unpaired", "--model pix2pix --direction BtoA")
    assert done.status == 2
    side = pictures.root / "unpaired" / "testB"
    assert f"there is no folder {side}; --dataset_mode aligned needs pairs" in done.stderr
    assert "one direction" not in done.stderr


# --- Some are bad ---------------------------------------------------------------------------------


@pytest.fixture
def some_bad(pictures) -> Path:
    """A folder with s0.png to s4.png, of which s1.png and s2.png cannot be read."""
    folder = Path(pictures.single(5))
    (folder / "s1.png").write_bytes(b"no picture")
    (folder / "s2.png").write_bytes((folder / "s2.png").read_bytes()[:100])
    return folder


@pytest.mark.parametrize("flags", ["", "--batch_size 2", "--batch_size 5", "--preprocess none"])
def test_bad_pictures_are_left_out_and_counted(flags, test, some_bad, tmp_path):
    done = test(some_bad, f"--model test --skip_bad_images {flags}")
    assert (done.status, done.stderr) == (0, "")
    images = tmp_path / "results" / "pairs" / "test_latest" / "images"
    assert sorted(f.name for f in images.glob("*_fake.png")) == [
        f"s{i}_fake.png" for i in (0, 3, 4)
    ]
    lines = done.stdout.splitlines()
    for number, name in ((1, "s1.png"), (2, "s2.png")):
        told = f"skipped, {number} so far: {some_bad / name}: "
        assert sum(line.startswith(told) for line in lines) == 1
    assert "3 results in" in lines[-2]
    assert lines[-1].startswith(f"2 of 5 pictures were skipped: {some_bad / 's1.png'}: ")


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "none"])  # the latter reads headers
def test_a_bad_picture_stops_a_test_that_need_not_skip_it(preprocess, test, some_bad):
    done = test(some_bad, f"--model test --preprocess {preprocess}")
    assert done.status == 2
    assert str(some_bad / "s1.png") in done.stderr
    assert done.stderr.endswith("; --skip_bad_images leaves it out\n")


def test_nothing_but_bad_pictures_is_an_error(test, some_bad):
    for name in ("s0.png", "s3.png", "s4.png"):
        (some_bad / name).unlink()
    done = test(some_bad, "--model test --skip_bad_images")
    assert done.status == 2
    line = f"test.py: error: no picture can be loaded: {some_bad / 's1.png'}: "
    assert done.stderr.splitlines()[-1].startswith(line)


# --- The results of the last test -----------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def earlier(test, pictures, tmp_path) -> Path:
    """The folder of results of a test of s0.png to s2.png, with other files too."""
    done = test(pictures.single(3))
    assert done.status == 0, done.stderr
    folder = tmp_path / "results" / "pairs" / "test_latest"
    for name in ("images/s0_mask.png", "images/mine.png", "images/s0_fake.txt", "notes.txt"):
        (folder / name).write_bytes(b"mine")
    return folder


def test_results_that_are_processed_again_are_not_removed(test, earlier):
    """A folder of inputs loses nothing, even if it is that of the results."""
    before = contents(earlier / "images")
    del before["mine.png"], before["s0_mask.png"]  # which are no pictures
    for name in ("mine.png", "s0_mask.png"):
        (earlier / "images" / name).unlink()
    done = test(earlier / "images")
    assert (done.status, done.stderr) == (0, "")
    assert "of the last test" not in done.stdout
    after = contents(earlier / "images")
    assert {name: after[name] for name in before} == before


def test_a_new_test_removes_what_the_last_one_made_and_nothing_else(test, earlier, pictures):
    dataroot = pictures.save(pictures.draw(5), "other/가.png").parent
    (earlier / "images" / "s1_real.png").unlink()  # the user has removed one already
    done = test(dataroot)
    assert (done.status, done.stderr) == (0, "")
    told = [line for line in done.stdout.splitlines() if "of the last test" in line]
    assert told == [
        f"removes 5 pictures of the last test in {Path(*earlier.parts[-3:]) / 'images'}"
    ]
    assert sorted(contents(earlier / "images")) == [
        *("mine.png", "s0_fake.txt", "s0_mask.png", "가_fake.png", "가_real.png"),
    ]
    assert (earlier / "notes.txt").read_bytes() == b"mine"
    assert "removes 2 pictures" in test(dataroot).stdout


@pytest.mark.parametrize("failure", ["no weights", "a bad picture", "no results", "no pictures"])
def test_a_start_that_fails_loses_no_result(failure, test, earlier, pictures, monkeypatch):
    before, dataroot, flags = contents(earlier), Path(pictures.single(3)), "--model test"
    if failure == "no weights":
        flags += " --epoch 7"
    if failure == "a bad picture":
        (dataroot / "s0.png").write_bytes(b"")
    if failure == "no pictures":
        dataroot = dataroot.parent / "nowhere"
    if failure == "no results":
        network = "models.networks.generators.ResnetGenerator.forward"
        monkeypatch.setattr(network, lambda self, x: x * float("nan"))
    assert test(dataroot, flags).status == 2
    assert contents(earlier) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-30],
        lambda text: text + "page.result(1,2);\n",
        lambda text: text.replace("s1_fake.png", "../../s1.png"),
        lambda text: text.replace("s1_fake.png", ".."),
        lambda text: text.replace("s1_fake.png", "s1%00.png"),
        lambda text: text.replace('{"real":"s1_real.png","fake":"s1_fake.png"}', "7"),
        lambda text: "\udcff",
    ],
)
def test_a_damaged_list_removes_nothing(damage, test, earlier, pictures):
    data = earlier / "data" / "0001.js"
    text = data.read_text()
    damaged = damage(text)
    assert damaged != text
    data.write_bytes(damaged.encode("utf-8", "surrogateescape"))
    dataroot = pictures.save(pictures.draw(5), "other/t.png").parent
    before = contents(earlier / "images")
    done = test(dataroot)
    assert (done.status, done.stderr) == (0, "")
    assert "the pictures of the last test stay, since their list is damaged" in done.stdout
    assert before.items() <= contents(earlier / "images").items()


def test_without_a_list_nothing_is_removed(test, earlier, pictures):
    shutil.rmtree(earlier / "data")
    before = contents(earlier / "images")
    dataroot = pictures.save(pictures.draw(5), "other/t.png").parent
    assert "last test" not in test(dataroot).stdout
    assert before.items() <= contents(earlier / "images").items()
