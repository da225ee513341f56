"""Write full-size results: folder/full/ has the folders, names and formats of the inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from util.files import writing
from util.show.bars import tqdm
from util.util import counted

LIST = "full.jsonl"  # what the last test has left in full/, a name in each line


class Photograph(Protocol):
    """A changed photograph; see data.photo."""

    def writable_as(self, kind: str) -> tuple[Photograph, str]: ...

    def write(self, path: Path, kind: str, quality: int) -> list[str]: ...


class Photographs:
    """Writes each photograph as soon as it is made.

    The first replaces those that the last test left in the same folder, with folders that this
    leaves empty; other files stay, and so do those that are inputs of this one.

    Args:
        folder: results/NAME/PHASE_EPOCH.
        root: the folder that those of the inputs are told from.
        inputs: their files, resolved.
        free_path: a path that no other result has, from one without ending, the kind of the file,
            and the input.
        kind: see --output_format.
        name: of the result, without ending, from that of the input and the label.
        quality: of JPEG.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        inputs: Collection[Path],
        *,
        free_path: Callable[[Path, str, Path], Path],
        kind: str,
        name: Callable[[str, str], str],
        quality: int,
    ):
        self.folder, self.root, self.inputs = folder, root.absolute(), inputs
        self.free_path, self.kind, self.name, self.quality = free_path, kind, name, quality
        self.num_written = 0
        self.told: set[str] = set()

    def add(self, source: Path, label: str, photograph: Photograph) -> Path:
        """Write the result of an input; returns its path.

        Prints each note about such photographs once, with the file that it was first about. Raises
        UserError where the disk refuses.
        """
        if not self.num_written:
            self._remove_last()
        photograph, kind = photograph.writable_as(self.kind)
        parent = source.absolute().parent
        inside = parent.relative_to(self.root) if parent.is_relative_to(self.root) else Path()
        place = self.folder / "full" / inside / self.name(source.stem, label)
        path = self.free_path(place, kind, source)
        notes = [n for n in photograph.write(path, kind, self.quality) if n not in self.told]
        if notes:
            self.told.update(notes)
            tqdm.write("; ".join([f"{source}: {notes[0]}", *notes[1:]]))
        name = path.relative_to(self.folder / "full").as_posix()
        with writing(self.folder / LIST), open(self.folder / LIST, "a", encoding="ascii") as file:
            file.write(f"{json.dumps(name)}\n")
        self.num_written += 1
        return path

    def _remove_last(self) -> None:
        """Remove the photographs of the last test; a damaged list removes nothing."""
        file = self.folder / LIST
        if not file.is_file():
            return
        full = (self.folder / "full").resolve()
        try:
            lines = file.read_text(encoding="ascii").splitlines()
            old = [(full / str(json.loads(line))).resolve() for line in lines]
            if not all(path.is_relative_to(full) for path in old):
                raise ValueError("it names files elsewhere")
        except (ValueError, TypeError) as error:
            tqdm.write(f"the photographs of the last test stay: {file} is damaged: {error}")
            return
        for path in (path for path in old if path not in self.inputs):
            path.unlink(missing_ok=True)
            remove_empty(path.parent, full)
        file.unlink()

    def line(self) -> str:
        """How many were written, and where."""
        return f"{counted(self.num_written, 'full-size result')} in {self.folder / 'full'}"


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder below the root if it is empty, and so on upwards."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:  # it holds other files, or is not ours to remove
            return
        folder = folder.parent
