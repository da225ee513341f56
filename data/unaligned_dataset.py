"""Two sets of unpaired pictures, for CycleGAN."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any, ClassVar

from data.aligned_dataset import phase_folders
from data.augment import GEOMETRY, TONES
from data.base_dataset import BaseDataset, missing_phase, sides
from data.cache import Form, Key
from data.image_folder import (
    has_pictures,
    is_image_file,
    kind_in,
    make_dataset,
    visible_files,
)
from util.files import composed


class UnalignedDataset(BaseDataset):
    """{A, B} with separate crops and flips, from DATAROOT/PHASEA/* and DATAROOT/PHASEB/*.

    Each is (C, H, W) in [-1, 1]. The length is that of the larger side. The index chooses A; B is
    drawn at random, so that the network learns no fixed pairs. With --serial_batches the index
    chooses B too.
    """

    gives: ClassVar = ("A", "B")
    augments: ClassVar = (*GEOMETRY, *TONES)

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        _, *sides = phase_folders(opt.dataroot, phase)
        return any(map(has_pictures, sides))

    @staticmethod
    def facts(opt: argparse.Namespace) -> dict[str, Any]:
        _, side_a, side_b = phase_folders(opt.dataroot, opt.phase)
        return {"two_folders": True, "files_A": kind_in(side_a), "files_B": kind_in(side_b)}

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
        self.sides = sides(opt, extends=type(self) is not UnalignedDataset)
        joined, side_a, side_b = phase_folders(opt.dataroot, opt.phase)
        if not (has_pictures(side_a) and has_pictures(side_b)):
            layout = (
                f"--dataset_mode {opt.dataset_mode} needs pictures in both {side_a} and {side_b}"
            )
            if opt.isTrain and has_pictures(joined):
                layout += f"; if those in {joined} are pairs side by side, pass --model pix2pix"
            raise missing_phase(opt, layout, [side_a, side_b])
        self.paths_a = make_dataset(side_a, opt.max_dataset_size)
        self.paths_b = make_dataset(side_b, opt.max_dataset_size)
        for path, side in zip((self.paths_a[0], self.paths_b[0]), self.sides, strict=True):
            self.check_channels(path, side)
        self.announce_padding(self.paths_a + self.paths_b)

    def cacheable(self) -> dict[Key, list[Form]]:
        side_a, side_b = self.sides
        return {**self.forms(self.paths_a, side_a), **self.forms(self.paths_b, side_b)}

    def lists(self) -> list[list[Any]]:
        return [self.paths_a, self.paths_b]

    def __len__(self) -> int:
        return max(len(self.paths_a), len(self.paths_b))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path_a = self.paths_a[index % len(self.paths_a)]
        index_b = index if self.opt.serial_batches else random.randrange(len(self.paths_b))
        path_b = self.paths_b[index_b % len(self.paths_b)]
        return {
            "A": self.load(path_a, self.sides[0]),
            "B": self.load(path_b, self.sides[1]),
            "A_paths": path_a,
            "B_paths": path_b,
            **self.unpadded(A=path_a, B=path_b),
        }
