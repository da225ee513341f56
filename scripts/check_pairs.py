"""Look for what is wrong with pairs, before a network learns from them.

    python scripts/check_pairs.py --dataroot ./my_data

reads every pair once, as train.py would, and writes a page with all of them, the worst first: which
are not aligned (shift, turn, scale), have the wrong partner, occur twice or also in val and test,
are unlike the others, lack a colour profile, or are refused, left out or changed by train.py.
Takes the flags of train.py besides its own; those that say how pictures are read matter, such as
--preprocess, --load_size and --range_A.

Exit status: 0 if nothing was found, 1 if something is worth a look, 2 if there are no pairs, or a
flag is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from util.show.html import ResultsPage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment()

import data
import models
from data.aligned_dataset import AlignedDataset
from data.base_dataset import PHASES, input_name
from data.reading.notes import Notes
from options.checks import PORTRAITS
from options.parser import OptionParser
from options.train_options import LookingOptions
from scripts.checking.findings import MISALIGNED, PARTNER, Findings, find_all, settled, worst_first
from scripts.checking.pairs import Pair, read_pair
from util import runtime
from util.errors import UserError, command_line
from util.files import to_path
from util.packages import needed
from util.show.bars import tqdm
from util.show.names import UniqueNames
from util.util import counted, mkdirs

LABELS = ("A", "B")
TITLE = "Pairs of "
SOME = 5  # findings on the console


class CheckOptions(LookingOptions):
    script = "scripts/check_pairs.py"
    default_model = "pix2pix"
    examples = (PORTRAITS, "./my_data --direction BtoA --out checked")


def main(argv: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--out", type=to_path, metavar="DIR",
        help="folder of the page (default: results/pairs_of_DATA, by the name of --dataroot, or "
        "pairs_of_DATA_PHASE with a --phase other than train)",
    )  # fmt: skip
    argv = sys.argv[1:] if argv is None else argv
    own, words = parser.parse_known_args(argv)
    opt = CheckOptions(models.registry, data.registry).parse(words)
    out = own.out or Path("results") / f"pairs_of_{data_name(opt)}"
    dataset, told = find_pairs(opt)
    print(*told, sep="\n", end="\n" * bool(told))
    claim(out, opt)
    page = needed("util.show.html", "the page").ResultsPage(
        out,
        title=f"{TITLE}{data_name(opt)}",
        winsize_px=256,
        captions={},
        compare=[("A", "B")],
        options=command_line(["python", CheckOptions.script, *argv]),
        order="worst first",
        thing="pair",
    )
    others = other_pairs(opt)
    names, noticed = UniqueNames(), Notes()
    pairs = []
    for files in tqdm(dataset.pairs, opt.phase, unit="pair", disable=None, leave=False):
        pair, shown = read_pair(dataset, files)
        for label, picture in zip(LABELS, shown, strict=False):
            picture.save(out / "images" / file_of(names, pair, label), quality=92)
        noticed.add(pair.noticed)
        pairs.append(pair)
    print(*noticed.summary(), sep="\n", end="\n" * bool(noticed.summary()))
    told += noticed.summary()

    pairs = settled(pairs)
    found = find_all(pairs, others, "AB".index(input_name(opt)))
    fill(page, pairs, found, names, told)
    print(*summary(pairs, found), sep="\n")
    print(f"page: {(out / 'index.html').absolute().as_uri()}")
    if found or told:
        sys.exit(1)


def data_name(opt: argparse.Namespace) -> str:
    name = Path(opt.dataroot).resolve().name
    return name if opt.phase == "train" else f"{name}_{opt.phase}"


def find_pairs(opt: argparse.Namespace) -> tuple[AlignedDataset, list[str]]:
    """The dataset of a run, and what train.py says of its files; UserError without pairs."""
    kind = data.registry.find(opt.dataset_mode)
    if not issubclass(kind, AlignedDataset):
        raise UserError(
            f"--dataset_mode {opt.dataset_mode} has no pairs, and only pairs are checked; if "
            f"{opt.dataroot} has some, pass --model pix2pix"
        )
    try:
        return said_by(kind, opt)
    except UserError as error:
        if opt.skip_unmatched:
            raise
        refused = str(error)
    matched = argparse.Namespace(**{**vars(opt), "skip_unmatched": True})
    try:
        dataset, told = said_by(kind, matched)
    except UserError as error:
        if str(error) == refused:  # what it is about is not single files
            raise
        raise UserError(
            f"{error}; pictures that are no pairs are for --model cycle_gan, and are not checked"
        ) from None
    # The refusal says which are skipped.
    return dataset, [refused, *(line for line in told if not line.startswith("--skip_unmatched"))]


def said_by(
    kind: type[AlignedDataset], opt: argparse.Namespace
) -> tuple[AlignedDataset, list[str]]:
    """A dataset, and the lines that it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        dataset = kind(opt)
    return dataset, said.getvalue().splitlines()


