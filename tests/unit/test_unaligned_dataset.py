"""Two unpaired sets: length, order, and which B goes with which A."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
import models
from data.unaligned_dataset import UnalignedDataset
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness

PLAIN = ("--preprocess", "none", "--no_flip", "--netG", "resnet_6blocks", "--netD", "pixel")


def unaligned(dataroot: str, *flags: str) -> UnalignedDataset:
    line = ["--dataroot", dataroot, *PLAIN, *flags]
    return UnalignedDataset(TrainOptions(models.registry, data.registry).parse(line))


def names(dataset: UnalignedDataset, *seed: int) -> list[tuple[str, str]]:
    """(A, B) of every sample, with B drawn from a seed."""
    pairs = []
    for index in range(len(dataset)):
        with isolated_randomness(*seed, index):
            sample = dataset[index]
        pairs.append((Path(sample["A_paths"]).stem, Path(sample["B_paths"]).stem))
    return pairs


@pytest.mark.parametrize("num_a, num_b", [(3, 2), (2, 3), (2, 2)])
def test_as_long_as_the_larger_side(num_a, num_b, pictures):
    dataset = unaligned(pictures.unaligned(num_a, num_b))
    assert len(dataset) == max(num_a, num_b)
    a, b = zip(*names(dataset, 0), strict=True)
    assert list(a) == [f"a{i % num_a}" for i in range(len(dataset))]
    assert set(b) <= {f"b{i}" for i in range(num_b)}


def test_serial_batches_take_b_by_index(pictures):
    dataset = unaligned(pictures.unaligned(5, 2), "--serial_batches")
    expected = [("a0", "b0"), ("a1", "b1"), ("a2", "b0"), ("a3", "b1"), ("a4", "b0")]
    assert names(dataset, 0) == names(dataset, 1) == expected


def test_otherwise_b_is_drawn_anew_in_each_epoch(pictures):
    dataset = unaligned(pictures.unaligned(2, 4))
    drawn = {tuple(names(dataset, epoch)) for epoch in range(12)}
    assert len(drawn) > 6
    assert {b for pairs in drawn for _, b in pairs} == {"b0", "b1", "b2", "b3"}
    assert names(dataset, 3) == names(dataset, 3)


def test_pictures_that_the_limit_leaves_out_are_told_for_each_side(pictures, capsys):
    dataroot = pictures.unaligned(4, 2)
    unaligned(dataroot, "--max_dataset_size", "3")
    told = capsys.readouterr().out
    assert f"{Path(dataroot) / 'trainA'}: 3 of 4 pictures (--max_dataset_size 3)\n" in told
    assert "trainB:" not in told


def test_max_dataset_size_limits_each_side(pictures):
    dataset = unaligned(pictures.unaligned(5, 4), "--max_dataset_size", "3")
    assert (len(dataset), len(dataset.paths_a), len(dataset.paths_b)) == (3, 3, 3)


def test_sides_are_cropped_apart(pictures):
    """Even of equal pictures: there is no common crop to learn."""
    dataroot = Path(pictures.unaligned(1, 1))
    pictures.save(pictures.draw(0), "unpaired/trainB/b0.png")
    dataset = unaligned(str(dataroot), "--preprocess", "crop", "--crop_size", "16")
    same = 0
    for seed in range(20):
        with isolated_randomness(seed):
            sample = dataset[0]
        same += torch.equal(sample["A"], sample["B"])
    assert same < 3


@pytest.mark.parametrize(
    "flags, channels",
    [
        ("--input_nc 1", (1, 3)),
        ("--output_nc 1", (3, 1)),
        ("--input_nc 1 --direction BtoA", (3, 1)),
        ("--output_nc 1 --direction BtoA", (1, 3)),
        ("--input_nc 1 --output_nc 1", (1, 1)),
    ],
)
@pytest.mark.parametrize("cache", ["none", "ram"])
def test_a_grey_side_is_loaded_grey(cache, flags, channels, pictures, tmp_path, monkeypatch):
    """--direction says which side the channels of input and output are of."""
    monkeypatch.chdir(tmp_path)
    line = ["--dataroot", pictures.unaligned(2, 3), *PLAIN, *flags.split(), "--cache", cache]
    line += "--serial_batches --num_threads 0".split()
    batches = data.create_dataset(TrainOptions(models.registry, data.registry).parse(line))
    for _ in range(2):  # the second time from the cache
        for index, batch in enumerate(batches):
            numbers = index % 2, index + 100
            for side, number, num_channels in zip("AB", numbers, channels, strict=True):
                picture = pictures.draw(number).convert("RGB" if num_channels == 3 else "L")
                expected = np.asarray(picture).reshape(48, 64, num_channels)
                levels = ((batch[side][0] + 1) * 127.5).round().permute(1, 2, 0)
                np.testing.assert_array_equal(levels.numpy(), expected)
    if cache == "ram":
        kept = batches.dataset.cache.checksums()
        assert len(kept) == 2 + 3 and kept.all()


@pytest.mark.parametrize("num_a, num_b", [(0, 2), (2, 0), (0, 0)])
def test_a_missing_side_is_named(num_a, num_b, pictures, tmp_path):
    (tmp_path / "unpaired").mkdir()
    with pytest.raises(UserError) as caught:
        unaligned(pictures.unaligned(num_a, num_b))
    for part in ("trainA", "trainB", "--phase train"):
        assert part in str(caught.value)


def test_pairs_side_by_side_are_offered_the_model_for_pairs(pictures):
    root = pictures.side_by_side()
    with pytest.raises(UserError, match="train are pairs side by side, pass --model pix2pix"):
        unaligned(root)


@pytest.mark.parametrize("preprocess", ["scale_width", "scale_width_and_crop"])
def test_a_picture_that_would_become_enormous_is_named(preprocess, pictures):
    root = pictures.unaligned(1, 1)
    pictures.save(Image.new("RGB", (1, 60_000)), "unpaired/trainA/a0.png")
    flags = ("--preprocess", preprocess, "--load_size", "288")
    with pytest.raises(UserError) as caught:
        unaligned(root, *flags)[0]
    for part in ("a0.png", "1x60000", "--max_megapixels 179", "resize_and_crop"):
        assert part in str(caught.value)


def test_datasets_that_name_no_side_take_the_range_that_both_sides_have(pictures, tmp_path):
    root, path = pictures.unaligned(1, 1), str(tmp_path / "x.npy")
    np.save(path, np.array([[-1000, 500, 2000]], np.int16))
    for flags in ([], ["--range_A", "-1000,2000"]):
        with pytest.raises(UserError, match="with --range_A and --range_B, both LOW,HIGH"):
            unaligned(root, *flags).load(path, 1)
    dataset = unaligned(root, "--range_A", "-1000,2000", "--range_B", "-1000,2000")
    assert dataset.load(path, 1)[0, 0, :3].tolist() == [-1, 0, 1]
    assert np.asarray(dataset.open(path))[0, :, 0].tolist() == [0, 128, 255]
