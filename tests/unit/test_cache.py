"""--cache changes the speed of loading and nothing else."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import data
import models
from data.cache import PictureCache, create_cache, ram_budget
from options.train_options import TrainOptions


def samples(root, *flags, epochs=2):
    """All tensors of two epochs as the loader gives them."""
    root = Path(root)
    words = ["--dataroot", str(root), "--load_size", "40", "--crop_size", "32", "--seed", "5"]
    words += ["--checkpoints_dir", str(root / "runs"), "--netG", "resnet_6blocks", *flags]
    loader = data.create_dataset(TrainOptions(models.registry, data.registry).parse(words))
    found = []
    for epoch in range(1, epochs + 1):
        loader.set_epoch(epoch)
        found += [(batch["A"], batch["B"], batch["A_paths"]) for batch in loader]
    return loader.dataset, found


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) and p == q
        for (a, b, p), (c, d, q) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("mode", ["ram", "disk"])
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("layout", ["aligned", "grey", "unaligned", "scaled"])
def test_cached_samples_are_the_same(pictures, mode, workers, layout):
    model = "cycle_gan" if layout == "unaligned" else "pix2pix"
    root = (
        pictures.unaligned(3, 4, size=(48, 36))
        if layout == "unaligned"
        else pictures.side_by_side(4, (48, 36))
    )
    flags = ["--model", model, "--netD", "pixel", "--norm", "instance", "--num_threads", workers]
    flags += ["--input_nc", "1"] if layout == "grey" else []
    flags += ["--preprocess", "scale_width_and_crop"] if layout == "scaled" else []
    _, plain = samples(root, *flags, "--cache", "none")
    dataset, cached = samples(root, *flags, "--cache", mode)
    assert equal(plain, cached)
    flags_set = dataset.cache._block()[: len(dataset.cache.places)]
    assert flags_set.all(), "every picture is in the cache after an epoch, whoever loaded it"


def test_the_processes_of_a_machine_share_the_budget(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    alone = ram_budget()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert ram_budget() == alone / 4


def test_a_disk_cache_is_used_again_until_a_picture_changes(pictures):
    root = pictures.side_by_side(3, (48, 36))
    flags = ("--model", "pix2pix", "--netD", "pixel", "--num_threads", "0", "--cache", "disk")
    first, _ = samples(root, *flags)
    second, _ = samples(root, *flags, epochs=0)
    assert second.cache.file == first.cache.file
    assert second.cache._block()[:3].all(), "filled by the run before"

    picture = next(Path(root, "train").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    third, _ = samples(root, *flags, epochs=0)
    assert third.cache.file != first.cache.file


def test_what_does_not_fit_is_not_cached_and_says_so(tmp_path, capsys):
    huge = {("a.png", "3"): [((10**6, 10**6), 3)]}
    assert create_cache("auto", huge, tmp_path, "") is None
    assert capsys.readouterr().out == ""
    assert create_cache("ram", huge, tmp_path, "") is None
    assert "--cache ram: the pictures need 3000.0 GB" in capsys.readouterr().out


def test_none_and_empty_make_no_cache(tmp_path):
    assert create_cache("none", {("a", "3"): [((4, 4), 3)]}, tmp_path, "") is None
    assert create_cache("ram", {}, tmp_path, "") is None


def test_pictures_that_are_not_listed_pass_through():
    cache = PictureCache({("a", "3"): [((2, 2), 3)]})
    assert cache.get(("b", "3"), lambda: ["made"]) == ["made"]
    assert math.prod(cache._block().shape) == 1 + 2 * 2 * 3
