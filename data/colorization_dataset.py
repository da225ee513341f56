"""Photographs split into lightness and colour, for learning to colour grey pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from data.augment import GEOMETRY, TONES
from data.base_dataset import BaseDataset, missing_phase
from data.cache import Form, Key
from data.image_folder import has_pictures, is_image_file, make_dataset
from data.reading.picture import Side
from util.errors import UserError
from util.packages import needed


class ColorizationDataset(BaseDataset):
    """{A, B} for each photograph in DATAROOT/PHASE: its L and its ab channels in CIE Lab (D65).

    A is L / 50 - 1, (1, H, W) in [-1, 1]; B is ab / 110, (2, H, W) within [-1, 1]. For testing,
    DATAROOT may also be a folder of pictures, grey or not, or a single picture.
    """

    space: ClassVar = "Lab"
    gives: ClassVar = ("A", "B")
    augments: ClassVar = (*GEOMETRY, *TONES)

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.set_defaults(input_nc=1, output_nc=2, direction="AtoB")
        return parser

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        return has_pictures(Path(opt.dataroot) / phase)

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        if (opt.input_nc, opt.output_nc, opt.direction) != (1, 2, "AtoB"):
            raise UserError(
                "--dataset_mode colorization goes from lightness to colour: it needs --input_nc 1 "
                "--output_nc 2 --direction AtoB, not "
                f"{opt.input_nc}, {opt.output_nc}, {opt.direction}"
            )
        self.paths = find_photographs(opt)
        (self.side,) = self.pictured()
        self.announce_padding(self.paths)

    def pictured(self) -> tuple[Side, ...]:
        return (Side("A", 3, self.opt.range_A),)

    def cacheable(self) -> dict[Key, list[Form]]:
        return self.forms(self.paths, self.side)

    def lists(self) -> list[list[Any]]:
        return [self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        rgb = self.load_pixels(path, self.side).permute(1, 2, 0).numpy()
        lab = (
            needed("skimage.color", "--dataset_mode colorization").rgb2lab(rgb).astype(np.float32)
        )  # (H, W, 3)
        lab = torch.from_numpy(lab).permute(2, 0, 1)
        return {
            "A": lab[:1] / 50.0 - 1.0,
            "B": lab[1:] / 110.0,
            "A_paths": path,
            "B_paths": path,
            **self.unpadded(A=path, B=path),
        }


def find_photographs(opt: argparse.Namespace) -> list[str]:
    """The pictures in DATAROOT/PHASE; in testing, if there are none, those in DATAROOT itself."""
    root = Path(opt.dataroot)
    if has_pictures(root / opt.phase):
        return make_dataset(root / opt.phase, opt.max_dataset_size)
    if not opt.isTrain and root.is_file():
        return [opt.dataroot]
    if not opt.isTrain and any(is_image_file(file.name) for file in root.iterdir()):
        print(f"{root} has no folder {opt.phase}: using the pictures in {root} itself")
        return make_dataset(root, opt.max_dataset_size)
    folders = [root / opt.phase] if opt.isTrain or has_pictures(root) else [root / opt.phase, root]
    raise missing_phase(
        opt, f"--dataset_mode {opt.dataset_mode} needs pictures in {folders[0]}", folders
    )
