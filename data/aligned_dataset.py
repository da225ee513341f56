"""Pairs of pictures: side by side in one file, or in two folders under the same names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image

from data.base_dataset import BaseDataset, channels, in_file, missing_phase, size_of
from data.cache import Form, Key
from data.image_folder import has_pictures, make_dataset
from data.transforms import to_channels, to_pixels, to_tensor
from util.errors import UserError
from util.files import composed


class AlignedDataset(BaseDataset):
    """Pairs {A, B}, each (C, H, W) in [-1, 1] with the same crop and flip, and A_paths, B_paths.

    The pictures are in DATAROOT/PHASE/*, each with A in its left half and B in its right half, or
    in DATAROOT/PHASEA/* and DATAROOT/PHASEB/*, matched by path without the extension.
    """

    gives: ClassVar = ("A", "B")

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.add_argument(
            "--skip_unmatched",
            action="store_true",
            help="with two folders: skip pictures that have no partner instead of stopping",
        )
        return parser

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        joined, side_a, side_b = phase_folders(opt.dataroot, phase)
        return has_pictures(joined) or (has_pictures(side_a) and has_pictures(side_b))

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.num_channels = channels(opt, extends=type(self) is not AlignedDataset)
        joined, side_a, side_b = phase_folders(opt.dataroot, opt.phase)
        self.side_by_side = has_pictures(joined)
        if self.side_by_side:
            paths = make_dataset(joined, opt.max_dataset_size)
            self.pairs = [(path, path) for path in paths]
            if has_pictures(side_a) and has_pictures(side_b):
                print(f"{joined} has pictures: using these, not {side_a} and {side_b}")
        elif has_pictures(side_a) and has_pictures(side_b):
            self.pairs = match_by_stem(side_a, side_b, opt.skip_unmatched)
            self.pairs = self.pairs[: int(min(opt.max_dataset_size, len(self.pairs)))]
        else:
            raise missing_phase(
                opt, f"pairs side by side in {joined}, or in both {side_a} and {side_b}"
            )
        self.announce_rounding([a for a, _ in self.pairs], columns=2 if self.side_by_side else 1)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path_a, path_b = self.pairs[index]
        try:
            pair = self.cached((path_a, path_b), lambda: self._resized_pair(path_a, path_b))
            augment = self.draw_augment(size_of(pair[0]))
        except UserError as error:
            raise in_file(path_a, error) from error
        a, b = (to_tensor(augment(pixels)) for pixels in pair)
        return {"A": a, "B": b, "A_paths": path_a, "B_paths": path_b}

    def cacheable(self) -> dict[Key, list[Form]]:
        columns = 2 if self.side_by_side else 1
        return {
            pair: [(size, num_channels) for num_channels in self.num_channels]
            for pair in self.pairs
            if (size := self.resized_size(pair[0], columns)) is not None
        }

    def _resized_pair(self, path_a: str, path_b: str) -> list[torch.Tensor]:
        pictures = (
            split_halves(self.open(path_a))
            if self.side_by_side
            else (self.open(path_a), self.open(path_b))
        )
        target = self._common_size(pictures[0].size, pictures[1].size)
        return [
            to_pixels(self.resize(to_channels(picture, num_channels), target))
            for picture, num_channels in zip(pictures, self.num_channels, strict=True)
        ]

    def _common_size(self, size_a: tuple[int, int], size_b: tuple[int, int]) -> tuple[int, int]:
        """The target size of both; unless resizing may distort them, their shapes must match."""
        (width_a, height_a), (width_b, height_b) = size_a, size_b
        scaled = self.resize.preprocess.startswith("scale_width")
        alike = (
            abs(width_a * height_b - width_b * height_a) <= 0.01 * width_a * height_b
            if scaled
            else size_a == size_b
        )
        if self.resize.preprocess != "resize_and_crop" and not alike:
            raise UserError(
                f"A is {width_a}x{height_a} but its B is {width_b}x{height_b}; with --preprocess "
                f"{self.resize.preprocess} both must have the same "
                f"{'shape' if scaled else 'size'}: "
                "crop them alike, or use --preprocess resize_and_crop"
            )
        return self.resize.target(size_a)


def phase_folders(dataroot: str, phase: str) -> tuple[Path, Path, Path]:
    """DATAROOT/PHASE, DATAROOT/PHASEA and DATAROOT/PHASEB."""
    root = Path(dataroot)
    return root / phase, root / f"{phase}A", root / f"{phase}B"


def split_halves(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The left and right halves; a picture of odd width loses its middle column."""
    width, height = picture.size
    half = width // 2
    if half == 0:
        raise UserError("a picture 1 pixel wide cannot be split into two halves")
    return picture.crop((0, 0, half, height)), picture.crop((width - half, 0, width, height))


def match_by_stem(
    side_a: Path, side_b: Path, skip_unmatched: bool = False
) -> list[tuple[str, str]]:
    """Sorted pairs of pictures whose paths in the two folders differ only in the extension.

    Raises UserError for pictures without a partner (unless skipped) and for ambiguous names.
    """
    by_stem_a, by_stem_b = by_stem(side_a), by_stem(side_b)
    unmatched = sorted(
        [path for stem, path in by_stem_a.items() if stem not in by_stem_b]
        + [path for stem, path in by_stem_b.items() if stem not in by_stem_a]
    )
    if unmatched:
        shown = ", ".join(unmatched[:10]) + (
            f" and {len(unmatched) - 10} more" if len(unmatched) > 10 else ""
        )
        if not skip_unmatched:
            raise UserError(
                f"{len(unmatched)} pictures in {side_a} and {side_b} have no partner of the same "
                f"name: {shown}; add their partners, remove them, or pass --skip_unmatched"
            )
        print(f"--skip_unmatched: skipped {len(unmatched)} pictures: {shown}")
    pairs = [(by_stem_a[s], by_stem_b[s]) for s in sorted(by_stem_a.keys() & by_stem_b.keys())]
    if not pairs:
        raise UserError(f"no picture in {side_a} has the same name as one in {side_b}")
    return pairs


def by_stem(folder: Path) -> dict[str, str]:
    """The pictures of a folder, by their path in it without the extension, in composed form."""
    found: dict[str, str] = {}
    for path in make_dataset(folder):
        stem = composed(Path(path).relative_to(folder).with_suffix("").as_posix())
        if stem in found:
            raise UserError(f"{path} and {found[stem]} have the same name; remove or rename one")
        found[stem] = path
    return found
