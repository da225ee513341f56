"""The pictures that show whether training gets good: apart from those it learns from, as they are.

They come from DATAROOT/valA and valB, or val, or are held out of the training pictures
(--val_split). They are loaded as test.py loads them: no flips, cropped from the centre.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import Subset, default_collate

from data.aligned_dataset import looks_joined, phase_folders
from data.base_dataset import BaseDataset
from data.cache import cache_of
from data.image_folder import has_pictures, make_dataset
from data.loader import Batch, Loader
from data.reading import notes
from util import distributed
from util.distributed import Share
from util.errors import UserError, described
from util.runtime import isolated_randomness
from util.util import counted

HOW = "put pictures in {folders}, or hold some of the training pictures out with --val_split 0.1"


def split(opt: argparse.Namespace, dataset: BaseDataset, *, held_out: bool) -> list[str]:
    """Reduce a dataset to the pictures that --val_split holds out, or to all others.

    The choice depends on the seed and the file names alone. Returns the files that are held out.

    Raises:
        UserError: nothing is left to train on, or the dataset does not list its files.
    """
    lists = dataset.lists()
    if not lists:
        raise UserError(
            f"--val_split {opt.val_split:g}: --dataset_mode {opt.dataset_mode} does not say which "
            "lists its samples are made from (see BaseDataset.lists); put pictures in "
            f"{in_words(opt)} instead"
        )
    files = []
    for entries in lists:
        chosen = chosen_for_validation(entries, opt)
        files += [file for i in sorted(chosen) for file in files_of(entries[i])]
        entries[:] = [entry for i, entry in enumerate(entries) if (i in chosen) == held_out]
    return list(dict.fromkeys(files))


def chosen_for_validation(entries: Sequence[Any], opt: argparse.Namespace) -> set[int]:
    """The places of the entries to hold out: those whose names have the smallest hashes.

    So pictures that are added later change little. Pictures with the same name on both sides, which
    may show the same thing, are held out together.
    """

    def rank(place: int) -> str:
        path = Path(within(opt.dataroot, [*files_of(entries[place]), str(entries[place])][0]))
        name = Path(*path.parts[1:]).with_suffix("").as_posix()  # without trainA
        return sha256(f"{opt.seed} {name}".encode("utf-8", "surrogateescape")).hexdigest()

    number = max(1, round(opt.val_split * len(entries)))
    if number >= len(entries):
        raise UserError(
            f"--val_split {opt.val_split:g} of {counted(len(entries), 'picture')} leaves none to "
            "train on; add pictures, or leave --val_split out"
        )
    return set(sorted(range(len(entries)), key=rank)[:number])


def files_of(entry: Any) -> list[str]:
    """Those of an entry of `BaseDataset.lists`, whatever else is in it."""
    parts = entry if isinstance(entry, tuple) else (entry,)
    return list(dict.fromkeys(os.fspath(x) for x in parts if isinstance(x, str | os.PathLike)))


def all_files(dataset: BaseDataset) -> list[str]:
    """Those of all entries, as far as the dataset lists them."""
    return [f for entries in dataset.lists() for entry in entries for f in files_of(entry)]


def within(dataroot: str, file: str) -> str:
    """A file's path below the data, the same wherever they lie."""
    path = Path(file)
    return (path.relative_to(dataroot) if path.is_relative_to(dataroot) else path).as_posix()


def as_line(path: str) -> str:
    """A path as text in one line: names need not be valid Unicode."""
    return path.encode("utf-8", "backslashreplace").decode().replace("\n", r"\n")


class Pictures(NamedTuple):
    """What there is to validate on.

    Attributes:
        loader: of single pictures; None if there are none.
        key: differs where other pictures, or the same in another form, are validated on.
        held_out: all files that --val_split holds out, each path below the data as a line of text.
    """

    loader: Loader | None = None
    key: str = ""
    held_out: tuple[str, ...] = ()


def create_validation(opt: argparse.Namespace, kind: type[BaseDataset]) -> Pictures:
    """Find --val_size pictures to validate on, or else print how to get some."""
    split_off = opt.val_split > 0
    in_folders = opt.phase != "val" and any(map(has_pictures, phase_folders(opt.dataroot, "val")))
    if not (split_off or in_folders):
        print(f"no validation: {HOW.format(folders=in_words(opt))}")
        return Pictures()
    if not split_off and (why := unfit(opt)):
        print(f"no validation: {why}")
        return Pictures()
    try:
        dataset = as_in_testing(opt, kind, opt.phase if split_off else "val")
    except UserError as error:
        if split_off:
            raise
        print(f"no validation: {error}")
        return Pictures()
    held_out = split(opt, dataset, held_out=True) if split_off else []
    source = (
        f"held out by --val_split {opt.val_split:g}" if split_off else f"in {found_in(dataset)}"
    )
    number = len(dataset)
    chosen = reduce(dataset, opt.val_size)
    dataset.cache = cache_of(dataset.opt, dataset.cacheable())
    print(f"validation: {len(chosen)} of {counted(number, 'picture')} {source}")
    files = tuple(as_line(within(opt.dataroot, file)) for file in held_out)
    return Pictures(loader(opt, chosen), key_of(opt, chosen), files)


