"""Weight maps: grey pictures in DATAROOT/trainW that say where the result matters, and how much.

White counts in full, black not at all. A pair without a map counts in full everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.image_folder import by_stem, has_pictures, stem_of
from data.image_io import picture_size
from data.reading.picture import Side
from util.errors import UserError, first_few
from util.util import counted

WEIGHT = Side("", 1, flag="trainW")


def find_maps(folder: Path, pictures: Path, inputs: Sequence[str], columns: int) -> dict[str, str]:
    """The maps of input pictures, by the file of the input; {} if there is no folder of maps.

    Args:
        pictures: the folder that `inputs` are in; maps have their paths, but for the extension.
        columns: how many pictures lie side by side in each input; a map is as large as one.

    Raises UserError for a map of another size than its picture.
    """
    if not has_pictures(folder):
        return {}
    maps = by_stem(folder)
    of_input = {path: stem_of(path, pictures) for path in inputs}
    if strays := [maps[stem] for stem in maps.keys() - set(of_input.values())]:
        print(f"{folder}: no pair has the name of {first_few(sorted(strays))}")
    found = {path: maps[stem] for path, stem in of_input.items() if stem in maps}
    for path, file in found.items():
        width, height = picture_size(path)
        if picture_size(file) != (width // columns, height):
            own = "x".join(map(str, picture_size(file)))
            raise UserError(
                f"{file} is {own}, but its picture is {width // columns}x{height}: a weight map "
                "has the size of its picture"
            )
    print(f"{folder}: weight maps for {len(found)} of {counted(len(inputs), 'pair')}")
    return found
