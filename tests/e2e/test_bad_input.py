"""Anything wrong with flags, folders, pictures or checkpoints is reported in one clear line.

The tables below list (what is wrong, how to cause it, flags, what the message must say).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from options.flags import OF_TESTING
from options.settle import GENERATOR
from options.test_options import USED_IN_TRAINING_ONLY

TINY = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 24 --crop_size 24"
TINY += " --num_threads 0 --device cpu --seed 1"
TRAIN = f"{TINY} --dataroot photos --name new --n_epochs 1 --n_epochs_decay 0"
TEST = f"{TINY} --dataroot photos --name run"
BARE = TEST.replace("--ngf 2", "").replace("--netG resnet_6blocks", "")
AGAIN = "--name run --continue_train --n_epochs 3"
ONE = "--model test --name run --dataroot one --model_suffix= --load_size 24 --crop_size 24"
ONE += " --num_threads 0 --device cpu --seed 1"

posix_only = pytest.mark.skipif(os.name == "nt", reason="has no such rights or names")
no_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() == 0, reason="root may read and write everything"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures_in, run_in) -> Path:
    """A folder with pairs in photos/train and a run of two epochs, checkpoints 1, 2 and latest."""
    folder = tmp_path_factory.mktemp("trained")
    Path(pictures_in(folder).side_by_side(3, (24, 24))).rename(folder / "photos")
    flags = TRAIN.replace("--name new", "--name run").split()
    done = run_in(folder, "train.py", *flags, "--n_epochs", "2", "--save_epoch_freq", "1")
    assert (done.status, done.stderr) == (0, "")
    return folder


@pytest.fixture
def world(trained, tmp_path) -> Path:
    """A copy of it that a test may damage; the working folder of `run_here`."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def refused(world, run_here) -> Callable[..., str]:
    """`refused("train.py", flags)`: the one line that it ends with; status 2."""

    def run(script: str, flags: str | list[str]) -> str:
        done = run_here(script, *(flags.split() if isinstance(flags, str) else flags))
        assert done.status == 2, done
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith(f"{script}: error: ")
        return done.stderr

    return run


def nothing(folder: Path) -> None:
    """Leaves the folder as it is."""


# --- Flags ----------------------------------------------------------------------------------------

FLAGS = [
    ("unknown flag", "--nepochs 3", ["--nepochs", "did you mean --n_epochs"]),
    ("value without a flag", "photos", ["'photos' belongs to no flag; values follow flags"]),
    ("space in a value", "--name my run", ["'run' belongs to no flag", '"my run"']),
    ("space after =", "--name=my run", ["'run' belongs to no flag", '"my run"']),
    ("long dash", "--name run –lr 1", ["'–lr' begins with a long dash: type --lr"]),
    ("flag without a value", "--lr", ["--lr", "expects one argument"]),
    ("abbreviated flag", "--batch 2", ["--batch 2 is --batch_size 2"]),
    ("unknown model", "--model pix2pixel", ["--model pix2pixel", "pix2pix", "available"]),
    ("unknown dataset", "--dataset_mode alined", ["--dataset_mode alined", "aligned"]),
    ("unknown generator", "--netG unet_512", ["--netG", "unet_512", "unet_256"]),
    ("unknown switch", "--no_flip maybe", ["--no_flip", "'maybe'", "on/off"]),
    ("no picture per step", "--batch_size 0", ["--batch_size", "'0'", "at least 1"]),
    ("part of an epoch", "--n_epochs 1.5", ["--n_epochs", "'1.5'", "whole number"]),
    ("rate nan", "--lr nan", ["--lr", "'nan'"]),
    ("rate inf", "--lr inf", ["--lr", "'inf'"]),
    ("negative rate", "--lr -0.1", ["--lr", "'-0.1'", "above 0"]),
    ("momentum of one", "--beta1 1", ["--beta1", "below 1"]),
    ("negative seed", "--seed -1", ["--seed", "'-1'"]),
    ("seed too large", "--seed 4294967296", ["--seed", "'4294967296'"]),
    ("unknown device", "--device tpu", ["--device", "'tpu'", "cuda"]),
    ("device that is not there", "--device cuda:99", ["--device cuda:99"]),
    ("crop above load", "--crop_size 28", ["--crop_size 28", "--load_size 24"]),
    ("crop of no multiple", "--crop_size 26 --load_size 30", ["--crop_size 26", "24 or 28"]),
    ("crop too small", "--crop_size 4 --load_size 4", ["--crop_size 4", "at least 24"]),
    ("crop gigantic", f"--load_size {10**30} --crop_size {10**30}", ["--load_size"]),
    ("two channels", "--input_nc 2", ["--input_nc 2", "--input_nc 3"]),
    ("more layers than pixels", "--netD n_layers --n_layers_D 4", ["--netD n_layers", "48"]),
    ("layers without end", "--netD n_layers --n_layers_D 99999", ["--n_layers_D"]),
    ("filters without end", f"--ngf {10**30}", ["--ngf"]),
    ("name that leads out", "--name ../elsewhere", ["--name", "../elsewhere"]),
    ("name that is absolute", "--name /tmp/elsewhere", ["--name", "/tmp/elsewhere"]),
    ("name that is the folder itself", "--name .", ["--name", "'.'"]),
    ("name too long", f"--name {300 * 'n'}", [300 * "n"]),
    ("suffix of no flag", "--suffix {learning_rate}", ["--suffix", "learning_rate"]),
    ("suffix that looks inside", "--suffix {name.__class__}", ["--suffix", "__class__"]),
    ("suffix that leads out", "--suffix /../../x", ["--name"]),
    ("phase that leads out", "--phase ../secret", ["--phase", "../secret"]),
    ("first epoch after the last", "--epoch_count 9", ["--epoch_count 9", "--n_epochs 1"]),
    ("a run of this name", "--name run", ["--name run", "--continue_train", "--overwrite"]),
    ("nothing to go on from", "--continue_train", ["--continue_train", "new", "run"]),
    ("no pretrained folder", "--load_pretrain none", ["--load_pretrain none", "no such folder"]),
    ("unpaired data", "--model cycle_gan", ["photos", "trainA", "trainB"]),
    ("wrong kind of data", "--dataset_mode single", ["--dataset_mode single", "pix2pix"]),
    ("colour of another number", "--model cycle_gan --output_nc 1", ["--lambda_identity"]),
    ("limit of no pixel", "--max_megapixels 0", ["--max_megapixels", "above 0"]),
]


