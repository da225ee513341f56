"""What all datasets share: flags, the phase folders, and loading pictures the same way."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils import data

from data.image_folder import nearby
from data.image_io import open_picture, picture_size
from data.transforms import Augment, Resize, to_channels, to_tensor
from util.errors import UserError


class BaseDataset(data.Dataset, ABC):
    """A dataset chosen by --dataset_mode.

    A sub-class in data/NAME_dataset.py, named NameDataset, gives `__len__` and `__getitem__`; the
    latter returns a dict of tensors and paths that the model's `set_input` understands. Random
    choices may use Python's, NumPy's or PyTorch's global source: the loader seeds all three from
    (seed, epoch, index) for each sample.

    Attributes:
        gives: keys of tensors in a sample; empty: not checked against the model beforehand.
    """

    gives: ClassVar[tuple[str, ...]] = ()

    def __init__(self, opt: argparse.Namespace):
        self.opt = opt
        self.root = opt.dataroot
        self.resize = Resize(
            opt.preprocess, opt.load_size, opt.crop_size, opt.size_multiple, opt.size_minimum
        )
        self.crop_size = opt.crop_size if opt.preprocess.endswith("crop") else None

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        """Add flags or change defaults; returns the parser."""
        return parser

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        """Whether --dataroot has pictures for a phase (test.py looks for one that has)."""
        return True

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def draw_augment(self, size: tuple[int, int]) -> Augment:
        """A crop and flip for a resized picture: random in training, centred in testing."""
        return Augment.draw(
            size, self.crop_size, at_random=self.opt.isTrain, flips=not self.opt.no_flip
        )

    def load(self, path: str, num_channels: int) -> torch.Tensor:
        """A picture with an augmentation of its own: (C, H, W) in [-1, 1]."""
        picture = to_channels(open_picture(path), num_channels)
        try:
            picture = self.resize(picture)
            augment = self.draw_augment(picture.size)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        return to_tensor(augment(picture))

    def announce_rounding(self, paths: list[str], columns: int = 1) -> None:
        """Say once, before training, that sides are rounded to what the generator takes.

        `columns` pictures lie side by side in each file.
        """
        if self.opt.preprocess not in ("scale_width", "none"):
            return
        for path in paths:
            width, height = picture_size(path)
            size = width // columns, height
            if self.resize.rounds(size):
                target = self.resize.target(size)
                print(
                    f"--preprocess {self.opt.preprocess}: sides are rounded to multiples of "
                    f"{self.resize.multiple} for --netG {self.opt.netG}; {path} "
                    f"({size[0]}x{size[1]}) becomes {target[0]}x{target[1]}"
                )
                return


def channels(opt: argparse.Namespace) -> tuple[int, int]:
    """Channels of the pictures of sides A and B, 3 or 1: --direction says which is the input."""
    for flag, count in (("--input_nc", opt.input_nc), ("--output_nc", opt.output_nc)):
        if count not in (1, 3):
            raise UserError(f"{flag} {count}: pictures load with 3 channels (RGB) or 1 (grey)")
    nc = opt.input_nc, opt.output_nc
    return nc if opt.direction == "AtoB" else nc[::-1]


def missing_phase(opt: argparse.Namespace, looked_for: str) -> UserError:
    """The error for a --dataroot without pictures of the wanted phase."""
    if Path(opt.dataroot).is_file():
        return UserError(f"--dataroot {opt.dataroot} is a file, no folder: looked for {looked_for}")
    return UserError(
        f"--dataroot {opt.dataroot} has no pictures for --phase {opt.phase}: looked for "
        f"{looked_for}{nearby(Path(opt.dataroot))}"
    )
