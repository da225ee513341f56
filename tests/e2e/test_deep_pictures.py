"""Pictures of more than 8 bits, other ranges and odd sizes, from the file to the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import data
import models
from models.base_model import BaseModel
from models.cycle_gan_model import CycleGANModel
from models.pix2pix_model import Pix2PixModel
from models.test_model import TestModel
from options.train_options import TrainOptions

TINY = "--name run --device cpu --seed 3 --ngf 4 --ndf 4 --num_threads 0 --netG resnet_6blocks"
SHORT = f"{TINY} --n_epochs 1 --n_epochs_decay 0 --no_html"
TEST = "--name run --device cpu --num_threads 0"
RANDOM = np.random.default_rng(5)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        if values.ndim == 2 or values.shape[2] in (3, 4):
            tifffile.imwrite(path, values, photometric="rgb" if values.ndim == 3 else "minisblack")
        else:
            tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    else:
        Image.fromarray(values).save(path)


def deep(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 65536, shape).astype(np.uint16)


def pairs(root: Path, make, ending: str = ".tif", phases=("train", "test"), number: int = 2) -> str:
    for phase in phases:
        for side in "AB":
            for index in range(number):
                write(root / f"{phase}{side}" / f"p{index}{ending}", make(side))
    return str(root)


@pytest.fixture
def generators_copy(monkeypatch):
    """Generators of test.py give their input back."""

    def copying(forward):
        def forward_or_copy(model: BaseModel) -> None:
            if model.isTrain:
                forward(model)
            elif isinstance(model, TestModel):
                model.fake = model.real
            elif isinstance(model, Pix2PixModel):
                model.fake_B = model.real_A
            else:
                model.fake_B = model.rec_A = model.real_A
                model.fake_A = model.rec_B = model.real_B

        return forward_or_copy

    for kind in (TestModel, Pix2PixModel, CycleGANModel):
        monkeypatch.setattr(kind, "forward", copying(kind.forward))


def results(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder / "results" / "run").rglob(pattern))


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
@pytest.mark.parametrize("mode", ["pix2pix --preprocess none", "cycle_gan --preprocess none"])
def test_a_network_in_training_gets_all_bits(mode, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = pairs(tmp_path / "photos", lambda side: deep(32, 24, 3))
    line = f"{TINY} --dataroot {root} --model {mode} --no_flip --cache {cache} --serial_batches"
    for _ in range(2):  # the second finds the first one's file
        opt = TrainOptions(models.registry, data.registry).parse(line.split())
        loader = data.create_dataset(opt)
        for _ in range(2):  # the second epoch from the cache
            for batch in loader:
                for side in "AB":
                    stored = tifffile.imread(batch[f"{side}_paths"][0])
                    got = (batch[side][0].double() + 1) / 2 * 65535
                    assert (got.permute(1, 2, 0) - torch.from_numpy(stored)).abs().max() < 0.01


@pytest.mark.parametrize("ending", [".tif", ".npy"])
def test_results_have_the_bits_of_the_targets(ending, tmp_path, run_here, generators_copy):
    root = pairs(tmp_path / "photos", lambda side: deep(32, 24, 3), ending)
    assert not run_here("train.py", *f"{SHORT} --dataroot {root} --model cycle_gan".split()).status
    flags = f"{TEST} --dataroot {root} --preprocess none"
    for model, more, label in (
        ("cycle_gan", "", "fake_B"),
        ("test", f" --dataroot {root}/testA", "fake"),
    ):
        done = run_here("test.py", *f"{flags} --model {model}{more}".split())
        assert done.status == 0, done
        for file in (tmp_path / "photos" / "testA").iterdir():
            source = np.load(file) if ending == ".npy" else tifffile.imread(file)
            (made,) = results(tmp_path, f"{file.stem}_{label}{ending}")
            result = np.load(made) if ending == ".npy" else tifffile.imread(made)
            assert result.dtype == np.uint16
            assert np.abs(result.astype(int) - source).max() <= 1
            picture = Image.open(made.with_suffix(".png"))
            assert picture.mode == "RGB" and picture.info["srgb"] is not None
            assert np.abs(np.asarray(picture) - source / 257).max() <= 0.51
    assert not results(tmp_path, f"*real*{ending}")

    (tmp_path / "photos" / "testA" / f"p1{ending}").unlink()
    run_here("test.py", *f"{flags} --model test --dataroot {root}/testA".split())
    assert [file.name for file in results(tmp_path, f"*{ending}")] == [f"p0_fake{ending}"]


def test_results_of_eight_bits_have_no_other_file(tmp_path, run_here, pictures):
    root = pictures.two_folders(2, (32, 32))
    pictures.two_folders(2, (32, 32), "test")
    flags = f"--dataroot {root} --load_size 32 --crop_size 32"
    run_here("train.py", *f"{SHORT} {flags} --model pix2pix".split())
    run_here("test.py", *f"{TEST} --dataroot {root} --model pix2pix --crop_size 32".split())
    endings = {file.suffix for file in results(tmp_path, "*") if file.parent.name == "images"}
    assert endings == {".png"}


def test_metrics_are_in_units_of_the_range(tmp_path, run_here, generators_copy):
    def make(side: str) -> np.ndarray:
        return np.full((32, 32), 1000 if side == "A" else 1100, np.int16)

    root = pairs(tmp_path / "scans", make, ".npy", number=1)
    ranges = "--range_A -1000,2000 --range_B -1000,2000"
    flags = f"--dataroot {root} --input_nc 1 --output_nc 1 --model pix2pix --preprocess none"
    done = run_here("train.py", *f"{SHORT} {flags} {ranges}".split())
    assert done.status == 0, done
    flags = f"{TEST} --dataroot {root} --model pix2pix"
    done = run_here("test.py", *flags.split())
    assert "mean L1: 100" in done.stdout, done  # and no range was typed
    assert "mean PSNR: 29.54" in done.stdout  # 20 log10(3000 / 100)
    (made,) = results(tmp_path, "p0_fake_B.npy")
    assert np.load(made).dtype == np.int16 and (np.load(made) == 1000).all()

    ranges = "--range_A -1000,1000 --range_B -1000,1000"
    done = run_here("test.py", *f"{flags} {ranges}".split())
    assert "mean L1: 0 (doing nothing: " in done.stdout
    assert "--range_B -1000,1000: 1024 values outside were clipped" in done.stdout


@pytest.mark.parametrize("many", [4, 5])
def test_other_numbers_of_channels(many, tmp_path, run_here):
    root = pairs(tmp_path / "bands", lambda side: deep(32, 32, many if side == "A" else 3))
    flags = f"--dataroot {root} --model pix2pix --input_nc {many} --load_size 32 --crop_size 32"
    assert not run_here("train.py", *f"{SHORT} {flags}".split()).status
    done = run_here("train.py", *f"{SHORT} {flags} --overwrite --input_nc 2".split())
    assert (
        done.status == 2
        and f"has {many} channels, which cannot become the 2 of --input_nc 2" in done.stderr
    )


def test_values_that_nobody_explains_stop_before_training(tmp_path, run_here):
    root = pairs(tmp_path / "scans", lambda side: np.full((32, 32), -7, np.int16), ".npy")
    flags = f"--dataroot {root} --input_nc 1 --output_nc 1 --model pix2pix"
    done = run_here("train.py", *f"{SHORT} {flags} --load_size 32 --crop_size 32".split())
    assert done.status == 2 and "--range_A LOW,HIGH" in done.stderr.splitlines()[-1]


def test_the_end_of_the_first_epoch_tells_of_values(tmp_path, run_here):
    """12 bits in 16, a value outside a stated range, in several loading processes."""
    values = np.full((32, 32), 100, np.uint16)
    values[0, 0], values[1, 1] = 0, 4095
    root = pairs(tmp_path / "scans", lambda side: values, number=3)
    flags = f"--dataroot {root} --model pix2pix --input_nc 1 --output_nc 1 --preprocess none"
    flags = f"{SHORT} {flags} --range_B 0,4000 --num_threads 2 --n_epochs 2 --no_flip"
    done = run_here("train.py", *flags.split())
    assert done.stdout.count("use only 0 to 4095 of 0 to 65535") == 1, done
    assert done.stdout.count("--range_B 0,4000: 3 values outside were clipped") == 1
    assert done.stdout.index("were clipped") < done.stdout.index("End of epoch 1")


@pytest.mark.parametrize("size", [(150, 90), (128, 128), (40, 30), (1, 200)])
@pytest.mark.parametrize("preprocess", ["none", "scale_width"])
def test_results_have_the_size_of_the_input_to_the_pixel(
    size, preprocess, tmp_path, run_here, generators_copy, pictures
):
    width, height = size
    pictures.two_folders(2, size)
    root = pictures.two_folders(2, size, "test")
    pictures.save(pictures.draw(9, width + 3, height), "pairs/testA/q.png")
    pictures.save(pictures.draw(8, width + 3, height), "pairs/testB/q.png")
    common = f"--dataroot {root} --model pix2pix --preprocess {preprocess} --load_size {width}"
    trained = run_here("train.py", *f"{SHORT} {common} --netG unet_128".split())
    assert trained.status == 0, trained
    done = run_here("test.py", *f"{TEST} {common}".split())
    assert done.status == 0, done
    assert "are padded by reflection" in done.stdout
    for name, picture in (("p1", pictures.pair(1, *size)[0]), ("q", None)):
        (made,) = results(tmp_path, f"{name}_fake_B.png")
        if picture is not None:
            assert np.array_equal(np.asarray(Image.open(made)), np.asarray(picture))
        elif preprocess == "none":
            assert Image.open(made).size == (width + 3, height)
        else:
            assert Image.open(made).size[0] == width


def test_pictures_of_one_batch_are_cut_to_their_own_sizes(
    tmp_path, run_here, generators_copy, pictures
):
    root = pictures.unaligned(2, 2, size=(32, 32))
    sizes = {"a": (100, 70), "b": (120, 90), "c": (128, 128)}
    for name, size in sizes.items():
        pictures.save(pictures.draw(1, *size), f"odd/{name}.png")
    flags = f"--dataroot {root} --model cycle_gan --load_size 128 --crop_size 128 --netG unet_128"
    assert not run_here("train.py", *f"{SHORT} {flags}".split()).status
    flags = f"{TEST} --dataroot odd --model test --preprocess none --batch_size 3"
    done = run_here("test.py", *flags.split())
    assert done.status == 0, done
    for name, size in sizes.items():
        for label in ("real", "fake"):
            (made,) = results(tmp_path, f"{name}_{label}.png")
            assert np.array_equal(np.asarray(Image.open(made)), np.asarray(pictures.draw(1, *size)))


def test_square_pictures_without_targets_are_told_of(tmp_path, run_here, pictures):
    for phase in ("train", "test"):
        for index in range(2):
            pictures.save(pictures.draw(index, 64, 64), f"square/{phase}/p{index}.png")
    size = "--load_size 32 --crop_size 32 --model pix2pix"
    done = run_here("train.py", *f"{SHORT} --dataroot square {size}".split())
    assert done.status == 0
    assert "twice as wide as high" in done.stdout and "square/trainB" in done.stdout

    root = pictures.two_folders(2, (32, 32))
    run_here("train.py", *f"{SHORT} --dataroot {root} {size} --overwrite".split())
    done = run_here("test.py", *f"{TEST} --dataroot square --model pix2pix --crop_size 32".split())
    assert done.status == 2 and "--model test --dataroot square/test" in done.stderr
    joined = pictures.side_by_side(2, (32, 32), "test")
    done = run_here(
        "test.py", *f"{TEST} --dataroot {joined} --model pix2pix --crop_size 32".split()
    )
    assert done.status == 0 and "twice as wide" not in done.stdout


def test_pairs_of_different_shapes_are_told_at_once_and_counted(tmp_path, run_here, pictures):
    root = pictures.two_folders(4, (64, 48))
    for index in (1, 3):
        pictures.save(pictures.draw(index, 48, 64), f"pairs/trainB/p{index}.png")
    flags = f"{SHORT} --dataroot {root} --model pix2pix --load_size 32 --crop_size 32"
    done = run_here("train.py", *flags.split(), "--num_threads", "2")
    assert done.stdout.count("is 64x48 but its B is 48x64") == 1, done
    assert done.stdout.count("2 pairs had sides of different shapes") == 1


def test_a_run_saves_what_its_folders_told(tmp_path, run_here):
    root = pairs(
        tmp_path / "photos", lambda side: deep(32, 32) if side == "A" else deep(32, 32) / 65535
    )
    flags = f"--dataroot {root} --model pix2pix --input_nc 1 --output_nc 1 --preprocess none"
    assert not run_here("train.py", *f"{SHORT} {flags}".split()).status
    saved = json.loads((tmp_path / "checkpoints" / "run" / "train_options.json").read_text())
    told = {"two_folders": True, "files_A": "uint16 0,65535 .tif", "files_B": "float64 0,1 .tif"}
    assert {name: saved[name] for name in told} == told
