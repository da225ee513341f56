"""Pairs of pictures: side by side in one file, or in two folders under the same names."""

from __future__ import annotations

import argparse
import contextlib
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from data.augment import KINDS, Change
from data.base_dataset import BaseDataset, in_file, input_name, key_of, missing_phase, sides
from data.cache import Form, Key
from data.image_folder import at_most, by_stem, has_pictures, kind_in, make_dataset
from data.image_io import picture_size
from data.reading import notes
from data.reading.picture import Picture, Side
from data.transforms import Augment, size_of, to_tensor, to_unit
from data.weight_maps import WEIGHT, check_maps, find_maps, read_map
from util.errors import UserError
from util.util import counted

# Two squares side by side are twice as wide as high, and two pictures of 4:3 more. A single picture
# of 3:2 is below this, and so are two portraits of 3:4.
WIDE = 1.55


class AlignedDataset(BaseDataset):
    """Pairs {A, B}, each (C, H, W) in [-1, 1] with the same crop and flip, and A_paths, B_paths.

    The pictures are in DATAROOT/PHASE/*, each with A in its left half and B in its right half, or
    in DATAROOT/PHASEA/* and DATAROOT/PHASEB/*, matched by path without the extension. In training,
    grey pictures in DATAROOT/PHASEW give samples also W: (1, H, W) in 0..1, see `weight_maps`.
    """

    gives: ClassVar = ("A", "B")
    augments: ClassVar = KINDS
    gives_weights: ClassVar = True

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.add_argument(
            "--skip_unmatched",
            action="store_true",
            help="with two folders: skip pictures that have no partner instead of stopping",
        )
        if is_train:
            parser.add_argument(
                "--identity_pairs",
                type=float,
                default=0.0,
                metavar="P",
                help="share of the samples in which the target is also the input, so that pictures "
                "which need no change are left alone; 0: none",
            )
        return parser

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        return any(map(has_pictures, phase_folders(opt.dataroot, phase)))

    @staticmethod
    def facts(opt: argparse.Namespace) -> dict[str, Any]:
        joined, side_a, side_b = phase_folders(opt.dataroot, opt.phase)
        two_folders = not has_pictures(joined)
        a, b = (side_a, side_b) if two_folders else (joined, joined)
        return {"two_folders": two_folders, "files_A": kind_in(a), "files_B": kind_in(b)}

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.sides = sides(opt, extends=type(self) is not AlignedDataset)
        joined, side_a, side_b = phase_folders(opt.dataroot, opt.phase)
        prefers_sides = not opt.isTrain and opt.two_folders and has_pictures(side_a)
        self.side_by_side = has_pictures(joined) and not (prefers_sides and has_pictures(side_b))
        if self.side_by_side:
            paths = make_dataset(joined, opt.max_dataset_size)
            self.pairs = [(path, path) for path in paths]
            if has_pictures(side_a) and has_pictures(side_b):
                print(f"{joined} has pictures: using these, not {side_a} and {side_b}")
        elif has_pictures(side_a) and has_pictures(side_b):
            pairs = match_by_stem(side_a, side_b, opt.skip_unmatched)
            self.pairs = at_most(opt.max_dataset_size, pairs, f"{side_a} and {side_b}", "pairs")
        else:
            raise missing_phase(
                opt,
                f"--dataset_mode {opt.dataset_mode} needs pairs side by side in {joined}, or under "
                f"the same names in both {side_a} and {side_b}",
                [*filter(Path.is_dir, [joined]), side_a, side_b],
            )
        self.columns = 2 if self.side_by_side else 1
        if self.side_by_side:
            check_shapes(joined, [path for path, _ in self.pairs], opt)
        # The weight maps of training pictures, by the file of A.
        self.maps: dict[str, str] = {}
        if opt.isTrain and opt.weight_maps and (folder := self.weight_maps(opt)):
            maps = find_maps(folder, joined if self.side_by_side else side_a)
            self.maps = {a: maps[a] for a, _ in self.pairs if a in maps}
            check_maps(self.maps, self.columns)
        self.identity_pairs = identity_share(opt, self.sides)
        for path, side in zip(self.pairs[0], self.sides, strict=True):
            self.check_channels(path, side)
        self.announce_padding([a for a, _ in self.pairs], self.columns)

    def lists(self) -> list[list[Any]]:
        return [self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def difference(self, most: int) -> float | None:
        if self.sides[0].num_channels != self.sides[1].num_channels:
            return None
        found = []
        for place in range(min(most, len(self.pairs))):
            pair = self.pairs[place * len(self.pairs) // min(most, len(self.pairs))]
            # What is bad or odd is told of when the pair is trained on, so it is not cached either.
            with contextlib.suppress(UserError), notes.untold():
                a, b = map(to_unit, self._resized_pair(*pair))
                found.append(255 * float((a - b).abs().mean()))
        return sum(found) / len(found) if found else None

    def __getitem__(self, index: int) -> dict[str, Any]:
        path_a, path_b = self.pairs[index]
        try:
            pair = self.cached((path_a, path_b), lambda: self._resized_pair(path_a, path_b))
            augment = self.draw_augment(size_of(pair[0]))
        except UserError as error:
            raise in_file(path_a, error) from error
        changed = [augment(pixels) for pixels in pair]
        entry = "AB".index(input_name(self.opt))
        changed[entry] = self.augmentation.spoil(changed[entry])
        a, b = map(to_tensor, changed)
        more = self.unpadded(self.columns, A=path_a, B=path_b)
        if self.maps:
            more["W"] = self._weights(path_a, augment, a)
        if self.identity_pairs and random.random() < self.identity_pairs:
            a, b = (b, b) if self.opt.direction == "AtoB" else (a, a)
        return {"A": a, "B": b, "A_paths": path_a, "B_paths": path_b, **more}

    def _weights(self, path_a: str, augment: Augment | Change, a: torch.Tensor) -> torch.Tensor:
        """(1, H, W) in 0..1: where the result of a pair matters."""
        path = self.maps.get(path_a)
        if path is None:
            return torch.ones_like(a[:1])
        try:
            key = key_of(path, WEIGHT)
            (pixels,) = self.cached(key, lambda: [self.fit(read_map(path), WEIGHT)])
            moves = replace(augment, tones=None) if isinstance(augment, Change) else augment
            return to_unit(moves(pixels))
        except UserError as error:
            raise in_file(path, error) from error

    def num_weighted(self) -> int:
        return sum(a in self.maps for a, _ in self.pairs)

    def cacheable(self) -> dict[Key, list[Form]]:
        found = {}
        for pair in self.pairs:
            a, b = (self.form(p, s, self.columns) for p, s in zip(pair, self.sides, strict=True))
            if a is not None and b is not None:
                found[pair] = [a, b._replace(size=a.size)]  # B is resized like A
        maps = [self.maps[a] for a, _ in self.pairs if a in self.maps]
        return found | self.forms(maps, WEIGHT)

    def _resized_pair(self, path_a: str, path_b: str) -> list[torch.Tensor]:
        return self.fit_pair(self.read_pair(path_a, path_b), path_a)

    def read_pair(self, path_a: str, path_b: str) -> tuple[Picture, Picture]:
        """A and B with all their bits and channels, upright; UserError as `read`."""
        if self.side_by_side:
            return split_halves(self.read(path_a))
        return self.read(path_a), self.read(path_b)

    def fit_pair(self, pictures: tuple[Picture, Picture], path_a: str) -> list[torch.Tensor]:
        """The pixels of both as `fit` gives them, in one size.

        Raises UserError for pictures that --preprocess, or the number of channels, cannot take.
        """
        target = self._common_size(pictures[0].size, pictures[1].size, path_a)
        return [
            self.fit(picture, side, target)
            for picture, side in zip(pictures, self.sides, strict=True)
        ]

    def _common_size(
        self, size_a: tuple[int, int], size_b: tuple[int, int], path_a: str
    ) -> tuple[int, int]:
        """The target size of both; unless resizing may distort them, their shapes must match."""
        (width_a, height_a), (width_b, height_b) = size_a, size_b
        scaled = self.resize.preprocess.startswith("scale_width")
        distorts = self.resize.preprocess == "resize_and_crop"
        alike = (
            abs(width_a * height_b - width_b * height_a) <= 0.01 * width_a * height_b
            if scaled or distorts
            else size_a == size_b
        )
        if distorts and not alike:
            notes.noticed.misshapen += 1
            notes.noticed.say(
                "misshapen",
                f"{path_a} is {width_a}x{height_a} but its B is {width_b}x{height_b}: --preprocess "
                "resize_and_crop stretches both to one shape, so they may not fit on each other",
            )
        if not (distorts or alike):
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


def identity_share(opt: argparse.Namespace, sides: Sequence[Side]) -> float:
    """--identity_pairs; 0 outside of training.

    Raises UserError if it is no share, or if targets cannot be inputs.
    """
    # A sub-class may lack the flag, and validation has the options of the training.
    share = getattr(opt, "identity_pairs", 0.0) if opt.isTrain else 0.0
    if not 0 <= share < 1:
        raise UserError(f"--identity_pairs {share:g} is no share of at least 0 and below 1")
    if share and (sides[0].num_channels, sides[0].range) != (sides[1].num_channels, sides[1].range):
        raise UserError(
            "--identity_pairs takes targets as inputs too, so both need the same channels and "
            "range; leave it out"
        )
    return share


def split_halves(picture: Picture) -> tuple[Picture, Picture]:
    """The left and right halves; a picture of odd width loses its middle column."""
    width, height = picture.size
    half = width // 2
    if half == 0:
        raise UserError("a picture 1 pixel wide cannot be split into two halves")
    return picture.crop((0, 0, half, height)), picture.crop((width - half, 0, width, height))


def check_shapes(folder: Path, paths: list[str], opt: argparse.Namespace) -> None:
    """Tell where no file looks like two pictures side by side.

    Raises UserError in testing if the run was trained on two folders, whose pictures were not cut.
    """
    if looks_joined(paths):
        return
    told = f"no picture in {folder} is anywhere near twice as wide as high"
    if opt.isTrain:
        print(
            f"{told}, but each is cut into A, its left half, and B, its right half; if they are "
            f"not pairs side by side, put the inputs in {folder}A and the targets in {folder}B"
        )
    elif opt.two_folders:
        raise UserError(
            f"{told}, so these are no pairs side by side, and {opt.name} was trained on two "
            f"folders; for pictures without targets pass --model test --dataroot {folder}, or "
            f"put the inputs in {folder}A and the targets in {folder}B"
        )
    else:
        print(
            f"{told}, but each is cut into A, its left half, and B, its right half; for pictures "
            f"without targets pass --model test --dataroot {folder}"
        )


def looks_joined(paths: Sequence[str]) -> bool:
    """Whether any of these files looks like two pictures side by side."""
    for path in paths:
        try:
            width, height = picture_size(path)
        except UserError:  # reported when the picture is loaded
            continue
        if width / height >= WIDE:
            return True
    return False


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
                f"no partner of the same name for {counted(len(unmatched), 'picture')} in {side_a} "
                f"and {side_b}: {shown}; add partners, remove them, or pass --skip_unmatched"
            )
        print(f"--skip_unmatched: skipped {counted(len(unmatched), 'picture')}: {shown}")
    pairs = [(by_stem_a[s], by_stem_b[s]) for s in sorted(by_stem_a.keys() & by_stem_b.keys())]
    if not pairs:
        raise UserError(f"no picture in {side_a} has the same name as one in {side_b}")
    return pairs
