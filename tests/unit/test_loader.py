"""Batches: the same however they are loaded, different in each epoch; errors stay one line."""

from __future__ import annotations

import os
import pickle
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils import data as torch_data

import data
import models
from data.loader import SHM_FULL, DataError, Loader, SeededDataset, workers_with_room
from options.namespace import Options
from options.train_options import TrainOptions
from util.errors import UserError

SMALL = ("--load_size", "28", "--crop_size", "24", "--netG", "resnet_6blocks")


class Noise(torch_data.Dataset):
    """Samples that show every random source a dataset may draw from."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> dict:
        draws = [random.random(), np.random.rand(), torch.rand(()).item()]
        return {"A": torch.tensor([index, *draws], dtype=torch.float64), "A_paths": str(index)}


class Failing(torch_data.Dataset):
    """Its third sample cannot be read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        if index == 2:
            raise UserError("photos/p2.png: cannot be read as a picture; repair or remove it")
        return {"A": torch.full((3, 4, 4), float(index))}


class Wanting(torch_data.Dataset):
    """Reads an option that no flag sets."""

    reads = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        self.reads += 1
        return {"A": torch.full((3, 4, 4), Options(ngf=4).lambda_blur)}


class NeedsTwo(Exception):
    """Cannot be created from its message alone, so it cannot be unpickled."""

    def __init__(self, name: str, count: int):
        super().__init__(f"{name} has {count}")


def throw(error: Exception) -> None:
    raise error


# What someone's own dataset may do, and what is said of it.
BUGS = {
    "Buggy, sample 2: NeedsTwo: masks has 7": lambda: throw(NeedsTwo("masks", 7)),
    "Buggy, sample 2: ValueError: first line, then the cause": lambda: throw(
        ValueError("first line,\n\nthen the cause")
    ),
    "Buggy, sample 2: AssertionError": lambda: throw(AssertionError()),
    "Buggy, sample 2: GeneratorExit: left": lambda: throw(GeneratorExit("left")),
    "Buggy, sample 2: ZeroDivisionError: division by zero": lambda: 1 / 0,
    "Buggy, sample 2: KeyError: 'mask'": lambda: {}["mask"],
    "Buggy, sample 2: SystemExit: no masks": lambda: sys.exit("no masks"),
    "Buggy, sample 2: TypeError: a sample must be a dict, but this is a tuple": lambda: (1, 2),
    "out of memory (Buggy, sample 2: MemoryError": lambda: throw(MemoryError()),
    SHM_FULL: lambda: throw(RuntimeError("unable to allocate shared memory(shm) for file </t>")),
    "samples of one batch: TypeError: default_collate: batch must": lambda: {"A": object()},
}


def bug(message: str) -> Any:
    return BUGS[message]()


class Buggy(torch_data.Dataset):
    """Its third sample comes from a call that fails."""

    def __init__(self, call: Callable[[], Any]):
        self.call = call

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.call() if index == 2 else {"A": torch.zeros(3, 4, 4)}


class Sized(torch_data.Dataset):
    """Pictures of which one has another size, under the key `odd`."""

    def __init__(self, odd: str):
        self.odd = odd

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        sample = {"A": torch.zeros(3, 32, 32), "B": torch.zeros(3, 32, 32)}
        if index == 1:
            sample[self.odd] = torch.zeros(3, 32, 64)
        return sample


def loader(dataset, num_workers: int = 0, **changes) -> Loader:
    settings = {"batch_size": 2, "shuffle": True, "seed": 1, **changes}
    return Loader(dataset, num_workers=num_workers, **settings)


def epoch(batches: Loader, number: int) -> torch.Tensor:
    """All samples of an epoch, one per row."""
    batches.set_epoch(number)
    return torch.cat([batch["A"] for batch in batches])


@pytest.fixture(scope="module")
def in_main_process() -> dict[int, torch.Tensor]:
    batches = loader(Noise())
    return {number: epoch(batches, number) for number in (1, 2, 3)}


@pytest.mark.parametrize("num_workers", [1, 2, 9])
def test_nothing_depends_on_the_number_of_workers(num_workers, in_main_process):
    batches = loader(Noise(), num_workers)
    for number in (1, 2, 3):  # the workers live on from epoch to epoch
        assert torch.equal(epoch(batches, number), in_main_process[number])


