"""Datasets by name, and the loader that feeds a run.

A dataset is one file, data/NAME_dataset.py with a class NameDataset (see base_dataset.py).
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

from data.base_dataset import BaseDataset, skip_advice
from data.cache import cache_of
from data.loader import Batch, Loader
from data.validation import Pictures, create_validation, load_examples, split
from util import distributed
from util.errors import ReportedElsewhere, UserError
from util.registry import Registry
from util.runtime import resolve_device
from util.util import counted

registry = Registry("data", "dataset", BaseDataset, "--dataset_mode")


class Judged(NamedTuple):
    """The pictures from which people see how good a run gets.

    Attributes:
        validation: those to validate on.
        examples: those to show while training, as batches of one; in the main process.
    """

    validation: Pictures
    examples: list[Batch]


def create_judged(opt: argparse.Namespace) -> Judged:
    """Find and load these pictures; prints where they come from."""
    kind = registry.find(opt.dataset_mode)
    validation = create_validation(opt, kind)
    return Judged(validation, load_examples(opt, kind, validation.loader))


def chosen(loader: Loader) -> str:
    """'50 of 60 pictures (--num_test inf takes all)', or '' if the loader takes all."""
    if loader.num_images == len(loader.dataset):
        return ""
    return f"{loader.num_images} of {len(loader.dataset)} pictures (--num_test inf takes all)"


def create_dataset(opt: argparse.Namespace, max_images: float = math.inf) -> Loader:
    """The loader of the dataset that --dataset_mode names, or of its first `max_images`.

    Raises:
        UserError: --norm syncbatch has fewer images than processes.
    """
    dataset = registry.find(opt.dataset_mode)(opt)
    if opt.isTrain:
        if opt.val_split:
            split(opt, dataset, held_out=False)
        dataset.cache = cache_of(opt, dataset.cacheable())
    loader = Loader(
        dataset,
        batch_size=opt.batch_size,
        shuffle=not opt.serial_batches,
        num_workers=opt.num_threads,
        max_images=max_images,
        equal_shares=opt.norm == "syncbatch",  # a smaller share would distort the joint statistics
        skip_bad=opt.skip_bad_images,
        replace_bad=opt.isTrain,  # in testing, that would give a second result of the same picture
        pin_memory=resolve_device(opt.device).type == "cuda",
        advice=skip_advice(opt),
        seed=opt.seed,
    )
    images, processes = chosen(loader) or counted(loader.num_images, "image"), distributed.size()
    if opt.isTrain and opt.weight_maps:
        images += f" ({dataset.num_weighted()} with a weight map)"
    if len(loader) < loader.num_images:
        if len(loader) == 0:
            error = UserError if distributed.is_main() else ReportedElsewhere
            raise error(
                f"--dataroot {opt.dataroot}: {images}, but --norm syncbatch needs at least one for "
                f"each of {processes} processes; start fewer processes, or pass --norm instance"
            )
        images += (
            f", {len(loader)} of them in each epoch: --norm syncbatch needs the same number in "
            f"each of {processes} processes"
        )
    print(f"dataset [{opt.dataset_mode}]: {images}")
    return loader