@pytest.mark.parametrize("what, flags, parts", FLAGS, ids=[row[0] for row in FLAGS])
def test_flags(what, flags, parts, refused, world):
    if "--output_nc" in flags:  # unpaired pictures are there
        for side in "AB":
            shutil.copytree(world / "photos" / "train", world / "photos" / f"train{side}")
    before = sorted(world.rglob("*"))
    message = refused("train.py", f"{TRAIN} {flags}")
    for part in parts:
        assert part in message
    assert sorted(world.rglob("*")) == before


# --- Folders --------------------------------------------------------------------------------------


def only(folder: Path, name: str, content: bytes = b"") -> None:
    """Empty the folder of pairs, and put one file there."""
    for file in (folder / "photos" / "train").iterdir():
        file.unlink()
    if name:
        (folder / "photos" / "train" / name).write_bytes(content)


def two_sides(folder: Path, *names: str) -> None:
    """Pictures of other names in A than in B."""
    for name in names:
        (folder / "photos" / f"train{name[0]}").mkdir(exist_ok=True)
        shutil.copy(folder / "photos/train/p0.png", folder / "photos" / f"train{name[0]}" / name)
    shutil.rmtree(folder / "photos" / "train")


FOLDERS = [
    ("no folder", nothing, "--dataroot foto", ["--dataroot foto", "no such folder", "photos"]),
    ("a file", nothing, "--dataroot photos/train/p0.png", ["--dataroot", "p0.png", "file"]),
    ("no pictures", lambda f: only(f, ""), "", ["photos", "train"]),
    ("texts alone", lambda f: only(f, "a.txt", b"hello"), "", ["photos", "train"]),
    ("no such phase", nothing, "--phase val", ["--phase val", "photos"]),
    ("no partner", lambda f: two_sides(f, "A1.png", "B2.png"), "", ["A1", "B2"]),
    ("one side", lambda f: two_sides(f, "A1.png"), "", ["photos", "trainB"]),
    (
        "checkpoints in a file",
        lambda f: (f / "taken").write_text(""),
        "--checkpoints_dir taken",
        ["taken"],
    ),
    (
        "name of a file",
        lambda f: (f / "checkpoints" / "taken").write_text(""),
        "--name taken",
        ["checkpoints/taken"],
    ),
]


