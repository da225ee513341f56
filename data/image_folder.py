"""Find the pictures in a folder, and a plain dataset of them for third-party files."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils import data

from data.image_io import kind_of, open_picture
from util.errors import UserError, first_few
from util.files import composed, folders_in
from util.util import counted, listed

IMG_EXTENSIONS = tuple(
    ".jpg .jpeg .jfif .png .gif .bmp .ppm .tif .tiff .webp .avif .jp2 .heic .heif .npy .npz".split()
)
NOTES = (".txt", ".json", ".md", ".db", ".ini")  # ignored without a word


def is_image_file(filename: str) -> bool:
    """Whether a file name is a picture's: not hidden, with a known extension in any letter case."""
    hidden = os.path.basename(filename).startswith(".")
    return filename.lower().endswith(IMG_EXTENSIONS) and not hidden


def make_dataset(dir: str | Path, max_dataset_size: float = math.inf) -> list[str]:
    """Sorted paths of the pictures in a folder and its subfolders; follows links.

    Prints how many other files it ignores, and how many pictures --max_dataset_size leaves out.
    Raises UserError if the folder is missing or holds no picture, or if a part of it is unreadable.
    """
    folder = Path(dir)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder{folders_in(folder.parent)}")
    files = list(visible_files(folder))
    paths = sorted(filter(is_image_file, files))
    others = {f for f in files if not f.lower().endswith(NOTES)}.difference(paths)
    if not paths:
        raise UserError(no_pictures(folder))
    if lost := sorted(f for f in others if os.path.islink(f) and not os.path.exists(f)):
        raise UserError(f"{lost[0]}: this link leads nowhere; mend or remove it", lost[0])
    if others:
        endings = sorted({Path(file).suffix or Path(file).name for file in others})
        kinds = f"{counted(len(others), 'file')} of other types ({first_few(endings)})"
        print(f"{folder}: ignored {kinds}")
    return at_most(max_dataset_size, paths, str(folder), "pictures")


def at_most(max_dataset_size: float, found: list, where: str, things: str) -> list:
    """The first of what was found; prints how many these are if there are more."""
    if len(found) <= max_dataset_size:
        return found
    limit = int(max_dataset_size)
    print(f"{where}: {limit} of {len(found)} {things} (--max_dataset_size {limit})")
    return found[:limit]


def no_pictures(folder: Path) -> str:
    """What a folder without pictures has instead, for an error message."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    kinds = Counter(Path(f).suffix.lower() or Path(f).name for f in visible_files(folder))
    if not kinds:
        return f"{folder} has no pictures"
    most_first = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    counts = listed([f"{kinds[kind]} {kind}" for kind in most_first[:8]])
    return (
        f"{folder} has {counts} file{'s' if kinds.total() > 1 else ''}"
        f"{' and others' if len(kinds) > 8 else ''}, but none of these types: "
        f"{', '.join(IMG_EXTENSIONS)}"
    )


def has_pictures(folder: Path) -> bool:
    """Whether there is at least one picture in the folder or its subfolders."""
    return any(map(is_image_file, visible_files(folder)))


def kind_in(folder: str | Path) -> str:
    """The type of values in the first good picture of a folder, or in this one; '' if none.

    See `kind_of`.
    """
    files = [str(folder)] if Path(folder).is_file() else sorted(visible_files(Path(folder)))
    return next(filter(None, map(kind_of, filter(is_image_file, files))), "")


def visible_files(folder: Path) -> Iterator[str]:
    """Yield the paths of visible files in a folder and its subfolders, each real folder once.

    Yields none if there is no such folder. Raises UserError if it or a subfolder is unreadable.
    """

    def refuse(error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if not (missing and error.filename == str(folder)):
            raise UserError(
                f"{error.filename}: this folder cannot be read: {error.strerror}; fix its "
                "permissions or remove it",
                error.filename,
            ) from error

    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back to a parent folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(root, name) for name in files if not name.startswith("."))


def default_loader(path: str) -> Image.Image:
    """A picture as RGB, upright; UserError if it is bad or exceeds --max_megapixels."""
    return open_picture(path)


class ImageFolder(data.Dataset):
    """The pictures in a folder and its subfolders; with `return_paths`, as (picture, path).

    Args:
        transform: applied to each picture, if not None.
        loader: opens the picture at a path.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[[Any], Any] | None = None,
        return_paths: bool = False,
        loader: Callable[[str], Any] = default_loader,
    ):
        self.root, self.imgs = root, make_dataset(root)
        self.transform, self.return_paths, self.loader = transform, return_paths, loader

    def __len__(self) -> int:
        return len(self.imgs)

    def __getitem__(self, index: int) -> Any:
        path = self.imgs[index]
        picture = self.loader(path)
        picture = self.transform(picture) if self.transform is not None else picture
        return (picture, path) if self.return_paths else picture


def stem_of(path: str, folder: Path) -> str:
    """A file's path in a folder without the extension, in composed Unicode form."""
    return composed(Path(path).relative_to(folder).with_suffix("").as_posix())


def by_stem(folder: Path) -> dict[str, str]:
    """The pictures of a folder by `stem_of`; UserError if two have the same."""
    found: dict[str, str] = {}
    for path in make_dataset(folder):
        stem = stem_of(path, folder)
        if stem in found:
            spelt = {Path(p).with_suffix("").name for p in (path, found[stem])}
            forms = " in two Unicode forms" if len(spelt) > 1 else ""
            raise UserError(
                f"{path} and {found[stem]} have the same name{forms}; remove or rename one"
            )
        found[stem] = path
    return found
