"""The pictures in a folder, or a single picture, for running a generator in one direction."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

from data.augment import GEOMETRY, TONES
from data.base_dataset import PHASES, BaseDataset, input_name
from data.image_folder import kind_in, make_dataset
from data.reading.picture import Side


class SingleDataset(BaseDataset):
    """{A, A_paths} for each picture in DATAROOT and its subfolders, or for DATAROOT if it is one.

    A is (C, H, W) in [-1, 1].
    """

    gives: ClassVar = ("A",)
    augments: ClassVar = (*GEOMETRY, *TONES)

    @staticmethod
    def facts(opt: argparse.Namespace) -> dict[str, Any]:
        kind = kind_in(opt.dataroot)  # unless the run knows what it was trained on
        return {"files_A": kind, "files_B": kind}

    @staticmethod
    def looks_paired(opt: argparse.Namespace) -> bool:
        """Whether the folder is that of a data set with two sides."""
        both = [[Path(opt.dataroot, f"{phase}{side}") for side in "AB"] for phase in PHASES]
        return any(a.is_dir() and b.is_dir() for a, b in both)

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        alone = Path(opt.dataroot).is_file()
        self.paths = [opt.dataroot] if alone else make_dataset(opt.dataroot, opt.max_dataset_size)
        name = input_name(opt)
        self.side = Side(name, opt.input_nc, getattr(opt, f"range_{name}"), "--input_nc")
        self.check_channels(self.paths[0], self.side)
        self.announce_padding(self.paths)

    def lists(self) -> list[list[Any]]:
        return [self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        return {"A": self.load(path, self.side), "A_paths": path, **self.unpadded(A=path)}