def unfit(opt: argparse.Namespace) -> str:
    """Why the pictures in val, or valA and valB, cannot be validated on; '' if they can."""
    joined, *sides = phase_folders(opt.dataroot, "val")
    lacking = [side for side in sides if not has_pictures(side)]
    if not has_pictures(joined):
        return f"{lacking[0]} has no pictures, but the other side has" if lacking else ""
    if opt.two_folders and not lacking:
        return ""
    paths = make_dataset(joined)
    if has_pictures(Path(opt.dataroot) / opt.phase) and not looks_joined(paths):
        paired = looks_joined(make_dataset(Path(opt.dataroot) / opt.phase))
        if paired and opt.dataset_mode == "aligned":
            return f"no picture in {joined} looks like two side by side"
    return ""


def key_of(opt: argparse.Namespace, dataset: Any) -> str:
    """Differs where the pictures do, or how they reach the network."""
    if isinstance(dataset, Subset):  # of a dataset that does not list its files
        found: list[Any] = list(dataset.indices)
    else:
        found = [(within(opt.dataroot, file), digest(file)) for file in all_files(dataset)]
    size = opt.crop_size if opt.preprocess.endswith("crop") else opt.load_size
    how = opt.preprocess, size, opt.direction, str(opt.range_A), str(opt.range_B)
    return sha256(repr((found, how)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def digest(file: str) -> str:
    """Of the size of a file and its first 64 KiB; '' if it cannot be read, which is told later."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(64 * 1024)
        return sha256(start + str(os.path.getsize(file)).encode()).hexdigest()
    except OSError:
        return ""


def load_examples(
    opt: argparse.Namespace, kind: type[BaseDataset], validation: Loader | None
) -> list[Batch]:
    """The --val_pictures pictures that are shown, as batches of one; [] if there are none.

    Only the main process, which shows them, has any.
    """
    if opt.val_pictures == 0 or not distributed.is_main():
        return []
    try:
        if validation is not None:
            dataset, source = validation.dataset, "the validation pictures"
            chosen = Subset(dataset, evenly(len(dataset), opt.val_pictures))
        else:
            dataset, source = as_in_testing(opt, kind, opt.phase), "the training pictures"
            chosen = reduce(dataset, opt.val_pictures)
    except UserError as error:
        print(f"pages show training batches, not the same pictures each time: {error}")
        return []
    batches = []
    for place in range(len(chosen)):
        try:
            batches.append(load_alone(chosen, place, opt.seed))
        except UserError as error:
            print(f"not shown: {error}")
    shown = f"{len(batches)} of {source}" if batches else "training batches"
    print(f"shown while training: {shown}")
    return batches


def load_alone(dataset: Any, place: int, seed: int) -> Batch:
    """A sample as a batch, in this process alone; UserError if it cannot be loaded."""
    try:
        with isolated_randomness(seed, 0, place):
            return Batch(default_collate([dataset[place]]), Share(0, 1, 1, 1.0))
    except UserError:
        raise
    except Exception as error:  # a user's own dataset may raise anything
        raise UserError(f"{type(dataset).__name__}, sample {place}: {described(error)}") from error
    finally:
        notes.take()  # what there is to say of the pictures is said in the first epoch


def reduce(dataset: BaseDataset, wanted: int) -> Any:
    """The dataset with at most `wanted` samples, evenly from all; only their files are cached."""
    lists = dataset.lists()
    for entries in lists:
        entries[:] = [entries[place] for place in evenly(len(entries), wanted)]
    return dataset if lists else Subset(dataset, evenly(len(dataset), wanted))


def as_in_testing(opt: argparse.Namespace, kind: type[BaseDataset], phase: str) -> BaseDataset:
    """The dataset as test.py would make it for this run.

    Raises UserError where it cannot be made, also for a dataset of another program's.
    """
    own = copy.copy(opt)
    own.isTrain, own.phase = False, phase
    own.no_flip = own.serial_batches = True
    if opt.preprocess.endswith("crop"):
        own.load_size = opt.crop_size
    try:
        return kind(own)
    except UserError:
        raise
    except Exception as error:  # a user's own dataset may raise anything
        raise UserError(f"--dataset_mode {opt.dataset_mode}: {described(error)}") from error


def loader(opt: argparse.Namespace, dataset: Any) -> Loader:
    """Load pictures one at a time, always in the same way."""
    found = Loader(
        dataset,
        batch_size=1,
        shuffle=False,
        num_workers=0,
        skip_bad=opt.skip_bad_images,
        replace_bad=False,
        advice="; --skip_bad_images leaves it out",
        seed=opt.seed,
    )
    found.notes = None  # the training pictures have told what there is to say
    return found


def evenly(number: int, wanted: int) -> list[int]:
    """At most `wanted` of the places 0, 1, ... below `number`, at even distances."""
    wanted = min(number, wanted)
    return [(2 * i + 1) * number // (2 * wanted) for i in range(wanted)]


def found_in(dataset: BaseDataset) -> str:
    """The folders of DATAROOT with the pictures of a dataset."""
    root = dataset.opt.dataroot
    files = (within(root, file) for file in all_files(dataset))
    folders = dict.fromkeys(Path(root) / file.split("/")[0] for file in files)
    return " and ".join(map(str, folders)) or in_words(dataset.opt)


def in_words(opt: argparse.Namespace) -> str:
    """The folders where validation pictures belong."""
    joined, side_a, side_b = phase_folders(opt.dataroot, "val")
    is_joined = not opt.two_folders and any(
        has_pictures(f) for f in (joined, Path(opt.dataroot) / opt.phase)
    )
    return f"{joined}" if is_joined else f"{side_a} and {side_b}"
