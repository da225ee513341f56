"""The data sets and trained generators of the papers, and the commands that download them.

datasets/download.py does it; it needs only Python, so this file does too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from util.errors import command_line
from util.startup import ROOT

HOST = "https://efrosgans.eecs.berkeley.edu"


@dataclass(frozen=True)
class Collection:
    """A set of downloads: their address, their folder, and the entries that show one is there.

    {} in url and folder stands for the name. Sizes are approximate download sizes in MB.
    """

    url: str
    folder: str
    entries: tuple[str, ...]
    sizes: dict[str, int]


CYCLEGAN_MODELS = (
    *("apple2orange", "orange2apple", "horse2zebra", "zebra2horse", "monet2photo"),
    *("style_monet", "style_cezanne", "style_ukiyoe", "style_vangogh"),
    *("summer2winter_yosemite", "winter2summer_yosemite", "sat2map", "map2sat"),
    *("cityscapes_photo2label", "cityscapes_label2photo"),
    *("facades_photo2label", "facades_label2photo", "iphone2dslr_flower"),
)
COLLECTIONS = {
    "pix2pix_dataset": Collection(
        f"{HOST}/pix2pix/datasets/{{}}.tar.gz",
        "datasets/{}",
        ("train", "val", "test"),
        {
            **{"cityscapes": 0, "edges2handbags": 8600, "edges2shoes": 2200},
            **{"facades": 30, "maps": 250, "night2day": 2000},
        },
    ),
    "cyclegan_dataset": Collection(
        f"{HOST}/cyclegan/datasets/{{}}.zip",
        "datasets/{}",
        ("trainA", "trainB", "testA", "testB"),
        {
            **{"ae_photos": 10, "apple2orange": 78, "cezanne2photo": 280, "cityscapes": 0},
            **{"facades": 35, "grumpifycat": 20, "horse2zebra": 117, "iphone2dslr_flower": 340},
            **{"maps": 1480, "monet2photo": 305, "summer2winter_yosemite": 133},
            **{"ukiyoe2photo": 293, "vangogh2photo": 307},
        },
    ),
    "pix2pix_model": Collection(
        f"{HOST}/pix2pix/models-pytorch/{{}}.pth",
        "checkpoints/{}_pretrained",
        ("latest_net_G.pth",),
        dict.fromkeys(
            ("day2night", "edges2shoes", "facades_label2photo", "map2sat", "sat2map"), 218
        ),
    ),
    "cyclegan_model": Collection(
        f"{HOST}/cyclegan/pretrained_models/{{}}.pth",
        "checkpoints/{}_pretrained",
        ("latest_net_G.pth",),
        dict.fromkeys(CYCLEGAN_MODELS, 46),
    ),
}


def download_command(folder: Path, *, paired: bool) -> str:
    """The command that downloads a data set which is missing at a folder; '' if none has its name.

    The folder may also be one inside the data set. Some names exist with pairs and without.
    """
    kinds = ["cyclegan_dataset", "pix2pix_dataset"]
    for place in (folder, folder.parent):
        for kind in sorted(kinds, reverse=paired):
            if place.name in COLLECTIONS[kind].sizes and not place.exists():
                usual = ROOT / COLLECTIONS[kind].folder.format(place.name)
                words = ["python", short(ROOT / "datasets" / "download.py"), kind, place.name]
                elsewhere = place.resolve() != usual
                return command_line(words + ["--output_dir", str(place)] * elsewhere)
    return ""


def short(path: Path) -> str:
    """A path relative to the working folder if it is inside it."""
    here = Path(os.path.realpath(os.curdir))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
