"""A starting point for your own dataset: copy this file, rename it and its class, change the rest.

--dataset_mode foo selects the class FooDataset in data/foo_dataset.py; --help lists it.
This dataset makes pairs out of single pictures: B is the picture, A a blurred copy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

from data.augment import GEOMETRY, TONES
from data.base_dataset import BaseDataset
from data.image_folder import make_dataset
from data.transforms import to_tensor


class TemplateDataset(BaseDataset):
    augments: ClassVar = (*GEOMETRY, *TONES)  # what --augment may change, as `load_picture` does

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        """Add the dataset's own flags, and change the defaults of others."""
        parser.add_argument(
            "--blur_factor", type=float, default=4.0, help="shrink A this many times to blur it"
        )
        return parser

    def __init__(self, opt: argparse.Namespace):
        """Find the pictures: here, all in DATAROOT/PHASE."""
        super().__init__(opt)
        self.paths = make_dataset(Path(opt.dataroot) / opt.phase, opt.max_dataset_size)

    def lists(self) -> list[list[Any]]:
        """What --val_split may take pictures out of."""
        return [self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample: tensors (C, H, W) in [-1, 1], and the paths of their files."""
        picture = self.load_picture(self.paths[index])  # resized, cropped, flipped
        small = tuple(max(1, round(side / self.opt.blur_factor)) for side in picture.size)
        blurry = picture.resize(small).resize(picture.size)
        return {
            "A": to_tensor(blurry),
            "B": to_tensor(picture),
            "A_paths": self.paths[index],
            "B_paths": self.paths[index],
        }