def test_augmentation_depends_on_seed_epoch_and_index_alone(in_main_process):
    """Not on order, on what was drawn before, or on the batch."""
    other_order = loader(Noise(), shuffle=False, batch_size=3)
    for number in (3, 1):
        samples = in_main_process[number]
        assert torch.equal(epoch(other_order, number), samples[samples[:, 0].argsort()])


def test_epochs_and_seeds_differ(in_main_process):
    by_index = [samples[samples[:, 0].argsort()] for samples in in_main_process.values()]
    by_index.append(epoch(loader(Noise(), shuffle=False, seed=2), 1))
    draws = torch.stack(by_index)[..., 1:]
    assert len(draws.flatten().unique()) == draws.numel()  # no number comes twice
    orders = {tuple(samples[:, 0].tolist()) for samples in in_main_process.values()}
    assert len(orders) == 3
    assert tuple(epoch(loader(Noise(), seed=2), 1)[:, 0].tolist()) not in orders


def test_every_sample_comes_once(in_main_process):
    for samples in in_main_process.values():
        assert Counter(samples[:, 0].tolist()) == Counter(range(7))


def test_without_shuffling_samples_come_in_order():
    batches = loader(Noise(), shuffle=False)
    assert epoch(batches, 1)[:, 0].tolist() == epoch(batches, 5)[:, 0].tolist() == [*range(7)]


def test_an_epoch_that_was_left_early_can_be_repeated(in_main_process):
    for num_workers in (0, 2):
        batches = loader(Noise(), num_workers)
        batches.set_epoch(1)
        next(iter(batches))
        assert torch.equal(epoch(batches, 2), in_main_process[2])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_random_sources_of_the_program_are_left_alone(num_workers):
    def state() -> tuple:
        return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()

    batches = loader(Noise(), num_workers)
    before = state()
    epoch(batches, 1)
    for was, now in zip(before, state(), strict=True):
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now


def test_length_counts_images():
    assert len(loader(Noise())) == 7
    assert len(loader(Noise(), max_images=3)) == 3
    assert len(loader(Noise(), max_images=30)) == 7
    assert [len(batch["A"]) for batch in loader(Noise(), batch_size=3)] == [3, 3, 1]


def test_first_images_only():
    assert epoch(loader(Noise(), shuffle=False, max_images=3), 1)[:, 0].tolist() == [0, 1, 2]


def shares(monkeypatch, size: int, equal_shares: bool, start=0, number=1, **changes) -> list:
    """Per process, (indices, images in all, weight) of each batch of an epoch, from `start` on."""
    given = []
    for rank in range(size):
        processes = SimpleNamespace(rank=lambda r=rank: r, size=lambda: size, highest=int)
        monkeypatch.setattr("data.loader.distributed", processes)
        batches = loader(Noise(), equal_shares=equal_shares, **changes)
        batches.set_epoch(number, start)
        given.append([(b["A"][:, 0].tolist(), b.share.num_all, b.share.weight) for b in batches])
        in_all = sum(step_images for _, step_images, _ in given[-1])
        assert len(batches) == start + in_all and len(batches._batches_of) == len(given[-1])
    return given


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("start", [0, 2, 6, 7])
def test_equal_shares(size, batch_size, start, monkeypatch, in_main_process):
    """Each process has equally many of each batch; together they are the order, to near its end."""
    given = shares(monkeypatch, size, True, start, batch_size=batch_size)
    together = []
    for batch in zip(*given, strict=True):
        indices, in_all, weights = zip(*batch, strict=True)
        assert len({len(share) for share in indices}) == 1 and set(weights) == {1.0}
        assert set(in_all) == {sum(len(share) for share in indices)}
        together += chain(*indices)
    order = in_main_process[1][:, 0].tolist()
    assert together == order[start : 7 - (7 - start) % size]


def test_unequal_shares_leave_none_out(monkeypatch):
    given = shares(monkeypatch, 2, False, batch_size=2, shuffle=False)
    assert given[0] == [([0, 1], 4, 1.0), ([4, 5], 3, 4 / 3)]
    assert given[1] == [([2, 3], 4, 1.0), ([6], 3, 2 / 3)]