@pytest.mark.parametrize("what, spoil, flags, parts", FOLDERS, ids=[row[0] for row in FOLDERS])
def test_folders(what, spoil, flags, parts, refused, world):
    spoil(world)
    message = refused("train.py", f"{TRAIN} {flags}").replace("\\", "/")
    for part in parts:
        assert part in message


def test_results_in_a_file(refused, world):
    (world / "taken").write_text("")
    assert "taken" in refused("test.py", f"{TEST} --results_dir taken")


@pytest.mark.parametrize("ratio", ["1e30", "1e-30", "0", "-1"])
def test_stretched_without_end(ratio, refused, world):
    assert "--aspect_ratio" in refused("test.py", f"{TEST} --aspect_ratio {ratio}")


@posix_only
@no_root
@pytest.mark.parametrize("place", ["photos/train/p0.png", "checkpoints"])
def test_no_rights(place, refused, world):
    (world / place).chmod(0o500 if place == "checkpoints" else 0)
    message = refused("train.py", TRAIN)
    assert place in message
    assert "ermission" in message


# --- Pictures -------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be this large, but holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b"")


def saved(picture: Image.Image, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def wave(width: int = 48, height: int = 24) -> np.ndarray:
    """(height, width) in 0..1."""
    x, y = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 4, height))
    return (np.sin(x) * np.cos(y) + 1) / 2


PHOTO = Image.fromarray(np.uint8(wave() * 255)).convert("RGB")

BAD_PICTURES = [
    ("no bytes", "p.png", b"", ["p.png", "cannot be read as a picture"]),
    ("text", "p.jpg", b"this is a text", ["p.jpg", "cannot be read as a picture"]),
    ("web page", "p.jpg", b"<html>404</html>", ["p.jpg", "cannot be read as a picture"]),
    ("cut off, PNG", "p.png", saved(PHOTO, "png")[:-200], ["p.png", "cannot be read"]),
    ("cut off, JPEG", "p.jpg", saved(PHOTO, "jpeg")[:-200], ["p.jpg", "cannot be read"]),
    ("cut off, WebP", "p.webp", saved(PHOTO, "webp")[:-40], ["p.webp", "cannot be read"]),
    ("cut off, TIFF", "p.tif", saved(PHOTO, "tiff")[:-200], ["p.tif", "cannot be read"]),
    ("header alone", "p.png", saved(PHOTO, "png")[:20], ["p.png", "cannot be read"]),
    ("bomb", "p.png", png_header(20_000, 20_000), ["p.png", "20000x20000", "--max_megapixels"]),
    ("gigantic", "p.png", png_header(2**31 - 1, 2**31 - 1), ["p.png", "2147483647"]),
    ("no width", "p.png", png_header(0, 24), ["p.png"]),
    ("another format", "p.png", b"GIF89a" + bytes(9), ["p.png", "cannot be read"]),
]


bad_pictures = pytest.mark.parametrize(
    "what, name, content, parts", BAD_PICTURES, ids=[row[0] for row in BAD_PICTURES]
)


@bad_pictures
def test_bad_pictures_in_training(what, name, content, parts, refused, world):
    only(world, name, content)
    message = refused("train.py", TRAIN)
    for part in parts:
        assert part in message


@bad_pictures
def test_bad_pictures_in_testing(what, name, content, parts, refused, world):
    (world / "one").mkdir()
    (world / "one" / name).write_bytes(content)
    message = refused("test.py", ONE)
    for part in parts:
        assert part in message


def test_one_pixel(refused, world):
    """The size turns out to be wrong only when the picture is opened."""
    only(world, "p.png", saved(PHOTO.resize((2, 1)), "png"))
    message = refused("train.py", f"{TRAIN} --preprocess crop")
    assert "p.png" in message
    assert "1x1" in message


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "none"])
def test_one_pixel_is_enough_where_pictures_are_resized_or_padded(preprocess, world, run_here):
    only(world, "p.png", saved(PHOTO.resize((2, 1)), "png"))
    assert run_here("train.py", *TRAIN.split(), "--preprocess", preprocess).status == 0


def test_one_column_has_no_two_halves(refused, world):
    only(world, "p.png", saved(PHOTO.resize((1, 9)), "png"))
    assert "p.png" in refused("train.py", TRAIN)


