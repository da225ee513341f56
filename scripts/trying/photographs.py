"""Photographs that were uploaded, and their results, for as long as the program runs."""

from __future__ import annotations

import ntpath
import os
import queue
import re
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path

from data.image_io import open_picture
from data.photo.translate import FreePaths
from scripts.translate import Generator
from util.errors import UserError
from util.run.labels import with_weights
from util.runtime import is_out_of_memory

MOST_UNFINISHED = 24  # uploads and results that wait; a page begins two at a time
MOST_PHOTOS = 200  # that lie in the temporary folder
LOSSLESS_PX = 4e6  # larger previews are JPEGs: a PNG of 24 megapixels takes seconds
MOST_JPEG_PX = 65500  # of a side
STEM_CHARACTERS = 180  # of a name; file systems take 255 bytes
WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"


class Busy(UserError):
    """There is no room for another photograph now."""


@dataclass
class Result:
    """What a checkpoint makes of a photograph.

    Attributes:
        saved_s: when the checkpoint was saved.
        way, why: how the network saw it, and the reason if it was chosen.
        line: the error if it has failed, or what people should know of it.
        began_s: when the network got it; then how long it took.
        name: that of the file to download.
        preview: a PNG or JPEG; None if a browser cannot show such a picture.
    """

    epoch: str
    full_size: str
    saved_s: float
    state: str = WAITING
    way: str = ""
    why: str = ""
    line: str = ""
    began_s: float = 0.0
    seconds: float = 0.0
    name: str = ""
    file: Path | None = None
    preview: Path | None = None


@dataclass
class Upload:
    """A photograph.

    Attributes:
        name: as the browser tells it, without folders.
        file: as it was uploaded.
        is_whole: whether all of it has arrived.
        preview, size: what a browser can show of it, and its (width, height), once it was read.
    """

    number: int
    name: str
    file: Path
    is_whole: bool = False
    size: tuple[int, int] | None = None
    preview: Path | None = None
    results: list[Result] = field(default_factory=list)

    def num_unfinished(self) -> int:
        return (not self.is_whole) + sum(r.state in (WAITING, WORKING) for r in self.results)


