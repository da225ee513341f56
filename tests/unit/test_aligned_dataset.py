"""Pairs: both layouts, the matching of names, and the same crop and flip for A and B."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
from data.aligned_dataset import AlignedDataset, match_by_stem, split_halves
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness

ANY_SIZE = ("--netG", "resnet_6blocks", "--netD", "pixel")


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "experiment_name").mkdir(parents=True)


def aligned(dataroot: str, *flags: str, options=TrainOptions) -> AlignedDataset:
    import models

    line = ["--dataroot", dataroot, "--model", "pix2pix", *ANY_SIZE, *flags]
    return AlignedDataset(options(models.registry, data.registry).parse(line))


def pixels(tensor: torch.Tensor) -> np.ndarray:
    """(H, W, C) in 0..255 from (C, H, W) in [-1, 1]."""
    return ((tensor + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("layout", ["side_by_side", "two_folders"])
def test_both_layouts_give_the_pictures_as_they_are(layout, pictures):
    dataset = aligned(getattr(pictures, layout)(3), "--preprocess", "none", "--no_flip")
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset[index]
        a, b = pictures.pair(index)
        assert np.array_equal(pixels(sample["A"]), a)
        assert np.array_equal(pixels(sample["B"]), b)
        assert Path(sample["A_paths"]).name == Path(sample["B_paths"]).name == f"p{index}.png"
        assert Path(sample["A_paths"]).is_file()


def test_a_and_b_get_the_same_crop_and_flip(pictures):
    """B is the negative of A, and must stay so pixel by pixel."""
    flags = ("--preprocess", "resize_and_crop", "--load_size", "40", "--crop_size", "24")
    for layout in (pictures.side_by_side, pictures.two_folders):
        dataset = aligned(layout(1), *flags)
        seen = set()
        for epoch in range(12):
            with isolated_randomness(epoch):
                sample = dataset[0]
            assert sample["A"].shape == sample["B"].shape == (3, 24, 24)
            # Bicubic overshoots are clipped at both ends, and rounding may go either way.
            assert (sample["A"] + sample["B"]).abs().max() <= 2.1 / 127.5
            seen.add(sample["A"].numpy().tobytes())
        assert len(seen) == 12  # crops and flips vary


def test_flip_mirrors_about_half_of_the_samples(pictures):
    flags = ("--preprocess", "none", "--max_dataset_size", "1")
    dataroot = pictures.two_folders(1)
    straight = aligned(dataroot, *flags, "--no_flip")[0]["B"]
    dataset = aligned(dataroot, *flags)
    flips = 0
    for epoch in range(100):
        with isolated_randomness(epoch):
            sample = dataset[0]["B"]
        mirrored = torch.equal(sample, straight.flip(-1))
        assert mirrored or torch.equal(sample, straight)
        flips += mirrored
    assert 30 < flips < 70


def test_no_flip_never_mirrors(pictures):
    dataset = aligned(pictures.two_folders(1), "--preprocess", "none", "--no_flip")
    straight = dataset[0]["A"]
    assert all(torch.equal(dataset[0]["A"], straight) for _ in range(20))


def test_testing_crops_the_centre_unflipped(pictures):
    dataroot = pictures.two_folders(1, size=(64, 48), phase="test")
    dataset = aligned(dataroot, "--preprocess", "crop", "--crop_size", "32", options=TestOptions)
    assert np.array_equal(pixels(dataset[0]["B"]), np.asarray(pictures.draw(0))[8:40, 16:48])


def test_random_crops_reach_every_corner(pictures):
    dataset = aligned(
        pictures.two_folders(1, size=(10, 10)), "--preprocess", "crop", "--crop_size", "8",
        "--no_flip",
    )  # fmt: skip
    whole = np.asarray(pictures.draw(0, 10, 10))
    corners = {whole[y : y + 8, x : x + 8].tobytes(): (x, y) for x in range(3) for y in range(3)}
    seen = set()
    for epoch in range(120):
        with isolated_randomness(epoch):
            seen.add(corners[pixels(dataset[0]["B"]).tobytes()])
    assert seen == set(corners.values())


def test_direction_leaves_the_sides_but_swaps_their_channels(pictures):
    """The model picks the input; the dataset must load grey what is the grey end."""
    flags = ("--preprocess", "none", "--input_nc", "1")
    sample = aligned(pictures.two_folders(1), *flags)[0]
    assert (sample["A"].shape[0], sample["B"].shape[0]) == (1, 3)
    sample = aligned(pictures.two_folders(1), *flags, "--direction", "BtoA")[0]
    assert (sample["A"].shape[0], sample["B"].shape[0]) == (3, 1)


@pytest.mark.parametrize("layout", ["side_by_side", "two_folders"])
def test_max_dataset_size(layout, pictures):
    dataset = aligned(getattr(pictures, layout)(3), "--max_dataset_size", "2")
    assert [Path(dataset[i]["A_paths"]).name for i in range(len(dataset))] == ["p0.png", "p1.png"]


def test_middle_column_of_an_odd_width_is_left_out():
    joined = Image.new("RGB", (5, 1))
    joined.putdata([(10 * i, 0, 0) for i in range(5)])
    left, right = split_halves(joined)
    assert [left.getpixel((x, 0))[0] for x in range(left.width)] == [0, 10]
    assert [right.getpixel((x, 0))[0] for x in range(right.width)] == [30, 40]


# --- Matching two folders by name -----------------------------------------------------------------


def files(root: Path, *names: str) -> tuple[Path, Path]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root / "trainA", root / "trainB"


def test_matching_goes_by_stem_and_subfolder(tmp_path):
    names = ["trainA/x.jpg", "trainA/sub/x.PNG", "trainA/a.b.png"]
    names += ["trainB/x.png", "trainB/sub/x.tif", "trainB/a.b.jpg"]
    pairs = match_by_stem(*files(tmp_path, *names))
    relative = [tuple(Path(p).relative_to(tmp_path).as_posix() for p in pair) for pair in pairs]
    assert relative == [
        ("trainA/a.b.png", "trainB/a.b.jpg"),
        ("trainA/sub/x.PNG", "trainB/sub/x.tif"),
        ("trainA/x.jpg", "trainB/x.png"),
    ]


@pytest.mark.parametrize("name", ["caf\u00e9", "\ud55c\uae00"])
def test_the_forms_of_a_name_in_unicode_are_one_name(name, tmp_path):
    parts = unicodedata.normalize("NFD", name)  # as macOS writes it
    assert parts != name
    names = f"trainA/{parts}.png", f"trainB/{name}.png"
    [(path_a, path_b)] = match_by_stem(*files(tmp_path, *names))
    assert Path(path_a).stem == parts and Path(path_b).stem == name  # as they are on the disk


def test_one_name_in_two_forms_is_told_as_such(tmp_path):
    folders = files(tmp_path, "trainA/e\u0301.png", "trainA/\u00e9.png", "trainB/e.png")
    if len(list(folders[0].iterdir())) < 2:
        pytest.skip("this disk takes the forms of a name for one")
    with pytest.raises(UserError, match="have the same name in two Unicode forms; remove"):
        match_by_stem(*folders)
    with pytest.raises(UserError, match="have the same name; remove"):
        match_by_stem(*files(tmp_path / "other", "trainA/x.png", "trainA/x.jpg"))


def test_unmatched_files_are_named(tmp_path):
    folders = files(tmp_path, "trainA/x.jpg", "trainA/only_a.jpg", "trainB/x.jpg", "trainB/b.png")
    with pytest.raises(UserError) as caught:
        match_by_stem(*folders)
    message = str(caught.value)
    for part in ("only_a.jpg", "b.png", "--skip_unmatched"):
        assert part in message
    assert "x.jpg" not in message
    assert "\n" not in message


def test_many_unmatched_files_do_not_flood_the_message(tmp_path):
    names = [f"trainA/{i:03d}.png" for i in range(100)]
    with pytest.raises(UserError) as caught:
        match_by_stem(*files(tmp_path, *names, "trainB/000.png"))
    assert "99" in str(caught.value)
    assert len(str(caught.value)) < 1500 + 12 * len(str(tmp_path))


def test_skip_unmatched_uses_the_rest_and_names_what_is_left_out(pictures, capsys):
    dataroot = pictures.two_folders(3)
    (Path(dataroot) / "trainB" / "p1.png").unlink()
    with pytest.raises(UserError, match=r"p1\.png"):
        aligned(dataroot)
    dataset = aligned(dataroot, "--skip_unmatched")
    assert [Path(a).name for a, _ in dataset.pairs] == ["p0.png", "p2.png"]
    assert "p1.png" in capsys.readouterr().out


def test_two_pictures_of_one_name_are_ambiguous(tmp_path):
    with pytest.raises(UserError, match="same name") as caught:
        match_by_stem(*files(tmp_path, "trainA/x.jpg", "trainA/x.png", "trainB/x.png"))
    assert "x.jpg" in str(caught.value)
    assert "x.png" in str(caught.value)


def test_no_pair_at_all(tmp_path):
    folders = files(tmp_path, "trainA/a.png", "trainB/b.png")
    with pytest.raises(UserError, match="no picture"):
        match_by_stem(*folders, skip_unmatched=True)


def test_pairs_that_the_limit_leaves_out_are_told(pictures, capsys):
    dataroot = pictures.two_folders(3)
    capsys.readouterr()
    assert len(aligned(dataroot, "--max_dataset_size", "2")) == 2
    sides = " and ".join(str(Path(dataroot) / side) for side in ("trainA", "trainB"))
    assert f"{sides}: 2 of 3 pairs (--max_dataset_size 2)\n" in capsys.readouterr().out


# --- What a user can get wrong --------------------------------------------------------------------


def test_missing_phase_says_what_was_looked_for_and_what_exists(pictures, tmp_path):
    dataroot = pictures.two_folders(1, phase="val")
    with pytest.raises(UserError) as caught:
        aligned(dataroot)
    message = str(caught.value)
    for part in ("--phase train", "train", "trainA", "trainB", "valA, valB"):
        assert part in message


def test_only_one_of_the_two_folders(pictures):
    dataroot = pictures.unaligned(num_b=0)
    with pytest.raises(UserError, match="trainB"):
        aligned(dataroot)


def test_both_layouts_at_once_is_said(pictures, capsys):
    dataroot = pictures.two_folders(1)
    pictures.save(pictures.draw(5, 128, 48), "pairs/train/joined.png")
    assert len(aligned(dataroot)) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert "trainA" in said
    assert "trainB" in said


def test_pair_of_different_sizes(pictures):
    dataroot = pictures.two_folders(1, size=(64, 48))
    pictures.save(pictures.draw(0, 60, 48), "pairs/trainB/p0.png")
    with pytest.raises(UserError) as caught:
        aligned(dataroot, "--preprocess", "crop", "--crop_size", "32")[0]
    message = str(caught.value)
    for part in ("p0.png", "64x48", "60x48", "--preprocess resize_and_crop"):
        assert part in message
    flags = ("--load_size", "40", "--crop_size", "32")
    sample = aligned(dataroot, "--preprocess", "resize_and_crop", *flags)[0]
    assert sample["A"].shape == sample["B"].shape


def test_pair_of_one_shape_in_two_resolutions_is_scaled_alike(pictures):
    dataroot = pictures.two_folders(1, size=(64, 48))
    pictures.save(pictures.draw(0, 128, 96), "pairs/trainB/p0.png")
    flags = ("--preprocess", "scale_width", "--load_size", "32", "--crop_size", "24")
    sample = aligned(dataroot, *flags)[0]
    assert sample["A"].shape == sample["B"].shape == (3, 24, 32)


@pytest.mark.parametrize("width, fits", [(318, True), (314, False)])
def test_pair_to_be_scaled_may_differ_in_shape_by_a_hundredth(width, fits, pictures):
    """As a picture and its copy in another size do by rounding."""
    root = pictures.two_folders(1, size=(320, 240))
    pictures.save(pictures.draw(0, width, 240), "pairs/trainB/p0.png")
    flags = ("--preprocess", "scale_width", "--load_size", "400", "--crop_size", "24")
    if fits:  # B alone would be 304 pixels high
        assert aligned(root, *flags)[0]["B"].shape == (3, 300, 400)
        return
    with pytest.raises(UserError, match=r"320x240 but its B is 314x240.*must have the same shape"):
        aligned(root, *flags)[0]


def test_picture_below_the_crop_is_named(pictures):
    dataset = aligned(pictures.two_folders(1), "--preprocess", "crop", "--crop_size", "56")
    with pytest.raises(UserError) as caught:
        dataset[0]
    for part in ("p0.png", "64x48", "--crop_size 56"):
        assert part in str(caught.value)


@pytest.mark.parametrize("layout, size", [("side_by_side", (50, 30)), ("two_folders", (50, 30))])
def test_rounding_is_announced_once(layout, size, pictures, capsys):
    dataset = aligned(getattr(pictures, layout)(3, size), "--preprocess", "none")
    said = [line for line in capsys.readouterr().out.splitlines() if "50x30" in line]
    assert len(said) == 1
    assert "p0.png" in said[0]
    height, width = dataset[0]["A"].shape[1:]
    assert (width % 4, height % 4) == (0, 0)
    assert f"{width}x{height}" in said[0]
    assert abs(width - 50) <= 2
    assert abs(height - 30) <= 2


def test_nothing_is_announced_where_nothing_is_rounded(pictures, capsys):
    aligned(pictures.two_folders(2), "--preprocess", "none")
    assert "rounded" not in capsys.readouterr().out


def test_a_bad_b_is_not_put_down_to_its_a(pictures):
    root = pictures.two_folders(1)
    (pictures.root / "pairs" / "trainB" / "p0.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        aligned(root)[0]
    assert str(Path("trainB") / "p0.png") in str(caught.value)
    assert "trainA" not in str(caught.value)
