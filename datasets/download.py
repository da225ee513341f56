"""Download a data set or a trained generator from the pix2pix and CycleGAN papers.

    python datasets/download.py pix2pix_dataset facades       datasets/facades
    python datasets/download.py cyclegan_dataset horse2zebra  datasets/horse2zebra
    python datasets/download.py pix2pix_model sat2map         checkpoints/sat2map_pretrained
    python datasets/download.py cyclegan_model horse2zebra    checkpoints/horse2zebra_pretrained

Without a name, it lists the available names and their sizes. Needs only Python.

A download is checked before it is moved into place. Its length must be what the server announced,
and all checksums of the archive must match. It may hold only files and folders, none of them
outside its own folder, and must have pictures in the expected folders. Weights must be in a format
that PyTorch writes. A failed download leaves nothing behind. facades and maps exist for both
papers; the two versions share a folder without conflicts.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from options.parser import OptionParser
from util.errors import UserError, did_you_mean, exit_status
from util.files import to_path
from util.run.downloads import COLLECTIONS

ROOT = Path(__file__).resolve().parent.parent
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60
PICTURES = tuple(".jpg .jpeg .jfif .png .gif .bmp .ppm .tif .tiff .webp".split())


def main(argv: list[str]) -> None:
    kind, *rest = argv or ["--help"]
    if kind not in COLLECTIONS and kind not in ("-h", "--help"):
        raise UserError(f"{kind!r} is not one of {', '.join(COLLECTIONS)}; see --help")
    if kind not in COLLECTIONS:
        print(__doc__, *(f"{each}:\n{listed(each)}" for each in COLLECTIONS), sep="\n")
        return
    parser = OptionParser(
        prog=f"download_{kind}", description=__doc__, epilog=f"names:\n{listed(kind)}"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", nargs="?", default="", help="omit it to list the available names")
    parser.add_argument("--url", help="download from this address, for instance a mirror")
    parser.add_argument(
        "--from",
        dest="file",
        type=to_path,
        metavar="FILE",
        help="use this file, downloaded earlier",
    )
    parser.add_argument(
        "--output_dir",
        type=to_path,
        metavar="DIR",
        help="folder to create instead of the usual one",
    )
    opt, _ = parser.parse(rest)
    if not opt.name:
        print(listed(kind))
        return
    collection = COLLECTIONS[kind]
    if opt.url and opt.file:
        raise UserError("--url downloads, --from uses a file on this disk: pass one of them")
    if opt.file and not opt.file.is_file():
        raise UserError(f"--from {opt.file}: there is no such file")
    if not (opt.url or opt.file):
        check_name(kind, opt.name)
    if PureWindowsPath(opt.name).name != opt.name or opt.name == "..":
        raise UserError(f"{opt.name!r} cannot be the name of a folder")
    target = opt.output_dir or ROOT / collection.folder.format(opt.name)
    check_target(target, collection.entries)

    source = opt.file or opt.url or collection.url.format(opt.name)
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            file = opt.file or Path(temporary, "download")
            if not opt.file:
                fetch(source, file)
            new = Path(temporary, "new")
            new.mkdir()
            if kind.endswith("_model"):
                check_weights(file)
                shutil.copyfile(file, new / collection.entries[0])
            else:
                unpack(file, new)
                new = find_data_set(new, opt.name, kind)
            move(new, target)
    except (OSError, UserError) as error:
        raise UserError(f"{source}: {error}; nothing was kept") from error
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C; nothing was kept", file=sys.stderr)
        raise
    finally:
        for parent in made:  # rmdir only removes empty ones, so none after a success
            with contextlib.suppress(OSError):
                parent.rmdir()
    print(f"{opt.name} is in {target}: {', '.join(sorted(p.name for p in target.iterdir()))}")


def listed(kind: str) -> str:
    """The names of a collection with their sizes, one per line."""
    return "\n".join(
        f"    {name:<24}{f'{size:>5} MB' if size else 'from cityscapes-dataset.com'}"
        for name, size in COLLECTIONS[kind].sizes.items()
    )


def check_name(kind: str, name: str) -> None:
    names = COLLECTIONS[kind].sizes
    if name not in names:
        raise UserError(
            f"there is no {kind} {name!r}{did_you_mean(name, names)}; available: "
            f"{', '.join(names)}; anything else needs --url or --from"
        )
    if name == "cityscapes":
        raise UserError(
            "the licence of Cityscapes does not allow redistribution: get "
            "gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip from "
            "https://cityscapes-dataset.com, then run datasets/prepare_cityscapes_dataset.py"
        )


def check_target(target: Path, entries: tuple[str, ...]) -> None:
    """Reject a target that already has such entries, or that cannot be a folder."""
    for path in (target, *target.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{target} cannot be a folder, since {path} is a file")
    if there := [entry for entry in entries if (target / entry).exists()]:
        raise UserError(
            f"{target} already has {' and '.join(there)}; remove that to download it again, or "
            "pass another --output_dir"
        )


def fetch(url: str, file: Path) -> None:
    """Download to a file, and check that it has the announced length.

    Raises UserError for a bad address, a bad response or a failed connection.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, open(file, "wb") as sink:
            announced = answer.headers["Content-Length"]
            total = int(announced) if announced else None
            free = shutil.disk_usage(file.parent).free
            if total and total > free:
                raise UserError(f"it has {megabytes(total)}, the disk only {megabytes(free)} free")
            print(f"{url}: {megabytes(total) if total else 'unknown size'}", flush=True)
            progress = Progress("downloaded", total)
            while chunk := answer.read(CHUNK_BYTES):
                sink.write(chunk)
                progress.add(len(chunk))
            progress.end()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"cannot be downloaded ({error}); try again, or pass another address with --url"
        ) from error
    if total is not None and progress.done != total:
        raise UserError(f"broke off after {progress.done} of {total} bytes; try again")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar.gz archive and verify all of its checksums.

    Raises UserError for any other file, a damaged archive, or one with links, devices or paths
    outside the folder.
    """
    progress, num_files = Progress("unpacked", None), 0
    try:
        for num_bytes in extract(archive, folder):
            progress.add(num_bytes)
            num_files += 1
        progress.end()
    except UserError:
        raise
    except Exception as error:  # both libraries raise many types for damaged or unusual archives
        raise UserError(f"cannot be unpacked ({error})") from error
    if not progress.done:
        raise UserError("has no files in it")
    print(f"{num_files} files, all checksums correct")


def extract(archive: Path, folder: Path) -> Iterator[int]:
    """Yield the size of each file after extracting it; at the end, all checksums are verified."""
    with open(archive, "rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                info.filename = info.filename.replace("\\", "/")  # some programs on Windows use \
                kind = stat.S_IFMT(info.external_attr >> 16)
                check_member(info.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
                if not info.is_dir():
                    packed.extract(info, folder)
                    yield info.file_size
    elif start.startswith(b"\x1f\x8b"):
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as packed:
            # A second check. Python warns without it from 3.12 on, and lacks it before 3.10.12.
            packed.extraction_filter = getattr(tarfile, "data_filter", None)
            for member in packed:
                check_member(member.name, member.isfile() or member.isdir())
                if member.isfile():
                    packed.extract(member, folder, set_attrs=False)
                    yield member.size
            while stream.read(CHUNK_BYTES):  # gzip compares its checksum at the very end
                pass
    else:
        raise UserError(f"is neither a zip nor a tar.gz archive: it starts with {start!r}")


def check_member(name: str, is_plain: bool) -> None:
    """Reject links, devices and paths outside the folder, which zipfile would silently change."""
    path = PureWindowsPath(name)  # understands / and \, drives and roots, on every system
    if path.anchor or ".." in path.parts:
        raise UserError(f"refused, since {name!r} in it points outside the folder")
    if not is_plain:
        raise UserError(f"refused, since {name!r} in it is a link or device")


def find_data_set(folder: Path, name: str, kind: str) -> Path:
    """Find the data set in an unpacked archive, which may wrap it in one more folder.

    Raises UserError if it is a data set of another name, or if no expected folder has pictures.
    """
    collection = COLLECTIONS[kind]
    shown = [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    if len(shown) == 1 and shown[0].is_dir() and shown[0].name not in collection.entries:
        folder = shown[0]
        if folder.name != name and {folder.name, name} <= collection.sizes.keys():
            raise UserError(f"is the data set {folder.name}, not {name}")
    pictures = (
        path
        for entry in collection.entries
        for path in (folder / entry).rglob("*")
        if path.suffix.lower() in PICTURES
    )
    if next(pictures, None) is None:
        wanted = ", ".join(collection.entries)
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:8])
        raise UserError(f"is no {kind}: it has no pictures in any of {wanted}; it has {found}")
    return folder


def check_weights(file: Path) -> None:
    """Reject what torch.save did not write: a zip archive or, before PyTorch 1.6, a pickle."""
    with open(file, "rb") as opened:
        start = opened.read(2)
    try:
        if whole := start == b"PK":
            with zipfile.ZipFile(file) as archive:
                whole = any(name.endswith("data.pkl") for name in archive.namelist())
                whole = whole and archive.testzip() is None
        else:
            whole = start == b"\x80\x02"
    except zipfile.BadZipFile:
        whole = False
    if not whole:
        raise UserError("is damaged, or not a file of PyTorch weights")


def move(new: Path, target: Path) -> None:
    """Rename `new` to the target or, if that folder exists already, move its entries there."""
    if not target.exists():
        os.rename(new, target)
        return
    entries = list(new.iterdir())
    if there := [e.name for e in entries if (target / e.name).exists()]:
        raise UserError(f"{target} already has {' and '.join(there)}")
    moved: list[Path] = []
    try:
        for entry in entries:
            os.rename(entry, target / entry.name)
            moved.append(entry)
    except BaseException:
        for entry in moved:
            os.rename(target / entry.name, entry)
        raise


class Progress:
    """Shows the bytes so far: a terminal gets one line, rewritten; anything else, new lines."""

    def __init__(self, verb: str, total: int | None):
        self.verb, self.total, self.done = verb, total, 0
        self.start_s = self.shown_s = time.monotonic()
        # What is printed before and after each line, and the seconds between two lines.
        self.style = ("\r", "", 0.2) if sys.stderr.isatty() else ("", "\n", 10)

    def add(self, num_bytes: int) -> None:
        self.done += num_bytes
        before, after, every_s = self.style
        now_s = time.monotonic()
        if now_s - self.shown_s >= every_s:
            self.shown_s = now_s
            share = f" of {megabytes(self.total)}" if self.total else ""
            rate = megabytes(self.done / (now_s - self.start_s))
            line = f"{self.verb} {megabytes(self.done)}{share}, {rate}/s"
            print(f"{before}{line:<60}", end=after, file=sys.stderr, flush=True)

    def end(self) -> None:
        line = f"{self.verb} {megabytes(self.done)}"
        print(f"{self.style[0]}{line:<60}", file=sys.stderr)


def megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:.1f} MB"


def run(argv: list[str]) -> int:
    """Run a command; returns its exit status, 2 after an error, which is printed in one line."""
    program = f"download_{argv[0]}" if argv and argv[0] in COLLECTIONS else "download.py"
    return exit_status(f"{program}: error", lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
