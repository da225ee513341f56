"""A starting point for your own dataset: copy this file, rename it and the class, change the rest.

data/foo_dataset.py with a class FooDataset is found as --dataset_mode foo, and listed in --help.
This one makes pairs out of single pictures: B is the picture, A the same made blurry.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.base_dataset import BaseDataset
from data.image_folder import make_dataset
from data.transforms import to_tensor


class TemplateDataset(BaseDataset):
    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        """Add flags of the dataset, and change defaults of others."""
        parser.add_argument(
            "--blur_factor", type=float, default=4.0, help="how many times smaller A is made"
        )
        return parser

    def __init__(self, opt: argparse.Namespace):
        """Find the pictures; here all in DATAROOT/PHASE."""
        super().__init__(opt)
        self.paths = make_dataset(Path(opt.dataroot) / opt.phase, opt.max_dataset_size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A sample: tensors (C, H, W) in [-1, 1] and the paths they came from."""
        picture = self.load_picture(self.paths[index])  # resized, cropped, flipped
        small = tuple(max(1, round(side / self.opt.blur_factor)) for side in picture.size)
        blurry = picture.resize(small).resize(picture.size)
        return {
            "A": to_tensor(blurry),
            "B": to_tensor(picture),
            "A_paths": self.paths[index],
            "B_paths": self.paths[index],
        }
