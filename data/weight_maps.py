"""Weight maps: grey pictures in DATAROOT/trainW that say where the result matters, and how much.

White counts in full, black not at all. A pair without a map counts in full everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.image_folder import by_stem, is_image_file, stem_of, visible_files
from data.image_io import opened, picture_size, reading
from data.reading import notes
from data.reading.arrays import array_file
from data.reading.picture import BytePicture, Picture, Side, from_array, in_srgb, upright
from util.errors import UserError, first_few

WEIGHT = Side("", 1, flag="trainW")
MOST_TINT = 8 / 255  # by which channels may differ: a JPEG does not keep grey exactly


def find_maps(folder: Path, pictures: Path) -> dict[str, str]:
    """The maps of the pictures in a folder, by the picture's file; prints which have no picture.

    Maps have the paths of their pictures, but for the extension.
    """
    maps = by_stem(folder)
    files = filter(is_image_file, visible_files(pictures))
    stems = {file: stem_of(file, pictures) for file in files}
    if strays := [maps[stem] for stem in maps.keys() - set(stems.values())]:
        print(f"{folder}: no picture in {pictures} has the name of {first_few(sorted(strays))}")
    return {file: maps[stem] for file, stem in stems.items() if stem in maps}


def check_maps(maps: Mapping[str, str], columns: int) -> None:
    """Raise UserError for a map that cannot be one, as far as the headers of files tell.

    Args:
        maps: by the file of the picture.
        columns: how many pictures lie side by side in a file; a map is as large as one.
    """
    for path, file in maps.items():
        width, height = picture_size(path)
        own = picture_size(file)
        if own != (width // columns, height):
            raise UserError(
                f"{file} is {own[0]}x{own[1]}, but its picture is {width // columns}x{height}: a "
                "weight map has the size of its picture"
            )
        header = array_file(file)
        if header is not None and header.range is None:
            raise no_map(file, f"has values of {header.dtype}")


def read_map(path: str) -> Picture:
    """A map without colour management: weights are grey / white, whatever its profile says.

    Raises UserError if it is no map.
    """
    picture: Picture
    with reading(path):
        file = array_file(path)
        if file is None:
            with opened(path) as opened_picture:
                image = in_srgb(upright(opened_picture), None, path)
            picture = BytePicture(image, path)
            values, white, has_alpha = np.asarray(image), 255.0, "A" in image.mode
        else:
            picture = deep = from_array(file)
            deep.profile = b""
            assert deep.own_range is not None  # see check_maps
            values, (_, white), has_alpha = deep.values, deep.own_range, deep.has_alpha
    greys = values[..., :-1] if has_alpha else values
    low, high = (float(value) / white for value in (greys.min(), greys.max()))
    if not 0 <= low <= high <= 1:  # nor if some are no numbers
        raise no_map(path, f"has values from {low:g} to {high:g}")
    if has_alpha and values[..., -1].min() < white:
        raise no_map(path, "is transparent in places")
    tint = greys.max(2).astype(float) - greys.min(2)
    if greys.shape[2] not in (1, 3) or tint.max() > MOST_TINT * white:
        raise no_map(path, "has colours")
    if high == 0:
        notes.noticed.say("black map", f"{path} is all black, so its pair does not count at all")
    return picture


def no_map(path: str, why: str) -> UserError:
    return UserError(
        f"{path} {why}: a weight map is opaque and grey, of 8 or 16 bits or floats from 0 (black: "
        "does not count) to 1 (white); save it so",
        path,
    )
