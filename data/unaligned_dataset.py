"""Two sets of unpaired pictures, for CycleGAN."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any, ClassVar

from data.aligned_dataset import phase_folders
from data.base_dataset import BaseDataset, channels, missing_phase
from data.cache import Form, Key
from data.image_folder import has_pictures, is_image_file, make_dataset, visible_files
from util.files import composed


class UnalignedDataset(BaseDataset):
    """{A, B} with separate crops and flips, from DATAROOT/PHASEA/* and DATAROOT/PHASEB/*.

    Each is (C, H, W) in [-1, 1]. The length is that of the larger side. The index chooses A; B is
    drawn at random, so that the network learns no fixed pairs. With --serial_batches the index
    chooses B too.
    """

    gives: ClassVar = ("A", "B")

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        _, side_a, side_b = phase_folders(opt.dataroot, phase)
        return has_pictures(side_a) and has_pictures(side_b)

    @staticmethod
    def looks_paired(opt: argparse.Namespace) -> bool:
        """Whether most pictures have the same name as one of the other side."""
        _, *sides = phase_folders(opt.dataroot, opt.phase)
        a, b = (
            {composed(Path(f).stem) for f in visible_files(s) if is_image_file(f)} for s in sides
        )
        return 2 * len(a & b) > max(len(a), len(b))

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.num_channels = channels(opt, extends=type(self) is not UnalignedDataset)
        _, side_a, side_b = phase_folders(opt.dataroot, opt.phase)
        if not (has_pictures(side_a) and has_pictures(side_b)):
            raise missing_phase(opt, f"{side_a} and {side_b}")
        self.paths_a = make_dataset(side_a, opt.max_dataset_size)
        self.paths_b = make_dataset(side_b, opt.max_dataset_size)
        self.announce_rounding(self.paths_a + self.paths_b)

    def cacheable(self) -> dict[Key, list[Form]]:
        nc_a, nc_b = self.num_channels
        return {**self.forms(self.paths_a, nc_a), **self.forms(self.paths_b, nc_b)}

    def __len__(self) -> int:
        return max(len(self.paths_a), len(self.paths_b))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path_a = self.paths_a[index % len(self.paths_a)]
        index_b = index if self.opt.serial_batches else random.randrange(len(self.paths_b))
        path_b = self.paths_b[index_b % len(self.paths_b)]
        return {
            "A": self.load(path_a, self.num_channels[0]),
            "B": self.load(path_b, self.num_channels[1]),
            "A_paths": path_a,
            "B_paths": path_b,
        }
