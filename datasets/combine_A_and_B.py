"""Put pictures A and B side by side in one file per pair, A on the left, for pix2pix.

    python datasets/combine_A_and_B.py --fold_A DIR --fold_B DIR --fold_AB DIR

Two pictures with the same name form a pair, in the folders themselves or in the same subfolder of
both (train, val, test): fold_A/train/1.jpg and fold_B/train/1.png become fold_AB/train/1.jpg, which
`train.py --dataroot fold_AB` reads. A keeps its pixels; if B has another size it is resized to A's
(bicubic), since both halves of a file must be equally large. The file has A's type, except that GIF
becomes PNG, since GIF has too few colours. JPEG and WebP are written at quality 95.

Pictures that cannot be combined are named and counted; the others are still processed, and the
exit status is 1. A file that already exists with other content is an error, and is only replaced
with --overwrite.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment()

from PIL import Image

from data.image_folder import make_dataset
from data.image_io import is_array, open_picture
from options.flags import MAX_MEGAPIXELS
from options.parser import OptionParser, count_or_inf
from util import runtime
from util.errors import UserError
from util.files import composed, to_path
from util.show.bars import tqdm


def main(argv: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--fold_A", type=to_path, required=True, metavar="DIR", help="pictures A")
    parser.add_argument("--fold_B", type=to_path, required=True, metavar="DIR", help="pictures B")
    parser.add_argument(
        "--fold_AB", type=to_path, required=True, metavar="DIR", help="folder for the pairs"
    )
    parser.add_argument(
        "--num_imgs",
        type=count_or_inf,
        default=math.inf,
        metavar="N",
        help="at most N pairs from each subfolder (train, val, test); inf: all",
    )
    parser.add_argument(
        "--use_AB",
        action="store_true",
        help="files named X_A.jpg and X_B.jpg become X.jpg; --fold_A and --fold_B may then be the "
        "same folder",
    )
    add_common_flags(parser)
    opt, _ = parser.parse(sys.argv[1:] if argv is None else argv)
    inputs = {opt.fold_A.resolve(), opt.fold_B.resolve()}
    if len(inputs) == 1 and not opt.use_AB:
        raise UserError(f"--fold_A and --fold_B are the same folder, {opt.fold_A}; see --use_AB")
    if inputs & {opt.fold_AB.resolve(), *opt.fold_AB.resolve().parents}:
        raise UserError(
            f"--fold_AB {opt.fold_AB} is, or is inside, an input folder; choose another one"
        )

    pairs, problems = find_pairs(opt.fold_A, opt.fold_B, opt.use_AB)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    taken: Counter[str] = Counter()
    jobs = []
    for name, path_a, path_b in pairs:
        split = name.partition("/")[0] if "/" in name else ""
        taken[split] += 1
        if taken[split] <= opt.num_imgs:
            ending = ".png" if path_a.suffix.lower() == ".gif" else path_a.suffix
            path_ab = opt.fold_AB / f"{name}{ending}"
            jobs.append((path_a, path_b, path_ab, opt.max_megapixels, opt.overwrite))

    resized, failed = process(combine, jobs, parallel=not opt.no_multiprocessing)
    failed += len(problems)
    print(
        f"{len(resized)} pairs in {opt.fold_AB}; B was resized to A's size in {sum(resized)} of "
        f"them; {failed} errors"
    )
    if failed:
        raise SystemExit(1)


def add_common_flags(parser: OptionParser) -> None:
    """Add the flags for reading and writing pictures, shared by the programs that make pairs."""
    MAX_MEGAPIXELS.add_to(parser)
    parser.add_argument(
        "--no_multiprocessing",
        action="store_true",
        help="process one pair at a time in this process, instead of one process per core",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing files that have other content"
    )


def find_pairs(
    fold_a: Path, fold_b: Path, use_ab: bool
) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """(name, path of A, path of B) of each pair, sorted by name, and a list of problems.

    The name is the path within the folder without the file type and, with `use_ab`, without _A or
    _B.
    """
    side_a = pictures_by_name(fold_a, "_A" if use_ab else "")
    side_b = pictures_by_name(fold_b, "_B" if use_ab else "")
    pairs, problems = [], []
    for name in sorted(side_a.keys() | side_b.keys()):
        paths_a, paths_b = side_a.get(name, []), side_b.get(name, [])
        if len(paths_a) == len(paths_b) == 1:
            pairs.append((name, paths_a[0], paths_b[0]))
        elif len(paths_a) > 1 or len(paths_b) > 1:
            same = " and ".join(str(p) for p in max(paths_a, paths_b, key=len))
            problems.append(f"{same} have the same name; rename or remove one")
        else:
            other = fold_b if paths_a else fold_a
            problems.append(f"{(paths_a or paths_b)[0]} has no partner in {other}")
    return pairs, problems


def pictures_by_name(folder: Path, ending: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in map(Path, make_dataset(folder)):
        stem = composed(path.relative_to(folder).with_suffix("").as_posix())
        if stem.endswith(ending):
            found.setdefault(stem.removesuffix(ending), []).append(path)
    return found


def combine(
    path_a: Path, path_b: Path, path_ab: Path, max_megapixels: float, overwrite: bool
) -> bool:
    """Write one pair; returns whether B was resized."""
    for path in (path_a, path_b):
        if is_array(path):
            raise UserError(
                f"{path} is no picture of 8 bits, and a combined file would keep no more of it; "
                "train.py reads the two folders as they are, named trainA and trainB",
                path,
            )
    a, b = (open_picture(path, max_megapixels) for path in (path_a, path_b))
    resize = a.size != b.size
    if resize:
        b = b.resize(a.size, Image.Resampling.BICUBIC)
    write_picture(side_by_side(a, b), path_ab, overwrite)
    return resize


def side_by_side(a: Image.Image, b: Image.Image) -> Image.Image:
    joined = Image.new("RGB", (a.width + b.width, a.height))
    joined.paste(a, (0, 0))
    joined.paste(b, (a.width, 0))
    return joined


def write_picture(picture: Image.Image, path: Path, overwrite: bool) -> None:
    """Write a picture completely or not at all, in the format given by the path's ending.

    Raises UserError if the file exists with other content (unless `overwrite`), or if the format or
    the disk cannot hold the picture.
    """
    encoded = io.BytesIO()
    try:
        file_format = Image.registered_extensions()[path.suffix.lower()]
        picture.save(encoded, file_format, quality=95, subsampling=0)
        if path.exists():
            if path.read_bytes() == encoded.getvalue():
                return
            if not overwrite:
                raise UserError(f"{path} exists with other content; remove it, or pass --overwrite")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(encoded.getvalue())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: more pixels than WebP allows
        size = f"{picture.width}x{picture.height}"
        raise UserError(f"{path} cannot be written ({size} pixels): {error}") from error


def process(
    function: Callable[..., Any], jobs: list[tuple], parallel: bool
) -> tuple[list[Any], int]:
    """Call function(*job) for each job, in one process per core if `parallel`; shows progress.

    Returns the results and the number of calls that failed with a UserError; each error is printed.
    """
    results: list[Any] = []
    failed = 0
    run = partial(attempt, function)
    pool = None
    if parallel:  # only this process handles Ctrl-C; it stops the others
        ignore = (signal.SIGINT, signal.SIG_IGN)
        pool = ProcessPoolExecutor(initializer=signal.signal, initargs=ignore)
    try:
        # Start the processes before the progress bar, whose thread would not survive a fork.
        outcomes = pool.map(run, jobs, chunksize=4) if pool else map(run, jobs)
        with tqdm(total=len(jobs), unit="pair", disable=not sys.stderr.isatty()) as bar:
            for outcome in outcomes:
                if isinstance(outcome, UserError):
                    failed += 1
                    bar.write(f"error: {outcome}", file=sys.stderr)
                else:
                    results.append(outcome)
                bar.update()
    except BrokenProcessPool as error:
        raise UserError(
            "a process ended unexpectedly, perhaps out of memory; try --no_multiprocessing"
        ) from error
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return results, failed


def attempt(function: Callable[..., Any], job: tuple) -> Any:
    """function(*job) or the UserError it raises, so that one bad file does not stop the rest."""
    try:
        return function(*job)
    except UserError as error:
        return error


if __name__ == "__main__":
    sys.exit(runtime.run(main))