def test_epochs_leave_out_different_images(monkeypatch):
    left_out = set()
    for number in range(1, 9):
        given = shares(monkeypatch, 2, True, number=number)
        taken = {index for batches in given for indices, *_ in batches for index in indices}
        assert len(taken) == 6
        left_out |= {*range(7)} - taken
    assert len(left_out) > 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_users_error_keeps_its_one_line(num_workers):
    with pytest.raises(UserError) as caught:
        list(loader(Failing(), num_workers))
    message = str(caught.value)
    del caught  # and with it, now and not in some later garbage collection, the workers
    assert message == "photos/p2.png: cannot be read as a picture; repair or remove it"


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_missing_option_is_no_bad_picture(num_workers, skip_bad):
    dataset = Wanting()
    with pytest.raises(UserError) as caught:
        list(loader(dataset, num_workers, skip_bad=skip_bad, advice="; skip them"))
    message = str(caught.value)
    del caught
    assert message.startswith(f"{__file__} reads opt.lambda_blur, which is not a flag")
    assert message.endswith("parser.add_argument('--lambda_blur', ...)")
    assert num_workers or dataset.reads == 2  # of the first batch, each once


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "skips", [{}, {"skip_bad": True}, {"skip_bad": True, "replace_bad": False}]
)
@pytest.mark.parametrize("message", BUGS)
def test_a_bug_in_a_dataset_keeps_its_text(message, skips, num_workers):
    """It is not a bad picture, so nothing replaces it; its traceback is kept as the cause."""
    batches = loader(
        Buggy(partial(bug, message)),
        num_workers,
        batch_size=1,
        shuffle=False,
        advice="; skip it",
        **skips,
    )
    given = iter(batches)
    assert len([next(given), next(given)]) == 2
    with pytest.raises(DataError) as caught:
        next(given)
    told, cause = str(caught.value), str(caught.value.__cause__)
    del caught, given
    assert told.startswith(message)
    assert "skip it" not in told
    assert "Traceback (most recent call last)" in cause


def test_memory_that_runs_out_in_loading_names_flags_of_both_programs():
    with pytest.raises(DataError) as caught:
        list(loader(Buggy(partial(throw, MemoryError()))))
    flags = re.findall(r"--\w+", str(caught.value))
    assert flags == ["--num_threads", "--batch_size", "--load_size", "--crop_size"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_file_that_another_library_cannot_read_is_a_bad_picture(num_workers):
    broken = Buggy(partial(Image.open, __file__))
    with pytest.raises(DataError, match=r"^Buggy, sample 2: UnidentifiedImageError: .*; skip it$"):
        list(loader(broken, num_workers, advice="; skip it"))
    assert len(list(loader(broken, num_workers, batch_size=1, skip_bad=True))) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    "name, message", [("SIGKILL", "has died"), ("SIGBUS", "--shm-size .*--ipc=host")]
)
def test_a_process_that_is_killed(name, message):
    """The second is what writing to shared memory that is full ends in."""
    with pytest.raises(DataError, match=f"{message}.*--num_threads"):
        list(loader(Buggy(partial(signal.raise_signal, signal.Signals[name])), 1))


@pytest.mark.parametrize(
    "free, workers",
    [(10 * 192, 4), (10 * 192 - 1, 3), (6 * 192, 2), (4 * 192 - 1, 0), (192, 0), (0, 0)],
)
def test_workers_for_whose_batches_there_is_room(free, workers, capsys):
    """Two samples of 96 bytes are a batch; two batches are with the main process."""
    told = ""
    if workers < 4:
        told = f"loading processes: {workers} instead of 4, since /dev/shm has 0 MiB left"
    assert workers_with_room(4, Pair(), 2, free) == workers
    assert capsys.readouterr().out.startswith(told)


@pytest.mark.parametrize(
    "sample",
    [
        lambda index: {"more": {"mask": torch.zeros(3, 2, 2)}, "A_paths": "x"},
        lambda index: {"frames": [torch.zeros(1, 2, 2), torch.zeros(2, 2, 2)]},
        lambda index: {"A": torch.zeros(3, 2, 2) if index == 2 else torch.zeros(1)},
    ],
)
def test_all_that_a_worker_hands_over_is_counted(sample, capsys):
    """48 bytes each, in whatever form; of samples of several sizes the largest counts."""
    assert workers_with_room(4, Made(sample), 1, 10 * 48) == 4
    assert workers_with_room(4, Made(sample), 1, 10 * 48 - 1) == 3


