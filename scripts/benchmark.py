"""Measure how much the speed features gain on this machine, as one table.

    python scripts/benchmark.py
    python scripts/benchmark.py --rows step_pix2pix loader --steps 20 --out table.md
    python scripts/benchmark.py --device cuda --size 1024 --ways pix2pix cycle_gan --out gpu.json

Each row compares three ways to run the same program. They alternate (plain, default, best, plain,
...), so that other load on the machine affects all three alike:

    plain     every speed feature off: PyTorch in eager fp32 and its usual memory layout, with its
              stock Adam, convolutions and norms; one network call per input; no cache; freed memory
              returned to the system as the C library decides; the program waits for its logs
    default   the program's defaults
    best      --precision auto --compile, with pictures cached in memory; test.py does not compile,
              but takes batches of eight

With --ways, it compares single settings instead: each precision, layout, compiling, recomputing,
joined inputs, and cuDNN's search, by the time of a step and, on a GPU, by the memory that it takes.

Cells show the median and, if there are several measurements, the range in brackets. A gain above 1
is better than plain, for times, memory and rates alike. Files are written to the system's temporary
folder; to measure another disk, point the environment variable TMPDIR to it. All rows together take
about half an hour on two processor cores.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from data.image_folder import make_dataset
from options.parser import OptionParser, whole
from scripts.benchmarking.rows import ROWS
from scripts.benchmarking.table import Row, heading, machine, table
from scripts.benchmarking.variants import ROOT, Setting
from scripts.benchmarking.ways import Way, compare, table_of
from util import runtime
from util.errors import UserError
from util.files import to_path
from util.speed.performance import require_compiler


def main(arguments: list[str] | None = None) -> None:
    opt = parse_arguments(arguments)
    device = runtime.resolve_device(opt.device)
    if "memory" in opt.rows and os.name == "nt" and device.type == "cpu":
        print("memory is skipped: Windows does not report the peak", file=sys.stderr)
        opt.rows.remove("memory")
    num_pictures = 4 if opt.quick else 50
    size_px = opt.size or (32 if opt.quick else 256)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        dataroot = opt.dataroot
        if dataroot is None:
            dataroot = Path(folder) / "pictures"
            make_pictures(dataroot, num_pictures, 2 * size_px)
        setting = Setting(
            device=device,
            steps=opt.steps or (2 if opt.quick else 10),
            steps_per_turn=20 if device.type == "cuda" else 1,
            slow_turns=2 if opt.quick else 3,
            size_px=size_px,
            tiny=opt.quick,
            num_pictures=len(make_dataset(dataroot / "trainA", num_pictures)),
            dataroot=dataroot.absolute(),
            folder=Path(folder) / "checkpoints",
            compiles=not opt.quick and can_compile(device),
        )
        found = Found(setting, [], {})
        for name in opt.rows:
            with measuring(name, opt.out, found):
                found.rows.extend(ROWS[name](setting))
        for name in opt.ways:
            with measuring(f"ways of {name}", opt.out, found):
                found.ways[name] = compare(setting, name)
    print(found.as_text(), end="")


class Found(NamedTuple):
    """What was measured so far."""

    setting: Setting
    rows: list[Row]
    ways: dict[str, list[Way]]

    def as_text(self) -> str:
        """In Markdown."""
        tables = [table(self.rows)] if self.rows else []
        tables += [table_of(model, ways) for model, ways in self.ways.items()]
        return "\n\n".join([heading(self.setting), *tables]) + "\n"

    def as_json(self) -> str:
        """With each measurement."""
        rows = [{"title": r.title, "unit": r.unit, "measured": r.samples} for r in self.rows]
        ways = {model: [way._asdict() for way in ways] for model, ways in self.ways.items()}
        found = {"machine": machine(self.setting), "size_px": self.setting.size_px}
        return json.dumps({**found, "rows": rows, "ways": ways}, indent=1) + "\n"

    def write(self, file: Path) -> None:
        text = self.as_json() if file.suffix == ".json" else self.as_text()
        file.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def measuring(name: str, files: list[Path], found: Found) -> Iterator[None]:
    """Inside, one part of it is measured; afterwards it is in the files."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        yield
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    for file in files:  # after each part, so that an interrupted run leaves its results
        found.write(file)
    # Free its models and compiled graphs before the next.
    gc.collect()
    torch.compiler.reset()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=list(ROWS),
        metavar="ROW",
        help=f"what to measure; by default, without --ways, all: {', '.join(ROWS)}",
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=["pix2pix", "cycle_gan"],
        default=[],
        metavar="MODEL",
        help="compare single settings for the steps of pix2pix, cycle_gan or both",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute; by default on a GPU if there is one",
    )
    parser.add_argument(
        "--steps",
        type=whole(2),
        metavar="N",
        help="how often to measure each quick row; by default 10",
    )
    parser.add_argument(
        "--size", type=whole(1), metavar="PX", help="side length of the pictures; by default 256"
    )
    parser.add_argument(
        "--dataroot",
        type=to_path,
        metavar="DIR",
        help="your own pictures: pairs with the same names in DIR/trainA and DIR/trainB; by "
        "default copies of the bundled portraits",
    )
    parser.add_argument(
        "--out",
        nargs="+",
        type=to_path,
        default=[],
        metavar="FILE",
        help="also write the table to FILE; as JSON, with each measurement, if it ends in .json",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only check that all rows work here: tiny networks and pictures, no compiling",
    )
    opt = parser.parse_args(arguments)
    opt.rows = opt.rows or ([] if opt.ways else list(ROWS))
    return opt


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here; prints why not."""
    try:
        require_compiler(device)
    except UserError as error:
        print(f"not compiling: {error}", file=sys.stderr)
        return False
    return True


def make_pictures(folder: Path, size: int, side_px: int) -> None:
    """Write JPEG pairs to trainA and trainB: the bundled portraits, upright and rotated."""
    for side in ("trainA", "trainB"):
        (folder / side).mkdir(parents=True)
        sources = sorted((ROOT / "datasets" / "portrait_retouch" / side).glob("*.jpg"))
        for index in range(size):
            turns, source = divmod(index, len(sources))
            picture = Image.open(sources[source]).convert("RGB").resize((side_px, side_px))
            picture.rotate(90 * turns).save(folder / side / f"{index:04}.jpg", quality=90)


if __name__ == "__main__":
    sys.exit(runtime.run(main))
