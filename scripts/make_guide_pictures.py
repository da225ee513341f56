"""Make the pictures of the guides from short runs on the bundled portraits.

    python scripts/make_guide_pictures.py               all of them
    python scripts/make_guide_pictures.py blur grid     only these

Runs lie in a temporary folder and end within minutes on two processor cores; --work DIR keeps them
and takes up finished ones again. Screenshots need Chromium, and are left out with a line where
there is none. Look at every picture at 100% before you commit it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import demo
from util.errors import UserError, exit_status

ROOT = Path(__file__).resolve().parent.parent
PORTRAITS = Path("datasets", "portrait_retouch")  # as pages show it
OUT = ROOT / "docs" / "images"
GAP_PX = 8
# As small as a network can be and still show what large ones do.
SMALL = "--model pix2pix --ngf 16 --ndf 16 --load_size 256 --crop_size 256 --num_threads 0 --seed 1"


class Runs:
    """Runs below a folder, each made once, under its name."""

    def __init__(self, work: Path):
        self.checkpoints = work / "checkpoints"
        self.results = work / "results"

    def train(self, name: str, flags: str, data: Path = PORTRAITS) -> Path:
        """Train, unless the run is finished; returns its folder."""
        folder = self.checkpoints / name
        if not (folder / "done").is_file():
            python("train.py", "--dataroot", data, *self.of(name), *flags.split(), "--overwrite")
            (folder / "done").touch()
        return folder

    def test(self, name: str, phase: str) -> Path:
        """Test the latest checkpoint on a phase of the portraits; returns the results' folder."""
        words = ["--model", "pix2pix", "--phase", phase, "--seed", "1"]
        words += ["--results_dir", str(self.results)]  # the seed is that of dropout
        python("test.py", "--dataroot", PORTRAITS, *self.of(name), *words)
        return self.results / name / f"{phase}_latest"

    def of(self, name: str) -> list[str]:
        return ["--name", name, "--checkpoints_dir", str(self.checkpoints)]

    def demo(self) -> Path:
        """The run of scripts/demo.py, which also has a page with all epochs."""
        own = ["--dataroot", "datasets/portrait_retouch", "--name", demo.RUN.name]
        flags = [word for word in (*demo.MODEL, *demo.TRAINING) if word not in own]
        return self.train("demo", " ".join(flags))

    def plain(self) -> Path:
        """A plain pix2pix with the program's defaults, whose every epoch is on its page."""
        flags = f"{SMALL} --n_epochs 100 --n_epochs_decay 100 --update_html_freq 3"
        return self.train("plain", flags)