def test_limit_of_pixels_can_be_raised_and_lowered(refused, world, run_here):
    content = saved(PHOTO.resize((1500, 1000)), "png")
    (world / "one").mkdir()
    (world / "one" / "p.png").write_bytes(content)
    assert "1500x1000" in refused("test.py", f"{ONE} --max_megapixels 1.4")
    assert run_here("test.py", *f"{ONE} --max_megapixels 1.6".split()).status == 0


def test_a_bomb_that_is_let_in_is_still_no_traceback(refused, world):
    """Here the file only says that it is large."""
    only(world, "p.png", png_header(20_000, 20_000))
    assert "p.png" in refused("train.py", f"{TRAIN} --max_megapixels 500")


PIXELS_16 = Image.fromarray(np.uint16(wave() * 65535))
INK = Image.fromarray(np.uint8(255 - wave() * 255))
CMYK = Image.merge("CMYK", [INK, INK, INK, Image.new("L", (48, 24))])
GREY = Image.fromarray(np.uint8(wave() * 255))
DARK = Image.new("RGB", PHOTO.size)
TWO_FRAMES = {"save_all": True, "append_images": [DARK]}
LYING = PHOTO.transpose(Image.Transpose.ROTATE_90)
ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6  # orientation
GOOD_PICTURES = [
    ("16 bits, PNG", "p.png", saved(PIXELS_16, "png")),
    ("16 bits, TIFF", "p.tif", saved(PIXELS_16, "tiff")),
    ("floats, TIFF", "p.tiff", saved(Image.fromarray(np.float32(wave())), "tiff")),
    ("CMYK, JPEG", "p.jpg", saved(CMYK, "jpeg", quality=100)),
    ("CMYK, TIFF", "p.tif", saved(CMYK, "tiff")),
    ("grey, PNG", "p.png", saved(GREY, "png")),
    ("grey, JPEG", "p.jpeg", saved(GREY, "jpeg", quality=100)),
    ("palette", "p.png", saved(PHOTO.convert("P", palette=Image.Palette.ADAPTIVE), "png")),
    ("opaque", "p.png", saved(PHOTO.convert("RGBA"), "png")),
    ("animated, PNG", "p.png", saved(PHOTO, "png", **TWO_FRAMES)),
    ("animated, WebP", "p.webp", saved(PHOTO, "webp", lossless=True, **TWO_FRAMES)),
    ("pages, TIFF", "p.tif", saved(PHOTO, "tiff", **TWO_FRAMES)),
    ("another ending", "p.jpg", saved(PHOTO, "png")),
    ("ending in capitals", "p.PNG", saved(PHOTO, "png")),
    ("bitmap", "p.bmp", saved(PHOTO, "bmp")),
    ("turned by EXIF", "p.jpg", saved(LYING, "jpeg", quality=100, exif=ON_ITS_SIDE)),
]


@pytest.mark.parametrize("what, name, content", GOOD_PICTURES, ids=[r[0] for r in GOOD_PICTURES])
def test_unusual_pictures_work(what, name, content, world, run_here):
    """They load as they look on a screen; an animation loads as its first frame."""
    (world / "one").mkdir()
    (world / "one" / name).write_bytes(content)
    done = run_here("test.py", *ONE.split(), "--preprocess", "none")
    assert (done.status, done.stderr) == (0, "")
    real = next((world / "results").rglob("*_real.png"))
    shown = np.asarray(Image.open(real).convert("RGB")).astype(int)
    assert shown.shape == (24, 48, 3)
    assert np.abs(shown - np.asarray(PHOTO).astype(int)).mean() < 4


