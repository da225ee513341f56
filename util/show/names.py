"""Names of the files of pictures, after those that they were made from."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from util.files import composed


class UniqueNames:
    """Names of results: the stem of the source file, with more of its path if that name is taken.

    Names are in composed Unicode form, and differ by more than letter case: file names on Windows
    and macOS ignore case, and those on macOS the form.

    If NAME_LABEL.png would be too long for a file name, the name is cut and ends in a hash.
    """

    LONGEST_BYTES = 255  # of a file name on most disks, in UTF-8
    CUT_BYTES = 200  # the same for most labels, so that the files of an input begin alike

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()

    def of(self, path: str, label: str) -> str:
        """The name for the result of a file under a label; the same each time it is asked for."""
        if (path, label) not in self._names:
            file = Path(path)
            stem = composed(file.stem)
            names = [stem, composed(f"{file.parent.name}_{stem}")]
            names.append(f"{names[1]}_{file.suffix[1:]}")
            names += (f"{names[1]}_{number}" for number in range(2, len(self._taken) + 3))
            fitting = (self._fitting(name, f"_{label}.png") for name in names)
            name = next(n for n in fitting if (n.casefold(), label) not in self._taken)
            self._taken.add((name.casefold(), label))
            self._names[path, label] = name
        return self._names[path, label]

    def _fitting(self, name: str, ending: str) -> str:
        """The name, cut if it is too long for a file name with this ending."""

        def encoded(text: str) -> bytes:  # file names may not be valid Unicode
            return text.encode("utf-8", sys.getfilesystemencodeerrors())

        if len(encoded(name + ending)) <= self.LONGEST_BYTES:
            return name
        digest = sha256(encoded(name)).hexdigest()[:8]
        most = min(self.CUT_BYTES, self.LONGEST_BYTES - len(encoded(ending)))
        while len(encoded(f"{name}~{digest}")) > most:
            name = name[:-1]
        return f"{name}~{digest}"
