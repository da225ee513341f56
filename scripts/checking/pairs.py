"""What there is to know of a pair, once it is read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.aligned_dataset import AlignedDataset
from data.base_dataset import in_file
from data.file_facts import FileFacts, file_facts
from data.reading import notes
from data.reading.notes import Notes
from data.reading.picture import Ready
from data.transforms import Resize, size_of, to_tensor
from scripts.checking.alignment import Move, find_move
from util.errors import UserError
from util.util import tensor2im

SHOWN_PX = 1024  # the longest side of what is shown and measured
SMALL_PX = 32  # of what pictures are compared with those of other pairs by
FLAT = 2.0  # levels of 255: a picture that varies less looks like any other
AS_IT_IS = Resize("none", 0, 0)


class Half(NamedTuple):
    """One picture of a pair.

    Attributes:
        facts: what its file says.
        size: (width, height), upright.
        brightness: the mean of its luma, in levels of 255.
        digest: the same for equal pixels.
        small: (SMALL_PX ** 2,), its luma without mean, of length 1; 0 where it is flat. The product
            of two tells how alike they are, whatever their size, contrast and compression.
    """

    facts: FileFacts
    size: tuple[int, int]
    brightness: float
    digest: bytes
    small: np.ndarray


class Pair(NamedTuple):
    """What was found in a pair.

    Attributes:
        files: A and B; the same one if they lie side by side.
        noticed: what train.py would say of it.
        refused: why train.py would stop at it; '' if it would not.
        halves: A and B; none if one of them cannot be read.
        move: from A to B, in pixels of A; None if they are not alike.
        difference: the mean of |A - B|, in levels of 255.
    """

    files: tuple[str, str]
    noticed: Notes
    refused: str = ""
    halves: tuple[Half, ...] = ()
    move: Move | None = None
    difference: float = 0.0

    @property
    def facts(self) -> list[str]:
        """What its files say: a line for each side, or one for both where they say the same."""
        lines = [str(half.facts) for half in self.halves]
        names = [Path(file).name for file in self.files]
        if len(set(names)) == 1 and len(set(lines)) == 1:
            return [f"A and B, {names[0]}: {lines[0]}"]
        return [f"{s}, {n}: {line}" for s, n, line in zip("AB", names, lines, strict=True)]


def read_pair(
    dataset: AlignedDataset, files: tuple[str, str], *, aligns: bool = True
) -> tuple[Pair, tuple[Image.Image, ...]]:
    """Read a pair as train.py does and measure it; also A and B, to be shown, if there are any.

    With `aligns`, it is found out where B lies on A.
    """
    notes.take()
    halves, shown, refused = [], [], ""
    try:
        pictures = dataset.read_pair(*files)
        for picture, side, file in zip(pictures, dataset.sides, files, strict=True):
            with notes.untold():  # it is told below
                ready = picture.ready(side)
            shown.append(as_shown(ready))
            halves.append(half_of(ready, picture.size, shown[-1], file_facts(file)))
        del ready
        dataset.draw_augment(size_of(dataset.fit_pair(pictures, files[0])[0]))
    except UserError as error:
        refused = str(in_file(files[0], error))
    pair = Pair(files, notes.take(), refused)
    if len(shown) < 2:
        return pair, ()
    a, b = shown[0], shown[1].resize(shown[0].size, Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean()
    move = find_move(luma(a), luma(b)) if aligns else None
    larger = halves[0].size[0] / a.width
    return pair._replace(
        halves=tuple(halves),
        move=move and move.enlarged(larger),
        difference=float(difference),
    ), tuple(shown)


def half_of(ready: Ready, size: tuple[int, int], shown: Image.Image, facts: FileFacts) -> Half:
    values = np.ascontiguousarray(ready)
    digest = hashlib.blake2b(values.data, key=repr(values.shape).encode())
    small = luma(shown.resize((SMALL_PX, SMALL_PX), Image.Resampling.BOX)).ravel()
    apart = small - small.mean()
    length = np.linalg.norm(apart)
    unit = apart / length if length > FLAT * SMALL_PX else np.zeros_like(apart)
    return Half(facts, size, float(luma(shown).mean()), digest.digest(), unit)


def as_shown(ready: Ready) -> Image.Image:
    """In RGB with 8 bits, no larger than SHOWN_PX."""
    width, height = ready.size if isinstance(ready, Image.Image) else ready.shape[1::-1]
    scale = min(1, SHOWN_PX / max(width, height))
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(tensor2im(to_tensor(AS_IT_IS(ready, target))))


def luma(picture: Image.Image) -> np.ndarray:
    """(H, W) float32, in levels of 255."""
    return np.asarray(picture.convert("L"), np.float32)
