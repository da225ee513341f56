"""Prepare Cityscapes for pix2pix and CycleGAN: street photographs and their label maps.

    python datasets/prepare_cityscapes_dataset.py --gtFine_dir DIR --leftImg8bit_dir DIR \\
        --output_dir ./datasets/cityscapes

Needs gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip from https://cityscapes-dataset.com,
unpacked. Their train and val parts become

    train/, val/                    pix2pix: photograph (A) and label map (B) side by side
    trainA/, trainB/, testA/, testB/       CycleGAN: photographs (A) and label maps (B)

so use `--direction BtoA` to go from labels to photographs. All pictures are squeezed from 2048x1024
to 256x256, as in the papers; `test.py --aspect_ratio 2` stretches the results back. Photographs are
resized with a bicubic filter. Label maps are resized with the nearest pixel and all files are PNG,
so that a label map has only the colours of the classes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment()

from combine_A_and_B import add_common_flags, process, side_by_side, write_picture
from PIL import Image

from data.image_io import open_picture
from options.parser import OptionParser
from util import runtime
from util.errors import UserError, first_few
from util.files import folders_in, to_path

SIZE = (256, 256)
PHOTO, LABEL = "_leftImg8bit.png", "_gtFine_color.png"


def main(argv: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--gtFine_dir",
        type=to_path,
        required=True,
        metavar="DIR",
        help="gtFine, with train and val",
    )
    parser.add_argument(
        "--leftImg8bit_dir",
        type=to_path,
        required=True,
        metavar="DIR",
        help="leftImg8bit, with train and val",
    )
    parser.add_argument(
        "--output_dir",
        type=to_path,
        default=Path("./datasets/cityscapes"),
        metavar="DIR",
        help="folder for the data set; by default ./datasets/cityscapes",
    )
    add_common_flags(parser)
    opt, _ = parser.parse(sys.argv[1:] if argv is None else argv)

    jobs, unlabelled, unpictured = [], [], []
    for split, unpaired_split in (("train", "train"), ("val", "test")):
        photos = sorted((opt.leftImg8bit_dir / split).glob(f"*/*{PHOTO}"))
        if not photos:
            raise UserError(
                f"--leftImg8bit_dir {opt.leftImg8bit_dir}: no photographs {split}/CITY/*{PHOTO}"
                f"{folders_in(opt.leftImg8bit_dir)}"
            )
        names = {f"{photo.parent.name}/{photo.name.removesuffix(PHOTO)}" for photo in photos}
        for label in sorted((opt.gtFine_dir / split).glob(f"*/*{LABEL}")):
            if f"{label.parent.name}/{label.name.removesuffix(LABEL)}" not in names:
                unpictured.append(str(label))
        for photo in photos:
            name = photo.name.removesuffix(PHOTO)
            label = opt.gtFine_dir / split / photo.parent.name / f"{name}{LABEL}"
            if not label.is_file():
                unlabelled.append(f"{photo} (looked for {label})")
            paired = opt.output_dir / split / f"{name}.png"
            sides = [opt.output_dir / f"{unpaired_split}{side}" / f"{name}.png" for side in "AB"]
            jobs.append((photo, label, paired, *sides, opt.max_megapixels, opt.overwrite))
    if unlabelled:
        raise UserError(
            f"{len(unlabelled)} of {len(jobs)} photographs have no label map in --gtFine_dir "
            f"{opt.gtFine_dir}: {first_few(unlabelled, 3)}; "
            "nothing was written; unpack gtFine_trainvaltest.zip there"
        )

    if unpictured:
        print(
            f"{len(unpictured)} label maps have no photograph in --leftImg8bit_dir "
            f"{opt.leftImg8bit_dir} and are skipped: {first_few(unpictured, 3)}"
        )
    done, failed = process(prepare, jobs, parallel=not opt.no_multiprocessing)
    print(f"{len(done)} pairs in {opt.output_dir}; {failed} errors")
    if failed:
        raise SystemExit(1)


def prepare(
    photo: Path,
    label: Path,
    paired: Path,
    side_a: Path,
    side_b: Path,
    max_megapixels: float,
    overwrite: bool,
) -> None:
    """Write one pair in both layouts, paired and unpaired."""
    a = open_picture(photo, max_megapixels).resize(SIZE, Image.Resampling.BICUBIC)
    b = open_picture(label, max_megapixels).resize(SIZE, Image.Resampling.NEAREST)
    for picture, path in ((side_by_side(a, b), paired), (a, side_a), (b, side_b)):
        write_picture(picture, path, overwrite)


if __name__ == "__main__":
    sys.exit(runtime.run(main))