def python(*command: str | Path) -> None:
    print("   ", *command, flush=True)
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise UserError(f"{command[0]} ended with exit status {done.returncode}, as said above")


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows, on white."""
    width, height = rows[0][0].size
    columns = max(map(len, rows))
    size = (columns * (width + GAP_PX) - GAP_PX, len(rows) * (height + GAP_PX) - GAP_PX)
    joined = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            joined.paste(picture, (x * (width + GAP_PX), y * (height + GAP_PX)))
    return joined


def rgb(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB")


def epoch_of(run: Path, epoch: int) -> Image.Image:
    """The result for the first of the pictures that the page always shows."""
    (file,) = (run / "web" / "images").glob(f"epoch{epoch:03d}_fake_B.*")
    return rgb(file)


def target_of(run: Path) -> Image.Image:
    return rgb(run / "web" / "images" / "fixed_collins_real_B.png")


def tested(results: Path, stem: str, labels: str) -> list[Image.Image]:
    return [rgb(results / "images" / f"{stem}_{label}.png") for label in labels.split()]


def crops(pictures: list[Image.Image], box: tuple[int, int, int, int], times: int = 1):
    """The same part of each picture, each pixel `times` as wide and high."""
    cut = [picture.crop(box) for picture in pictures]
    return [c.resize((c.width * times, c.height * times), Image.Resampling.NEAREST) for c in cut]


def picture_of_demo(runs: Runs) -> Image.Image:
    """A learnt pair above, the held-out face below: input, result, original."""
    name = runs.demo().name
    labels = "real_A fake_B real_B"
    learnt = tested(runs.test(name, "train"), "collins", labels)
    return sheet([learnt, tested(runs.test(name, "test"), "biden", labels)])


def picture_of_full_size(runs: Runs) -> Image.Image:
    """At 100%: a photograph, the result enlarged, its change carried over, the original."""
    run = runs.demo()
    photo = PORTRAITS / "trainA" / "hopper.jpg"
    pictures = [rgb(ROOT / photo)]
    for way in ("scaled", "transfer"):
        out = runs.results / way
        shutil.rmtree(out, ignore_errors=True)
        words = ["--full_size", way, "--out", str(out), "--output_format", "png"]
        python("scripts/translate.py", photo, *runs.of(run.name), *words)
        (file,) = out.glob("*.png")
        pictures.append(rgb(file))
    pictures.append(rgb(ROOT / PORTRAITS / "trainB" / "hopper.jpg"))
    return sheet([crops(pictures, (110, 180, 370, 440))])


def picture_of_early(runs: Runs) -> Image.Image:
    """The same face after 1, 5, 20, 60 and 200 epochs of three pairs, and the target."""
    run = runs.plain()
    return sheet([[*(epoch_of(run, e) for e in (1, 5, 20, 60, 200)), target_of(run)]])


def picture_of_blur(runs: Runs) -> Image.Image:
    """At 200%: what the L1 loss alone learns, plain pix2pix after as long, and the target."""
    alone = runs.train(
        "l1_alone",
        f"{SMALL} --n_epochs 100 --n_epochs_decay 100 --lambda_L1 100000 --update_html_freq 3",
    )
    plain = runs.plain()
    pictures = [epoch_of(alone, 200), epoch_of(plain, 200), target_of(plain)]
    return sheet([crops(pictures, (64, 40, 192, 168), 2)])


def picture_of_grid(runs: Runs) -> Image.Image:
    """At 400%: the grid early in training, the same place at the end, and the target."""
    run = runs.plain()
    pictures = [epoch_of(run, 10), epoch_of(run, 200), target_of(run)]
    return sheet([crops(pictures, (90, 80, 154, 144), 4)])


def picture_of_colours(runs: Runs) -> Image.Image:
    """A face that was never seen: the input, what a plain network makes of it, the residual one."""
    labels = "real_A fake_B"
    plain = tested(runs.test(runs.plain().name, "test"), "biden", labels)
    residual = tested(runs.test(runs.demo().name, "test"), "biden", "fake_B real_B")
    return sheet([[*plain, *residual]])


def picture_of_collapse(runs: Runs) -> Image.Image:
    """Inputs above, and below what a network makes of them that only pleases its discriminator."""
    flags = f"{SMALL} --netG unet_128 --load_size 128 --crop_size 128 --lambda_L1 0 --lr 0.02"
    run = runs.train("collapse", f"{flags} --n_epochs 60 --n_epochs_decay 0")
    results = runs.test(run.name, "train")
    rows = [
        [tested(results, stem, label)[0] for stem in ("collins", "hopper", "obama")]
        for label in ("real_A", "fake_B")
    ]
    return sheet([crops(row, (0, 0, 128, 128), 2) for row in rows])


def picture_of_overfitting(runs: Runs) -> Image.Image:
    """Curves of a run that learns its pictures by heart while it gets worse on another."""
    data = runs.checkpoints.parent / "overfitting"
    for folder in ("trainA", "trainB", "testA", "testB"):
        source = ROOT / PORTRAITS / folder
        shutil.copytree(source, data / folder.replace("test", "val"), dirs_exist_ok=True)
    flags = f"{SMALL} --residual --lambda_L1 1000 --lr 0.001 --no_flip --no_dropout"
    run = runs.train("overfitting", f"{flags} --n_epochs 60 --n_epochs_decay 60", data)
    plot = data / "losses.png"
    python("scripts/plot_losses.py", run, "--losses", "G_L1,L1", "--out", plot)
    return rgb(plot)


def picture_of_training_page(runs: Runs) -> Image.Image:
    return screenshot(runs.demo() / "web" / "index.html", 1180, 1900)


def picture_of_results_page_phone(runs: Runs) -> Image.Image:
    return screenshot(runs.test(runs.demo().name, "train") / "index.html", 520, 1126)


def screenshot(page: Path, width: int, height: int) -> Image.Image:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")
    if not browser:
        raise NoBrowser
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        words = ["--headless=new", "--hide-scrollbars", "--virtual-time-budget=8000"]
        words += [f"--window-size={width},{height}", f"--user-data-dir={folder}/profile"]
        if os.name != "nt" and os.geteuid() == 0:
            words.append("--no-sandbox")  # Chromium refuses to run as root with one
        command = [browser, *words, f"--screenshot={file}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return rgb(file)


class NoBrowser(Exception):
    pass


PICTURES: dict[str, Callable[[Runs], Image.Image]] = {
    name.removeprefix("picture_of_"): make
    for name, make in list(globals().items())
    if name.startswith("picture_of_")
}


def main() -> int:
    summary, _, _ = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("pictures", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    parser.add_argument("--work", type=Path, help="folder that keeps the runs")
    args = parser.parse_args()
    names = args.pictures or list(PICTURES)
    if unknown := set(names) - PICTURES.keys():
        raise UserError(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs((args.work or Path(folder)).resolve())
        for name in names:
            try:
                picture = PICTURES[name](runs)
            except NoBrowser:
                print(f"{name}: left out, since there is no Chromium")
                continue
            file = args.out / f"{name}.jpg"
            picture.save(file, quality=85, optimize=True, subsampling=0)
            print(f"{file}: {picture.width}x{picture.height}, {file.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("scripts/make_guide_pictures.py", main))
