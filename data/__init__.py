"""Datasets by name, and the loader that feeds a run.

A dataset is one file, data/NAME_dataset.py with a class NameDataset (see base_dataset.py).
"""

from __future__ import annotations

import argparse
import math

from data.base_dataset import BaseDataset
from data.loader import Loader
from util.registry import Registry

registry = Registry("data", "dataset", BaseDataset, "--dataset_mode")


def create_dataset(opt: argparse.Namespace, max_images: float = math.inf) -> Loader:
    """The loader over the dataset that --dataset_mode names, or over its first `max_images`."""
    loader = Loader(
        registry.find(opt.dataset_mode)(opt),
        batch_size=opt.batch_size,
        shuffle=not opt.serial_batches,
        num_workers=opt.num_threads,
        max_images=max_images,
        skip_bad=opt.isTrain and opt.skip_bad_images,
        seed=opt.seed,
    )
    print(f"dataset [{opt.dataset_mode}]: {len(loader)} images")
    return loader
