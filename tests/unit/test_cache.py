"""--cache changes the speed of loading and nothing else."""

import errno
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import data
import models
from data.cache import Form, PictureCache, cgroups_free, create_cache, ram_budget
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
@pytest.mark.parametrize("layout", ["aligned", "grey", "unaligned", "scaled", "colours"])
def test_cached_samples_are_the_same(pictures, mode, workers, layout):
    model = {"unaligned": "cycle_gan", "colours": "colorization"}.get(layout, "pix2pix")
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
    kept = dataset.cache.checksums()
    assert len(kept) == (3 + 4 if layout == "unaligned" else 4)
    assert kept.all(), "every picture is in the cache after an epoch, whoever loaded it"


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
    assert second.cache.checksums().all(), "filled by the run before"

    picture = next(Path(root, "train").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    third, _ = samples(root, *flags, epochs=0)
    assert third.cache.file != first.cache.file


def test_a_disk_cache_is_not_used_again_where_side_b_changed(pictures):
    root = pictures.two_folders(2, (48, 36))
    flags = ("--model", "pix2pix", "--netD", "pixel", "--num_threads", "0", "--cache")
    samples(root, *flags, "disk")
    pictures.save(pictures.draw(50, 48, 36), "pairs/trainB/p1.png")
    _, cached = samples(root, *flags, "disk")
    assert equal(cached, samples(root, *flags, "none")[1])


def test_a_disk_cache_is_not_used_again_with_other_channels(pictures):
    """As many bytes of each picture, but in another order."""
    root = pictures.side_by_side(2, (48, 36))
    flags = ("--model", "pix2pix", "--netD", "pixel", "--num_threads", "0", "--cache")
    samples(root, *flags, "disk", "--input_nc", "1", "--output_nc", "3")
    other = ("--input_nc", "3", "--output_nc", "1")
    _, cached = samples(root, *flags, "disk", *other)
    assert equal(cached, samples(root, *flags, "none", *other)[1])


ONE = {("a.png", "3"): [Form((4, 4), 3)]}


def picture(level):
    return [torch.full((3, 4, 4), level, dtype=torch.uint8)]


def test_pixels_that_a_crash_has_lost_are_made_again(tmp_path):
    first = create_cache("disk", ONE, tmp_path, "")
    assert (first.get(("a.png", "3"), lambda: picture(7))[0] == 7).all()
    content = bytearray(first.file.read_bytes())
    content[-10:] = bytes(10)  # a page that was not written, while the checksum was
    first.file.write_bytes(content)
    second = create_cache("disk", ONE, tmp_path, "")
    assert second.file == first.file
    assert (second.get(("a.png", "3"), lambda: picture(7))[0] == 7).all()
    third = create_cache("disk", ONE, tmp_path, "")
    assert (third.get(("a.png", "3"), lambda: picture(9))[0] == 7).all(), "there is no need to"


def test_a_file_that_another_run_makes_at_the_same_time_harms_none(tmp_path, monkeypatch):
    first = create_cache("disk", ONE, tmp_path, "")
    first.get(("a.png", "3"), lambda: picture(7))
    with monkeypatch.context() as unseen:  # the other run had looked before it was there
        unseen.setattr(Path, "exists", lambda _: False)
        second = create_cache("disk", ONE, tmp_path, "")
    assert (first.get(("a.png", "3"), lambda: picture(9))[0] == 7).all()
    assert (second.get(("a.png", "3"), lambda: picture(7))[0] == 7).all()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system has no such call")
def test_a_disk_that_is_full_turns_the_cache_off(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    assert create_cache("disk", ONE, tmp_path, "") is None
    assert "No space left on device; the pictures are not cached" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_space_of_a_disk_cache_is_taken_at_once(tmp_path):
    if not hasattr(os, "posix_fallocate") or os.name == "nt":
        pytest.skip("this system has no such call")
    large = {("a.png", "3"): [Form((1000, 1000), 3)]}
    file = create_cache("disk", large, tmp_path, "").file
    assert file.stat().st_blocks * 512 >= file.stat().st_size == 4 + 3_000_000


def test_files_of_a_month_ago_are_deleted_when_a_new_one_is_made(tmp_path):
    days = {"old": 31, "used": 31, "rested": 29, "new": 0}
    files = {name: create_cache("disk", ONE, tmp_path, name).file for name in days}
    for name, file in files.items():
        then_s = time.time() - days[name] * 24 * 3600
        os.utime(file, (then_s, then_s))
    create_cache("disk", ONE, tmp_path, "used")
    newest = create_cache("disk", ONE, tmp_path, "newest").file
    assert set(tmp_path.iterdir()) == {*(files[n] for n in ("used", "rested", "new")), newest}


def test_a_disk_cache_takes_half_of_what_is_free(tmp_path, monkeypatch, capsys):
    """4 bytes of a checksum and 48 of pixels; a file that is there already needs no room."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * 52))
    assert create_cache("disk", ONE, tmp_path, "") is not None
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * 52 - 1))
    assert create_cache("disk", ONE, tmp_path, "") is not None
    assert create_cache("disk", ONE, tmp_path, "other") is None
    assert "--cache disk: the pictures need" in capsys.readouterr().out


@pytest.mark.parametrize("new_time", [True, False])
def test_what_is_cached_of_a_file_goes_by_its_time_and_its_size(new_time, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    os.utime(file, (1e9, 1e9))
    key = {(str(file), "3"): [Form((4, 4), 3)]}
    first = create_cache("disk", key, tmp_path / "cache", "").file
    assert create_cache("disk", key, tmp_path / "cache", "").file == first
    assert create_cache("disk", key, tmp_path / "cache", "settings").file != first
    file.write_bytes(b"two" if new_time else b"three")
    os.utime(file, (1e9 + new_time, 1e9 + new_time))
    assert create_cache("disk", key, tmp_path / "cache", "").file != first


V2 = ("0::/job/step", "", ("memory.max", "memory.current", "inactive_file"))
V1 = (
    "9:cpu,memory:/job/step",
    "memory",
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@pytest.mark.parametrize("line, below, names", [V2, V1])
def test_limits_of_containers_count(line, below, names, tmp_path):
    """1000 bytes less 600 of which 50 give way in a job; its step has no limit of its own."""
    (tmp_path / "membership").write_text(f"1:name=systemd:/\n{line}\n")
    limit, used, cached = names
    step = tmp_path / below / "job" / "step"
    step.mkdir(parents=True)
    for folder, most in ((step.parent, "1000"), (step, "max" if below == "" else str(1 << 62))):
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text("600\n")
        (folder / "memory.stat").write_text(f"anon 500\n{cached} 50\n")
    assert min(cgroups_free(tmp_path, tmp_path / "membership")) == 450


def test_the_least_of_what_is_free_is_shared(monkeypatch):
    monkeypatch.setattr("data.cache.cgroups_free", lambda: [4000])
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert ram_budget() == 1000


def test_what_does_not_fit_is_not_cached_and_says_so(tmp_path, capsys):
    huge = {("a.png", "3"): [Form((10**6, 10**6), 3)]}
    assert create_cache("auto", huge, tmp_path, "") is None
    assert capsys.readouterr().out == ""
    assert create_cache("ram", huge, tmp_path, "") is None
    assert "--cache ram: the pictures need 3000.0 GB" in capsys.readouterr().out


def test_none_and_empty_make_no_cache(tmp_path):
    assert create_cache("none", {("a", "3"): [Form((4, 4), 3)]}, tmp_path, "") is None
    assert create_cache("ram", {}, tmp_path, "") is None


def test_pictures_that_are_not_listed_pass_through():
    cache = PictureCache({("a", "3"): [Form((2, 2), 3)]})
    assert cache.get(("b", "3"), lambda: ["made"]) == ["made"]
    assert math.prod(cache._block().shape) == 4 + 2 * 2 * 3
