"""A photograph in, the same photograph out, with the change that a generator makes.

native      the network sees the photograph's own pixels
scaled      it sees a copy of the size that it was trained for, and the result is enlarged again
transfer    the same, but the change of the copy is enlarged and added to the photograph, so that
            grain and sharpness stay where the network changes nothing
auto        transfer for runs whose pairs show the same pictures, otherwise scaled
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from data.base_dataset import geometry, input_name
from data.photo.files import ENDINGS
from data.photo.photo import Photo
from data.reading.picture import Side
from data.transforms import Size, pad, size_of
from util.files import composed
from util.run.likeness import ALIKE, likeness

NATIVE, SCALED, TRANSFER, AUTO = WAYS = ("native", "scaled", "transfer", "auto")
Generate = Callable[[torch.Tensor], torch.Tensor]


def chosen_way(way: str, run: Path, *, same_channels: bool) -> tuple[str, str]:
    """What auto means for a run in this folder, and why in a few words; other ways are themselves.

    Args:
        same_channels: whether the generator gives as many channels as it takes.
    """
    if way != AUTO:
        return way, ""
    difference = likeness(run)
    if not same_channels:
        return SCALED, "the result has other channels than the input"
    if difference is None:
        return SCALED, (
            "the run does not tell how alike its pairs are (transfer would carry the change alone)"
        )
    if difference > ALIKE:
        return SCALED, f"its training pairs differ by {difference:.3g} levels, more than {ALIKE:g}"
    return TRANSFER, f"its training pairs differ by {difference:.3g} levels only"


class Translator:
    """Applies a generator to photographs of any size.

    Args:
        opt: the options of a test, with what the run was trained on.
        generate: from (1, C, H, W) to (1, C', H, W), both in [-1, 1].
        way: native, scaled or transfer.
        is_reverse: whether the generator goes from the output's side to the input's.

    Attributes:
        side: of the data that the generator takes.
    """

    def __init__(
        self, opt: argparse.Namespace, generate: Generate, way: str, *, is_reverse: bool = False
    ):
        self.generate, self.way, self.max_megapixels = generate, way, opt.max_megapixels
        self.resize, _ = geometry(opt)
        self.is_unet = opt.netG.startswith("unet")
        name, flag, num_channels = input_name(opt), "--input_nc", opt.input_nc
        if is_reverse:
            name, flag, num_channels = {"A": "B", "B": "A"}[name], "--output_nc", opt.output_nc
        self.side = Side(name, num_channels, getattr(opt, f"range_{name}"), flag)

    def open(self, path: str | Path, *, in_pair: bool = False) -> Photo:
        """Read a photograph; UserError if it is bad or too large.

        With `in_pair`, the file has A in its left half and B in its right half.
        """
        photo = Photo.open(path, self.max_megapixels)
        if not in_pair:
            return photo
        width, half = photo.size[0], photo.size[0] // 2
        return photo.columns(*((0, half) if self.side.name == "A" else (width - half, width)))

    def __call__(self, photo: Photo) -> Photo:
        """The photograph with the change; UserError where its channels or values do not fit."""
        seen = photo.seen(self.side)
        changed = photo.changed(seen, self.result(seen), self.side)
        trained = self.resize.load_size
        if self.way == NATIVE and self.is_unet and max(photo.size) > 2 * trained:
            note = f"above twice its {trained} px of training, a U-Net may repeat patterns"
            changed = replace(changed, notes=[*changed.notes, f"{note}: rather scaled or transfer"])
        return changed

    def result(self, seen: torch.Tensor) -> torch.Tensor:
        """(C', H, W) from (C, H, W), both in [-1, 1]."""
        size = size_of(seen)
        small = resized(seen, self.seen_size(size)).clamp(-1, 1)  # bicubic weights overshoot
        made = self._padded(small)
        if self.way == TRANSFER and len(made) == len(small):
            return resized(made - small, size).add_(seen).clamp_(-1, 1)
        return resized(made, size).clamp_(-1, 1)

    def seen_size(self, size: Size) -> Size:
        """The (width, height) at which the network sees a whole photograph, its shape kept."""
        return size if self.way == NATIVE else self.resize.whole(size)

    def _padded(self, picture: torch.Tensor) -> torch.Tensor:
        """The generator's result (C', H, W) for a picture, which is padded by reflection for it."""
        width, height = size_of(picture)
        whole = self.resize.padded((width, height), always=True)
        return self.generate(pad(picture, whole)[None])[0, :, :height, :width]


def resized(picture: torch.Tensor, size: Size) -> torch.Tensor:
    """(C, H, W) at this (width, height), by bicubic interpolation."""
    if size == size_of(picture):
        return picture
    return F.interpolate(picture[None], size[::-1], mode="bicubic", antialias=True)[0]


class FreePaths:
    """Paths of results, none of which is given twice, or is that of a file which `exists`."""

    def __init__(self, exists: Callable[[Path], bool] = lambda _: False):
        self.exists, self.taken = exists, set[str]()

    def __call__(self, path: Path, kind: str, source: Path) -> Path:
        """A path like `path`, which has no ending, for a file of this kind made from a source.

        The second file of one stem, whatever its ending, gets _2. Stems that differ by letter case
        alone count as one.
        """
        same = source.suffix.lower() in ENDINGS[kind]
        ending = source.suffix if same else ENDINGS[kind][0]
        for number in range(1, len(self.taken) + 1_000_000):
            name = f"{path.name}_{number}" if number > 1 else path.name
            key = composed(str(path.with_name(name))).casefold()
            found = path.with_name(name + ending)
            if key not in self.taken and not self.exists(found):
                break
        self.taken.add(key)
        return found
