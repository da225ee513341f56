"""Measure what helps with few pairs: train small networks in many ways, and judge them.

    python scripts/study_few_pairs.py --photos ./datasets/horse2zebra/trainA \\
        --facades ./datasets/facades --vgg_weights VGG --lpips_weights LPIPS

Undoing a retouch: B is a photograph, A the same one smoothed (as datasets/make_portrait_retouch.py
smooths skin) and warped a little. Façades: photographs from plans. Each run sees as many pictures
as every other, and is judged at its end on 30 pictures that none has seen. It adds a line to --out,
and what is there is not run again; so the study can go on another day. In the end a table is
printed, and a plot written beside --out. Lines of other --images or --flags stay apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageOps
from skimage.filters import gaussian
from skimage.transform import warp

matplotlib.use("Agg")
from matplotlib import pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "datasets"))
from make_portrait_retouch import Array, smooth

from data.image_folder import by_stem, make_dataset
from options.parser import OptionParser, number, whole
from preset import FEW
from util.errors import UserError, exit_status
from util.files import to_path
from util.metrics.scores import gain
from util.run.best import VALIDATIONS

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = {
    "plain": "",
    "residual": "--residual",
    "residual + augment": "--residual --augment auto",
    "residual + augment + L1": "--residual --augment auto --lambda_L1 1000",
    "all": FEW,  # the preset retouch_few
    "all + D": f"{FEW} --num_D 2 --r1 10",
}
SIZE = 128
NUM_HELD_OUT = 30
NETWORKS = "--netG unet_128 --ngf 32 --ndf 32 --load_size 143 --crop_size 128"  # as 286 to 256
WARP = 0.012  # the standard deviation of the displacement, as a share of the side
FACE = 0.5  # the width of a face, as a share of the side: the scale of the smoothing


class Case(NamedTuple):
    """One training: what it should learn, from how many pairs, how, and by which seed."""

    task: str
    pairs: int
    variant: str
    seed: int


CASES = [
    *(Case("retouch", n, v, seed) for seed in (1, 2) for n in (10, 3, 30) for v in VARIANTS),
    *(Case("facades", 10, v, seed) for seed in (1, 2) for v in ("plain", "residual")),
]
METRICS = ("L1", "SSIM", "LPIPS")


def main(argv: list[str] | None = None) -> None:
    opt = parse(argv)
    results = read(opt)
    done = {case_of(result) for result in results}
    folders = {"retouch": opt.photos, "facades": opt.facades}
    begun_s = time.monotonic()
    for case in CASES:
        source = folders[case.task]
        if case in done or source is None:
            continue
        if time.monotonic() - begun_s > 60 * opt.minutes:
            print(f"--minutes {opt.minutes:g} are over; the same command goes on")
            break
        result = train(case, source, opt)
        print(line_of(result), flush=True)
        with open(opt.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        results.append(result)
    if results:
        print("\n".join(table(results)))
        plot(results, opt.out.with_suffix(".png"))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--photos", type=to_path, help="folder with photographs, in any subfolder")
    parser.add_argument("--facades", type=to_path, help="the data set facades, with train and val")
    parser.add_argument("--out", type=to_path, default=ROOT / "docs" / "few_pairs.jsonl")
    parser.add_argument("--work", type=to_path, default=ROOT / "results" / "few_pairs",
                        help="folder for pairs and runs")  # fmt: skip
    parser.add_argument("--vgg_weights", default="", help="for LPIPS, as in train.py")
    parser.add_argument("--lpips_weights", default="", help="for LPIPS, as in train.py")
    parser.add_argument("--images", type=whole(1), default=1600, help="pictures each run sees")
    parser.add_argument("--minutes", type=number(above=0), default=1e9, help="begin no run later")
    parser.add_argument("--flags", default=NETWORKS, help="of all runs")
    return parser.parse_args(argv)


def read(opt: argparse.Namespace) -> list[dict[str, Any]]:
    """The results so far that can be compared: of networks alike that have seen as much."""
    if not opt.out.is_file():
        return []
    found = [json.loads(line) for line in opt.out.read_text(encoding="utf-8").splitlines()]
    return [
        result
        for result in found
        if result.get("flags", NETWORKS) == opt.flags
        and result["images"] == num_epochs(case_of(result), opt) * result["pairs"]
    ]


def num_epochs(case: Case, opt: argparse.Namespace) -> int:
    """At least one at the whole learning rate and one at which it falls."""
    return max(2, round(opt.images / case.pairs))


def case_of(result: dict[str, Any]) -> Case:
    return Case(*(result[name] for name in Case._fields))


def train(case: Case, source: Path, opt: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one case; returns its line of the results."""
    name = "_".join(map(str, case)).replace(" ", "").replace("+", "_")
    pairs = pairs_of(case, source, opt.work / "pairs")
    epochs = num_epochs(case, opt)
    words = (
        f"--name {name} --model pix2pix --seed {case.seed} --val_pictures 0 --no_html --overwrite"
    )
    words += f" --n_epochs {epochs - epochs // 2} --n_epochs_decay {epochs // 2}"
    words += f" --val_freq {epochs} --save_epoch_freq {epochs} --num_threads 0 {opt.flags}"
    words += f" {VARIANTS[case.variant]}" + " --direction BtoA" * (case.task == "facades")
    places = ["--dataroot", str(pairs), "--checkpoints_dir", str(opt.work / "checkpoints")]
    weights = []
    for flag in ("vgg_weights", "lpips_weights"):
        if file := getattr(opt, flag):
            weights += [f"--{flag}", file]
    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *places, *words.split(), *weights],
        stdout=subprocess.DEVNULL,
    )
    if done.returncode:
        raise UserError(f"{name} ended with status {done.returncode}; see its message above")
    records = opt.work / "checkpoints" / name / VALIDATIONS
    last = json.loads(records.read_text(encoding="utf-8").splitlines()[-1])
    figures = {kind: rounded(last[kind]) for kind in ("last", "nothing")}
    images, seconds = epochs * case.pairs, round(time.monotonic() - begun_s)
    more = {"images": images, "flags": opt.flags, "seconds": seconds}
    return {**case._asdict(), **more, **figures}


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def pairs_of(case: Case, source: Path, folder: Path) -> Path:
    """The pairs that a case learns from and is judged on, made the first time.

    A folder of them is complete, since it gets its name last; and of the same pictures, since
    their names and sizes are in its name.
    """
    files = [(str(Path(f).relative_to(source)), os.path.getsize(f)) for f in make_dataset(source)]
    digest = sha256(repr(files).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    pairs = folder / f"{case.task}_{case.pairs}_{case.seed}_{digest}"
    if not pairs.is_dir():
        begun = pairs.with_suffix(".part")
        shutil.rmtree(begun, ignore_errors=True)
        (make_retouch if case.task == "retouch" else take_facades)(source, begun, case)
        begun.rename(pairs)
    return pairs


def make_retouch(photos: Path, out: Path, case: Case) -> None:
    """Write pairs to OUT/trainA and trainB, and those that no run sees to OUT/valA and valB."""
    pictures = by_stem(photos)  # names in subfolders contain these
    held_out, others = apart(list(pictures))
    chosen = random.Random(case.seed).sample(others, case.pairs)
    for phase, names in (("val", held_out), ("train", chosen)):
        for name in names:
            picture = Image.open(pictures[name]).convert("RGB")
            original = ImageOps.fit(picture, (SIZE * 2, SIZE * 2), Image.Resampling.LANCZOS)
            save(retouch(original, name), out / f"{phase}A" / f"{name}.png")
            save(original, out / f"{phase}B" / f"{name}.png")


def take_facades(facades: Path, out: Path, case: Case) -> None:
    """Copy some pairs to OUT/train, and some that no run sees to OUT/val."""
    chosen = random.Random(case.seed).sample(make_dataset(facades / "train"), case.pairs)
    held_out, _ = apart(make_dataset(facades / "val"))
    for phase, paths in (("val", held_out), ("train", chosen)):
        for path in paths:
            copy = out / phase / Path(path).relative_to(facades / phase)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


def apart(found: list[str]) -> tuple[list[str], list[str]]:
    """Evenly chosen pictures to hold out, and all others."""
    places = {round((i + 0.5) * len(found) / NUM_HELD_OUT) for i in range(NUM_HELD_OUT)}
    held_out = [one for place, one in enumerate(found) if place in places]
    return held_out, [one for place, one in enumerate(found) if place not in places]


def retouch(original: Image.Image, name: str) -> Image.Image:
    """Smooth a picture and warp it, always in the same way for a name."""
    image = np.asarray(original, dtype=np.float64) / 255
    side = len(image)
    image = smooth(image, np.ones((side, side)), FACE * side)
    drawn = np.random.default_rng(list(name.encode("utf-8")))
    field = gaussian(drawn.standard_normal((2, side, side)), sigma=(0, side / 8, side / 8))
    source: Array = np.mgrid[:side, :side] + WARP * side * field / field.std()
    channels = [warp(image[..., c], source, order=3, mode="reflect") for c in range(3)]
    moved = np.clip(np.stack(channels, axis=2), 0, 1)
    return Image.fromarray(np.round(255 * moved).astype(np.uint8))


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def line_of(result: dict[str, Any]) -> str:
    last, nothing = result["last"], result["nothing"]
    found = ", ".join(
        f"{name} {last[name]:.4g} ({gain(name, last[name], nothing[name]):+.3g})"
        for name in METRICS
        if name in last
    )
    return f"{' '.join(map(str, case_of(result)))}: {found}, {result['seconds']} s"


def groups(results: Iterable[dict[str, Any]]) -> Iterator[tuple[Case, list[dict[str, Any]]]]:
    """The results of all seeds, by task and number of pairs; the seed of each group is 0."""
    cases = dict.fromkeys(case._replace(seed=0) for case in CASES)
    for case in sorted(cases, key=lambda case: (case.task != "retouch", case.pairs)):
        if same := [r for r in results if case_of(r)._replace(seed=0) == case]:
            yield case, same


def table(results: list[dict[str, Any]]) -> list[str]:
    """Markdown: means over the seeds, with the gain over doing nothing."""
    names = [name for name in METRICS if any(name in r["last"] for r in results)]
    lines = [
        f"| task | pairs | variant | {' | '.join(names)} | runs |",
        "|---" * (4 + len(names)) + "|",
    ]
    for case, same in groups(results):
        cells = []
        for name in names:
            value = statistics.fmean(r["last"][name] for r in same)
            base = statistics.fmean(r["nothing"][name] for r in same if name in r["nothing"])
            cells.append(f"{value:.3g} ({gain(name, value, base):+.2g})")
        lines.append(f"| {' | '.join(map(str, [*case[:3], *cells, len(same)]))} |")
    return lines


def plot(results: list[dict[str, Any]], file: Path) -> None:
    """L1 of undoing a retouch by number of pairs: a line for each variant, a dot for each run."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    of_task = [(case, same) for case, same in groups(results) if case.task == "retouch"]
    for color, variant in enumerate(VARIANTS):
        found = sorted(
            (c.pairs, [r["last"]["L1"] for r in same])
            for c, same in of_task
            if c.variant == variant
        )
        if found:
            axes.plot(
                [n for n, _ in found],
                [statistics.fmean(v) for _, v in found],
                f"C{color}-",
                label=variant,
            )
            for pairs, values in found:
                axes.plot([pairs] * len(values), values, f"C{color}.")
    if of_task:
        nothing = statistics.fmean(r["nothing"]["L1"] for _, same in of_task for r in same)
        axes.axhline(nothing, color="0.5", linestyle="--", label="doing nothing")
    axes.set(
        xlabel="pairs",
        ylabel="L1 on other pictures (lower is better)",
        xscale="log",
        ylim=(0, None),
    )
    axes.set_xticks([3, 10, 30], ["3", "10", "30"])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(file, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(exit_status("scripts/study_few_pairs.py", main))