def test_bad_pictures_are_skipped_and_counted(world, run_here):
    train = world / "photos" / "train"
    (train / "bad1.png").write_bytes(b"")
    (train / "bad2.jpg").write_bytes(b"no picture")
    done = run_here("train.py", *TRAIN.split(), "--skip_bad_images", "--n_epochs", "2")
    assert (done.status, done.stderr) == (0, "")
    skipped = [line for line in done.stdout.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 2  # once each, though there are two epochs
    assert "1 so far" in skipped[0]
    assert "2 so far" in skipped[1]
    assert all(name in str(skipped) for name in ("bad1.png", "bad2.jpg"))


def test_nothing_but_bad_pictures(refused, world):
    only(world, "p.png", b"")
    line = refused("train.py", f"{TRAIN} --skip_bad_images")
    assert "no picture can be loaded" in line
    assert "--skip_bad_images" not in line  # not useful advice here


def test_all_bad_pictures_of_a_batch_are_named(refused, world):
    only(world, "bad0.png", b"")
    (world / "photos/train/bad1.png").write_bytes(b"no picture")
    line = refused("train.py", f"{TRAIN} --batch_size 2")
    assert all(words in line for words in ("bad0.png", "bad1.png", "--skip_bad_images"))


def test_a_bad_first_picture_costs_an_earlier_run_nothing(refused, world):
    """--overwrite deletes nothing before a batch is loaded; without one, nothing is saved."""

    def earlier() -> dict[str, bytes]:
        files = [f for f in (world / "checkpoints" / "run").rglob("*") if f.is_file()]
        return {str(f): f.read_bytes() for f in files if f.name != ".lock"}

    before = earlier()
    assert any(name.endswith("latest_net_G.pth") for name in before)
    only(world, "p.png", b"no picture")
    line = refused("train.py", f"{TRAIN.replace('new', 'run')} --overwrite")
    assert "p.png" in line
    assert earlier() == before
    refused("train.py", TRAIN)
    assert not list((world / "checkpoints" / "new").glob("*.pth"))


def test_a_picture_that_goes_bad_in_mid_run_loses_nothing(refused, world, run_here):
    """The run saves, names the picture, and resumes where it stopped after a repair."""
    good = (world / "photos/train/p1.png").read_bytes()
    (world / "photos/train/p1.png").write_bytes(good[:100])
    flags = f"{TRAIN} --serial_batches --print_freq 1"
    line = refused("train.py", flags)
    assert "p1.png" in line
    assert "--skip_bad_images" in line
    (world / "photos/train/p1.png").write_bytes(good)
    done = run_here("train.py", "--name", "new", "--continue_train")
    assert (done.status, done.stderr) == (0, "")
    assert run_here("train.py", *flags.replace("--name new", "--name straight").split()).status == 0
    for name in ("latest_net_G.pth", "latest_net_D.pth"):
        cut, straight = (world / "checkpoints" / run / name for run in ("new", "straight"))
        assert cut.read_bytes() == straight.read_bytes()


# --- Checkpoints ----------------------------------------------------------------------------------


class Attack:
    """Unpickled by a careless program, it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("attacked",)


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the bytes of a file of the run."""

    def spoil(folder: Path) -> None:
        file = folder / "checkpoints" / "run" / name
        file.write_bytes(change(file.read_bytes()))

    return spoil


def content_of(value: object) -> Callable[[bytes], bytes]:
    """What torch.save makes of a value."""
    file = io.BytesIO()
    torch.save(value, file)
    return lambda _: file.getvalue()


def remove(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / "checkpoints" / "run" / name).unlink()

    return spoil


def options_with(**changes) -> Callable[[Path], None]:
    """Change train_options.json."""
    return rewrite(OPTIONS, lambda b: json.dumps({**json.loads(b), **changes}).encode())


G, D, STATE = "latest_net_G.pth", "latest_net_D.pth", "latest_state.pth"
OPTIONS = "train_options.json"
CHECKPOINTS = [
    ("cut off", rewrite(G, lambda b: b[:-50]), TEST, [G, "damaged"]),
    ("no bytes", rewrite(G, lambda b: b""), TEST, [G, "damaged"]),
    ("text", rewrite(G, lambda b: b"hello"), TEST, [G]),
    ("web page", rewrite(G, lambda b: b"<html>404</html>"), TEST, [G]),
    ("pickle that runs code", rewrite(G, lambda b: pickle.dumps(Attack())), TEST, [G, "code"]),
    ("torch file that runs code", rewrite(G, content_of({"w": Attack()})), TEST, [G, "code"]),
    ("whole network", rewrite(G, content_of(torch.nn.Linear(1, 1))), TEST, [G, "state_dict"]),
    ("a list", rewrite(G, content_of([1, 2])), TEST, [G, "state_dict"]),
    ("nested", rewrite(G, content_of({"model": {"w": torch.ones(1)}})), TEST, [G, "state_dict"]),
    ("another network", rewrite(G, content_of({"w": torch.ones(1)})), TEST, [G, "does not fit"]),
    ("another size", nothing, f"{TEST} --ngf 3", ["--ngf 3", "2"]),
    ("another generator", nothing, f"{TEST} --netG unet_128 --crop_size 128", ["--netG unet_128"]),
    ("missing", remove(G), TEST, [G, "no such checkpoint", "1", "2"]),
    ("missing label", nothing, f"{TEST} --epoch 7", ["7_net_G.pth", "latest"]),
    ("missing iteration", nothing, f"{TEST} --load_iter 7", ["iter_7_net_G.pth", "latest"]),
    ("label that leads out", nothing, f"{TEST} --epoch ../run/1", ["--epoch", "../run/1"]),
    ("label with a folder", nothing, f"{TEST} --epoch a/b", ["--epoch", "a/b"]),
    ("phase that leads out", nothing, f"{TEST} --phase /etc", ["--phase", "/etc"]),
    ("missing run", nothing, f"{TEST} --name none", ["none", "run"]),
    ("options are no JSON", rewrite(OPTIONS, lambda b: b[:99]), TEST, [OPTIONS]),
    ("options are a list", rewrite(OPTIONS, lambda b: b"[1]"), TEST, [OPTIONS]),
    ("options of a wrong type", options_with(ngf="many"), BARE, ["ngf"]),
    ("options of a wrong value", options_with(ngf=-3), BARE, ["ngf"]),
    ("options of a wrong choice", options_with(netG="none"), BARE, ["netG"]),
    ("options of nothing", options_with(norm=None), BARE, ["norm"]),
]


@pytest.mark.parametrize("what, spoil, flags, parts", CHECKPOINTS, ids=[r[0] for r in CHECKPOINTS])
def test_checkpoints_in_testing(what, spoil, flags, parts, refused, world):
    spoil(world)
    message = refused("test.py", flags)
    for part in parts:
        assert part in message
    assert not (world / "attacked").exists()


RESUMES = [
    ("wrong model in options", options_with(model="none"), ["none"]),
    ("wrong kind of model in options", options_with(model=5), ["model"]),
    ("wrong rate in options", options_with(lr="fast"), ["lr"]),
    ("wrong number of epochs in options", options_with(n_epochs_decay=-5), ["n_epochs_decay"]),
    ("wrong policy in options", options_with(lr_policy="none"), ["lr_policy"]),
    ("wrong switch in options", options_with(no_flip="perhaps"), ["no_flip"]),
    ("no pictures of options", options_with(dataroot=3), ["dataroot"]),
    ("another folder in options", options_with(phase="../../secret"), ["phase"]),
]


@pytest.mark.parametrize("what, spoil, parts", RESUMES, ids=[row[0] for row in RESUMES])
def test_checkpoints_in_resuming(what, spoil, parts, refused, world):
    spoil(world)
    message = refused("train.py", AGAIN)
    for part in parts:
        assert part in message


HOSTILE = [
    ("network", rewrite(G, lambda b: pickle.dumps(Attack())), G),
    ("state", rewrite(STATE, lambda b: pickle.dumps(Attack())), STATE),
    ("state of torch", rewrite(STATE, content_of({"w": Attack()})), STATE),
]


@pytest.mark.parametrize("what, spoil, name", HOSTILE, ids=[row[0] for row in HOSTILE])
def test_hostile_files_in_resuming(what, spoil, name, world, run_here):
    """Whether an older checkpoint is used or none, the message says why, and no code is run."""
    spoil(world)
    done = run_here("train.py", *AGAIN.split())
    assert done.status in (0, 2)
    said = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert any("code" in line for line in said), done
    assert not (world / "attacked").exists()


def test_hostile_weights_to_start_from(refused, world):
    rewrite(G, content_of({"w": Attack()}))(world)
    message = refused("train.py", f"{TRAIN} --load_pretrain checkpoints/run")
    assert G in message
    assert "code" in message
    assert not (world / "attacked").exists()


FALLS_BACK = [
    ("network cut off", rewrite(G, lambda b: b[:-50])),
    ("network empty", rewrite(D, lambda b: b"")),
    ("network missing", remove(D)),
    ("state cut off", rewrite(STATE, lambda b: b[:-50])),
    ("state empty", rewrite(STATE, lambda b: b"")),
]


@pytest.mark.parametrize("what, spoil", FALLS_BACK, ids=[row[0] for row in FALLS_BACK])
def test_the_last_whole_checkpoint_is_used(what, spoil, world, run_here):
    spoil(world)
    done = run_here("train.py", *AGAIN.split())
    assert (done.status, done.stderr) == (0, "")
    said = [line for line in done.stdout.splitlines() if "resumed from checkpoint 2" in line]
    assert len(said) == 1
    assert "latest do not belong together" in said[0]


def test_state_of_another_format(refused, world):
    """As a later version of this program may write it."""
    file = world / "checkpoints" / "run" / STATE
    state = torch.load(file, weights_only=True)
    torch.save({**state, "format": 99}, file)
    assert "format" in refused("train.py", AGAIN)


def spoilt(*path: Any, by: Any) -> Callable[[dict], None]:
    """Replaces the value at a path inside a state."""

    def spoil(state: dict) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = by

    return spoil


OPTIMIZER = ("model", "optimizers", 0, "state", 0, "exp_avg")


@pytest.mark.parametrize(
    "spoil",
    [
        spoilt(*OPTIMIZER, by=torch.zeros(1)),  # fused kernels would read past its end
        spoilt(*OPTIMIZER, by=torch.zeros(4, 3, 7, 7).to_sparse()),
        spoilt("digests", by=[]),
        spoilt("format", by=torch.ones(2)),
        spoilt("clock", by=[]),
        spoilt("clock", "epoch", by="x"),
        spoilt("clock", "epoch", by=-5),
        spoilt("processes", 0, "random", "torch", by=torch.zeros(3, dtype=torch.uint8)),
        spoilt("processes", 0, "random", "python", by=[]),
        spoilt("processes", by={}),
        spoilt("model", "lr", by=0),
    ],
)
def test_a_state_of_data_that_makes_no_sense(spoil, world, run_here):
    """With every checkpoint: an error in one line, or one line that says the state is skipped."""
    for file in (world / "checkpoints" / "run").glob("*_state.pth"):
        state = torch.load(file, weights_only=True)
        spoil(state)
        torch.save(state, file)
    done = run_here("train.py", *AGAIN.split())
    assert done.status == 2
    assert done.stderr.count("\n") == 1 and "_state.pth" in done.stderr


def test_weights_that_hold_no_plain_numbers(refused, world):
    for value in (torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta")):
        torch.save({"model.1.weight": value}, world / "checkpoints" / "run" / G)
        assert G in refused("test.py", BARE)


def test_options_nested_beyond_reason(refused, world):
    (world / "checkpoints" / "run" / OPTIONS).write_text("[" * 200_000)
    assert OPTIONS in refused("test.py", BARE)


def test_options_of_other_programs_with_nonsense(refused, world):
    run = world / "checkpoints" / "run"
    (run / OPTIONS).unlink()
    (run / "train_opt.txt").write_text("      ngf: many\n     netG: resnet_6blocks\n")
    assert "ngf" in refused("test.py", BARE)


# --- Memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("take", [lambda: torch.empty(10**15), lambda: bytearray(2**62)])
@pytest.mark.parametrize(
    "script, line, flags",
    [
        ("train.py", TRAIN, ["batch_size", "precision", "grad_checkpoint", "crop_size", "ngf"]),
        ("test.py", BARE, ["batch_size", "precision", "crop_size", "load_size", "num_threads"]),
    ],
)
def test_memory_that_runs_out_names_the_flags_that_help_in_order(
    script, line, flags, take, refused, monkeypatch
):
    monkeypatch.setattr(
        "models.networks.generators.ResnetGenerator.forward", lambda self, x: take()
    )
    message = refused(script, line)
    assert "out of memory" in message
    named = re.findall(r"--(\w+)", message.partition("try, in this order: ")[2])
    assert named[: len(flags)] == flags
    if script == "test.py":
        assert set(named) <= {flag.name.split()[0][2:] for s in OF_TESTING for flag in s.flags}
        assert not {*named} & {*USED_IN_TRAINING_ONLY, *GENERATOR}


# --- Names ----------------------------------------------------------------------------------------


@posix_only
def test_a_name_that_is_no_unicode(world, run_in):
    """Neither printing it nor writing it to a page may end the run."""
    name = os.fsdecode(b"caf\xe9")
    shutil.copytree(world / "photos", world / name)
    flags = TRAIN.replace("--dataroot photos", f"--dataroot {name}")
    strict = {"PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "0"}
    done = run_in(world, "train.py", *flags.split(), **strict)
    assert (done.status, done.stderr) == (0, "")


def test_a_terminal_without_unicode(world, run_in):
    """As Windows' code pages are."""
    shutil.copytree(world / "photos", world / "фото")
    flags = TRAIN.replace("--dataroot photos", "--dataroot фото")
    done = run_in(world, "train.py", *flags.split(), PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert done.status == 0, done.stderr