def other_pairs(opt: argparse.Namespace) -> list[Pair]:
    """Those of other phases, in which the pairs of this one must not occur."""
    kind = data.registry.find(opt.dataset_mode)
    pairs = []
    for phase in PHASES:
        own = argparse.Namespace(**{**vars(opt), "phase": phase, "skip_unmatched": True})
        if phase == opt.phase or not kind.has_phase(own, phase):
            continue
        try:
            dataset, _ = said_by(kind, own)
        except UserError as error:
            print(f"not compared with the pairs of {phase}: {error}")
            continue
        progress = tqdm(dataset.pairs, phase, unit="pair", disable=None, leave=False)
        pairs += [read_pair(dataset, files, aligns=False)[0] for files in progress]
    return pairs


def claim(out: Path, opt: argparse.Namespace) -> None:
    """Make the folder of the page, without the pictures of an earlier one.

    Raises UserError where it has other files, or would become part of the data.
    """
    if Path(opt.dataroot).resolve() in [out.resolve(), *out.resolve().parents]:
        raise UserError(f"--out {out} is inside of --dataroot {opt.dataroot}; pass another folder")
    index = out / "index.html"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (index.is_file() and f"<title>{TITLE}" in index.read_text("utf-8", "replace")):
            raise UserError(
                f"--out {out} has files that are no page of this script; pass a new folder"
            )
        for picture in needed("util.show.html", "the page").listed_pictures(out):
            picture.unlink(missing_ok=True)
    mkdirs(out / "images")


def file_of(names: UniqueNames, pair: Pair, label: str) -> str:
    """The file of one of its pictures in images/."""
    return f"{names.of(pair.files[0], label)}_{label}.jpg"


def fill(
    page: ResultsPage,
    pairs: Sequence[Pair],
    found: Findings,
    names: UniqueNames,
    told: Sequence[str],
) -> None:
    """Show all pairs, the worst first; those without pictures are at the top."""
    about = [("train.py", line) for line in told]
    for place in worst_first(len(pairs), found):
        pair = pairs[place]
        notes = [(finding.kind, finding.text) for finding in found.get(place, [])]
        if not pair.halves:
            about += notes
            continue
        name = names.of(pair.files[0], "A")
        if not {MISALIGNED, PARTNER} & dict(notes).keys():
            unlike = "A and B are not alike, so where B lies on A is not measured"
            notes.append(("", f"aligned: {pair.move}" if pair.move else unlike))
        off = {"off (px)": round(pair.move.mean, 2)} if pair.move else {}
        page.add_notes(name, [*notes, *(("", line) for line in pair.facts)])
        page.add_result(
            name=name,
            source=pair.files[0],
            files={label: file_of(names, pair, label) for label in LABELS},
            metrics={**off, "L1": pair.difference},
        )
    page.add_notes("", about)
    page.end()


def summary(pairs: Sequence[Pair], found: Findings) -> list[str]:
    """What was found, in a few lines."""
    alike = sum(pair.move is not None for pair in pairs)
    which = "all" if alike == len(pairs) else "none" if not alike else str(alike)
    lines = [f"{counted(len(pairs), 'pair')}; in {which} of them, A and B show the same thing"]
    if len(pairs) == 1:
        lines = [f"1 pair; A and B {'show' if alike else 'do not show'} the same thing"]
    if not found:
        return [*lines, "nothing found"]
    kinds = Counter(kind for findings in found.values() for kind in {f.kind for f in findings})
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    lines.append(f"{counted(len(found), 'pair')} worth a look: {counts}")
    for place in worst_first(len(pairs), found)[: min(SOME, len(found))]:
        worst = found[place][0]
        lines.append(f"  {Path(pairs[place].files[0]).name} ({worst.kind}): {worst.text}")
    if len(found) > SOME:
        lines.append(f"  and {len(found) - SOME} more on the page")
    return lines


if __name__ == "__main__":
    sys.exit(runtime.run(main))
