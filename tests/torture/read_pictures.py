"""Read the pictures of a folder in each way of the program: python read_pictures.py FOLDER REPORT

In a process of its own, since a library might crash, hang, or fill the memory. REPORT gets a line
before each reading, and one for whatever is neither a picture nor one clear line about the file.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from data.image_io import is_array, kind_of, picture_size, read_picture
from data.photo.photo import Photo
from data.reading import notes
from data.reading.picture import Side
from util.errors import UserError

MEGAPIXELS = 1.0  # the limit for these pictures
MEMORY = 1 << 30  # bytes that reading one of them may take beyond the program's own
TIME_S = 10


def ways(path: Path, out: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "size", partial(picture_size, path)
    yield "kind", partial(kind_of, path)
    yield "is array", partial(is_array, path)
    yield "colour", lambda: read_picture(path, MEGAPIXELS).ready(Side("A", 3))
    yield "grey", lambda: read_picture(path, MEGAPIXELS).ready(Side("A", 1, (0, 100)))
    for kind in ("keep", "jpg", "tif"):
        yield kind, partial(change, path, out, kind)


def change(path: Path, out: Path, kind: str) -> None:
    """As translate.py does, with a network that makes pictures darker."""
    photo = Photo.open(path, MEGAPIXELS)
    side = Side("A", 3, None if photo.range else (0, 1000))
    seen = photo.seen(side)
    changed, kind = photo.changed(seen, seen * 0.9 - 0.1, side).writable_as(kind)
    changed.write(out / f"result.{kind}", kind, 95)


def complaint(path: Path, read: Callable[[], object]) -> str:
    """What is wrong with how a reading ends; '' if nothing is."""
    started_s = time.monotonic()
    try:
        read()
    except UserError as error:
        if "\n" in str(error) or str(path) not in str(error):
            return f"an unclear message: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}; {traceback.format_tb(error.__traceback__)[-1]}"
    took_s = time.monotonic() - started_s
    return f"{took_s:.0f} s" if took_s > TIME_S / 2 else ""


def main(folder: Path, report: Path) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    said = 0  # bytes that libraries have printed so far
    with open(report, "a", encoding="utf-8", buffering=1) as lines:
        for path in sorted(folder.iterdir()):
            for way, read in ways(path, report.parent):
                lines.write(f"reading {path} {way}\n")
                faulthandler.dump_traceback_later(TIME_S, exit=True)
                if found := complaint(path, read):
                    lines.write(f"{path} {way}: {' '.join(found.split())}\n")
                faulthandler.cancel_dump_traceback_later()
                sys.stderr.flush()
                if (size := os.fstat(2).st_size) > said:
                    lines.write(f"{path} {way}: libraries print {os.pread(2, 200, said)!r}\n")
                    said = size
            notes.take()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
