"""Show what a training run would see: a sheet of some pairs, each in several epochs.

    python scripts/preview_augmentation.py --dataroot ./my_data --model pix2pix --augment auto

Takes the flags of train.py besides its own; with the same --seed, that run sees the same crops,
flips and augmentations. The first column has the pictures as they are in validation and testing.
Inputs are above their targets, and weight maps (DATAROOT/trainW) below them.
"""

from __future__ import annotations

import argparse
import io
import sys
from itertools import chain
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment()

import torch
from PIL import Image, ImageDraw, ImageFont

import data
import models
from data.base_dataset import input_name
from data.loader import SampleError, SeededDataset
from data.validation import as_in_testing, load_alone, split
from options.checks import PORTRAITS
from options.parser import OptionParser, whole
from options.train_options import LookingOptions
from util import runtime
from util.errors import UserError
from util.files import to_path, write_whole, writing
from util.util import tensor2im

GAP_PX, TEXT_PX = 6, 14
KINDS = {".png": "PNG", ".jpg": "JPEG"}  # of sheets, by the ending of their file


class Row(NamedTuple):
    """One side of a sample: what it is, and its pictures from left to right, where it has any."""

    title: str
    pictures: list[Image.Image | None]


class PreviewOptions(LookingOptions):
    script = "scripts/preview_augmentation.py"
    examples = (
        f"{PORTRAITS} --model pix2pix --augment auto",
        "./my_data --model cycle_gan --augment auto",
    )


def main(argv: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--out", type=to_path, default="augmentation.png", metavar="FILE",
        help="the sheet, .png or .jpg (default: augmentation.png)",
    )  # fmt: skip
    parser.add_argument("--pairs", type=whole(1), default=4, metavar="N", help="how many of them")
    parser.add_argument("--epochs", type=whole(1), default=6, metavar="N", help="how many columns")
    parser.add_argument(
        "--tile", type=whole(1), default=512, metavar="PX",
        help="show pictures no larger than this; noise and blur show only in those that are whole",
    )  # fmt: skip
    own, words = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if own.out.suffix.lower() not in KINDS:
        raise UserError(f"--out {own.out}: the file must end in .png or .jpg")
    opt = PreviewOptions(models.registry, data.registry).parse(words)
    rows = rows_of(opt, own.pairs, own.epochs)
    titles = ["in testing", *(f"epoch {epoch}" for epoch in range(1, own.epochs + 1))]
    file = io.BytesIO()
    sheet(rows, titles, own.tile).save(file, KINDS[own.out.suffix.lower()])
    with writing(own.out):
        own.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(own.out, file.getvalue())
    print(f"{own.out.absolute()} shows --augment {opt.augment}")


def rows_of(opt: argparse.Namespace, num_pairs: int, num_epochs: int) -> list[Row]:
    """Two rows for each of the first pairs, or one for each picture of a dataset without pairs."""
    training = data.create_dataset(opt).dataset
    plain = as_in_testing(opt, data.registry.find(opt.dataset_mode), opt.phase)
    if opt.val_split:
        split(opt, plain, held_out=False)
    rows = []
    for index in range(min(num_pairs, len(training))):
        samples = [load_alone(plain, index, opt.seed)]
        for epoch in range(1, num_epochs + 1):
            seeded = SeededDataset(training, opt.seed, torch.tensor(epoch), replace_bad=False)
            sample = seeded[index]
            if isinstance(sample, SampleError):
                raise UserError(sample.message)
            samples.append(sample)
        for side in sorted("AB", key=lambda side: side != input_name(opt)):
            if side in samples[0]:
                role = "input" if side == input_name(opt) else "target"
                names = {Path(sample[f"{side}_paths"]).name for sample in samples[1:]}
                title = "\n".join([role, *(names if len(names) == 1 else [])])
                rows.append(Row(title, [shown(sample[side]) for sample in samples]))
        if "W" in samples[1]:
            rows.append(Row("weight", [None, *(shown(2 * s["W"] - 1) for s in samples[1:])]))
    return rows


def shown(values: torch.Tensor) -> Image.Image:
    """A picture (C, H, W) or batch of one, in [-1, 1]."""
    return Image.fromarray(tensor2im(values))


def sheet(rows: list[Row], titles: list[str], tile_px: int) -> Image.Image:
    """All rows below the titles of their columns; pictures are no larger than `tile_px`."""
    pictures = [[p for p in row.pictures if p is not None] for row in rows]
    for picture in chain(*pictures):
        picture.thumbnail((tile_px, tile_px))
    font = ImageFont.load_default(TEXT_PX)
    margin = GAP_PX + int(
        max(font.getlength(line) for row in rows for line in row.title.split("\n")) + GAP_PX
    )
    width = GAP_PX + max(
        int(max(font.getlength(title) for title in titles)),
        *(picture.width for picture in chain(*pictures)),
    )
    heights = [GAP_PX + max(picture.height for picture in row) for row in pictures]
    top = 2 * TEXT_PX
    image = Image.new("RGB", (margin + width * len(titles), top + sum(heights)), "white")
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        draw.text((margin + width * column, GAP_PX), title, "black", font)
    for row, height in zip(rows, heights, strict=True):
        draw.multiline_text((GAP_PX, top), row.title, "black", font)
        for column, shows in enumerate(row.pictures):
            if shows is not None:
                image.paste(shows, (margin + width * column, top))
        top += height
    return image


if __name__ == "__main__":
    sys.exit(runtime.run(main))