class Made(torch_data.Dataset):
    def __init__(self, make: Callable[[int], dict]):
        self.make = make

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        return self.make(index)


class Pair(torch_data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        return {"A": torch.zeros(3, 2, 2), "B": np.zeros((3, 2, 2), np.float32), "A_paths": "x"}


class Unreadable(torch_data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        raise UserError("photos/p0.png: cannot be read as a picture")


def test_a_sample_that_cannot_be_read_is_told_in_its_time():
    samples = SeededDataset(Unreadable(), seed=1, epoch=torch.tensor(1), replace_bad=False)
    assert workers_with_room(4, samples, batch_size=1, free=0) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_next_sample_stands_in_for_a_bad_one(num_workers, capsys):
    batches = loader(Failing(), num_workers, shuffle=False, skip_bad=True)
    for number in (1, 2):
        assert epoch(batches, number)[:, 0, 0, 0].tolist() == [0, 1, 3, 3]
    assert capsys.readouterr().out.count("skipped, 1 so far: photos/p2.png") == 1  # at first


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_a_bad_sample_is_left_out_if_nothing_may_replace_it(batch_size, num_workers, capsys):
    batches = loader(
        Failing(),
        num_workers,
        batch_size=batch_size,
        shuffle=False,
        skip_bad=True,
        replace_bad=False,
    )
    assert epoch(batches, 1)[:, 0, 0, 0].tolist() == [0, 1, 3]
    told = "photos/p2.png: cannot be read as a picture; repair or remove it"
    assert batches.skipped == {told: 1}
    assert capsys.readouterr().out == f"skipped, 1 so far: {told}\n"


@pytest.mark.parametrize("replace_bad", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_no_good_sample_at_all(replace_bad, batch_size):
    samples = torch_data.Subset(Failing(), [2, 2])
    with pytest.raises(DataError, match=r"^no picture can be loaded: photos/p2.png: [^;]*; repair"):
        list(loader(samples, batch_size=batch_size, skip_bad=True, replace_bad=replace_bad))


@pytest.mark.parametrize("odd", ["A", "B"])
def test_sizes_that_form_no_batch(odd):
    with pytest.raises(UserError) as caught:
        list(loader(Sized(odd)))
    for part in ("32x32", "64x32", "--batch_size 1", "--preprocess"):
        assert part in str(caught.value)
    assert len(list(loader(Sized(odd), batch_size=1))) == 2


# --- With the real datasets -----------------------------------------------------------------------


def options(dataroot: str, *flags: str):
    line = ["--dataroot", dataroot, "--model", "pix2pix", "--seed", "5", *SMALL, *flags]
    return TrainOptions(models.registry, data.registry).parse(line)


def test_pictures_are_alike_for_any_number_of_workers(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataroot = pictures.two_folders(4)
    epochs = {}
    for num_threads in (0, 2):
        batches = data.create_dataset(options(dataroot, "--num_threads", str(num_threads)))
        for number in (1, 2):
            batches.set_epoch(number)
            epochs[num_threads, number] = [
                (Path(batch["A_paths"][0]).name, batch["A"], batch["B"]) for batch in batches
            ]
    for number in (1, 2):
        for here, there in zip(epochs[0, number], epochs[2, number], strict=True):
            assert here[0] == there[0]
            assert torch.equal(here[1], there[1])
            assert torch.equal(here[2], there[2])
    first, second = (torch.cat([a for _, a, _ in sorted(epochs[0, number])]) for number in (1, 2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_workers_can_be_spawned(cache, pictures, tmp_path, monkeypatch):
    """As on Windows and macOS: dataset, cache, sampler and collate go to the workers by pickle."""
    monkeypatch.chdir(tmp_path)
    dataroot = pictures.two_folders(2)
    batches = data.create_dataset(options(dataroot, "--num_threads", "0", "--cache", "none"))
    samples = torch.cat([batch["A"] for batch in batches])
    spawning = data.create_dataset(options(dataroot, "--num_threads", "1", "--cache", cache))
    spawning._batches.multiprocessing_context = "spawn"
    assert torch.equal(torch.cat([batch["A"] for batch in spawning]), samples)
    assert spawning.dataset.cache.checksums().all(), "the worker has filled what this process sees"
    assert pickle.loads(pickle.dumps(spawning.dataset)).pairs == spawning.dataset.pairs