class Photographs:
    """Keeps what is uploaded in a folder; one thread applies a run to it, one at a time.

    Args:
        run: the folder of the run.
        load: the generator of a checkpoint.
        epoch: the checkpoint to begin with, which is loaded at once, with all errors of `load`.
        folder: for everything; whoever made it deletes it after `end`.
    """

    def __init__(
        self,
        run: Path,
        load: Callable[[str], Generator],
        epoch: str,
        folder: Path,
        max_megapixels: float,
    ):
        self.run, self.folder, self.max_megapixels = run, folder, max_megapixels
        # The checkpoint before stays too, since people compare two.
        self.load = lru_cache(maxsize=2)(lambda epoch, saved_s: load(epoch))
        self.load(epoch, self.saved_s(epoch))
        self.uploads: dict[int, Upload] = {}
        self.numbers = count(1)
        self.tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.disk, self.has_ended = threading.Lock(), False
        threading.Thread(target=self._work, daemon=True).start()

    def labels(self) -> list[str]:
        """The checkpoints: latest, best, and the others from the newest on."""

        def order(label: str) -> tuple[int, int, str]:
            first = {"latest": 0, "best": 1}.get(label, 2)
            return first, -int("0" + re.sub(r"\D", "", label)), label

        return sorted(with_weights(self.run), key=order)

    def saved_s(self, epoch: str) -> float:
        """When a checkpoint was saved, since training may replace it meanwhile."""
        files = self.run.glob(f"{epoch}_net_*.pth")
        return max((file.stat().st_mtime for file in files), default=0.0)

    def begin(self, name: str) -> Upload:
        """A new upload, whose file is to be filled; `Busy` if there is no room."""
        self._refuse_more()
        if len(self.uploads) >= MOST_PHOTOS:
            raise Busy(f"{MOST_PHOTOS} photographs are open: remove some")
        number = next(self.numbers)
        folder = self.folder / str(number)
        folder.mkdir()
        name = clean(name)
        # Some formats are known by their ending alone.
        ending = re.search(r"\.[a-z0-9]{1,5}$", name.lower())
        upload = Upload(number, name, folder / f"original{ending[0] if ending else ''}")
        self.uploads[number] = upload
        return upload

    def translate(self, upload: Upload, epoch: str, full_size: str) -> Result:
        """Begin a result, unless it is there. UserError for an unknown checkpoint."""
        if epoch not in self.labels():
            raise UserError(f"{epoch}: there is no such checkpoint")
        saved_s = self.saved_s(epoch)
        for result in upload.results:
            same = (result.epoch, result.full_size, result.saved_s) == (epoch, full_size, saved_s)
            if same and result.state != FAILED:
                return result
        self._refuse_more()
        result = Result(epoch, full_size, saved_s)
        upload.results.append(result)
        place = upload.file.parent / f"result{len(upload.results)}"
        self.tasks.put(lambda: self._translate(upload, result, place))
        return result

    def remove(self, upload: Upload) -> None:
        """Forget a photograph, and delete its files as soon as the thread needs them no more."""
        self.uploads.pop(upload.number, None)
        self.tasks.put(lambda: shutil.rmtree(upload.file.parent, ignore_errors=True))

    def end(self) -> bool:
        """Nothing is written from now on; returns whether the network still works."""
        with self.disk:
            self.has_ended = True
        return any(r.state == WORKING for u in list(self.uploads.values()) for r in u.results)

    def _refuse_more(self) -> None:
        unfinished = sum(upload.num_unfinished() for upload in self.uploads.values())
        if unfinished >= MOST_UNFINISHED:
            raise Busy(f"{unfinished} photographs are waiting: try again when some are done")

    def _work(self) -> None:
        while True:
            self.tasks.get()()

    def _translate(self, upload: Upload, result: Result, place: Path) -> None:
        with self.disk:
            if self.has_ended or upload.number not in self.uploads:
                return
            result.began_s, result.state = time.time(), WORKING
        try:
            self._make(upload, result, place)
            state = DONE
        except Exception as error:
            state, result.line = FAILED, told(error, upload)
        result.seconds = time.time() - result.began_s
        result.state = state

    def _make(self, upload: Upload, result: Result, place: Path) -> None:
        generator = self.load(result.epoch, result.saved_s).seeing(result.full_size)
        result.way, result.why = generator.way, generator.why
        photo = generator.translator.open(upload.file)
        if upload.size is None:
            upload.size = photo.size
            with self._writing():
                upload.preview = self._preview(upload.file, upload.file.parent)
        photo, kind = generator.changed(photo).writable_as("keep")
        named = Path(f"{Path(upload.name).stem}_{self.run.name}")
        result.name = FreePaths()(named, kind, Path(upload.name)).name
        file = place / f"result{Path(result.name).suffix}"
        with self._writing():
            result.line = "; ".join(photo.write(file, kind, quality=95))
            result.preview = self._preview(file, place)
        result.file = file

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Inside, the folder is there."""
        with self.disk:
            if self.has_ended:
                raise UserError("the program has ended")
            yield

    def _preview(self, file: Path, folder: Path) -> Path | None:
        """A copy for browsers, which know neither TIFF nor 16 bits; None of what is no colours."""
        try:
            image = open_picture(file, self.max_megapixels)
        except UserError:
            return None
        if image.width * image.height <= LOSSLESS_PX or max(image.size) > MOST_JPEG_PX:
            path = folder / "preview.png"
            image.save(path, compress_level=1)
        else:
            path = folder / "preview.jpg"
            image.save(path, quality=95, subsampling=0)
        return path


def told(error: Exception, upload: Upload) -> str:
    """One line about what went wrong with a photograph, whose name stands above it."""
    if isinstance(error, (UserError, OSError)):
        line, path = str(error), str(upload.file)
        for own in (path, repr(path)[1:-1]):  # where Windows doubles backslashes
            line = line.replace(f"{own}: ", "").replace(own, upload.name)
        return line.replace(f"{upload.file.parent}{os.sep}", "")
    if is_out_of_memory(error):
        return "the memory does not suffice; scaled and transfer need the least"
    traceback.print_exception(error, file=sys.stderr)
    return "an error in the program; its terminal tells more"


def clean(name: str) -> str:
    """The name of a file that a browser tells, without folders and drive, as plain text."""
    name = ntpath.basename(name.replace("/", "\\"))
    name = "".join(c for c in name if c.isprintable()).strip()
    stem, ending = Path(name).stem, Path(name).suffix
    if not stem.strip(". "):
        stem, ending = "photograph", ""
    return stem[:STEM_CHARACTERS] + ending[:16]
