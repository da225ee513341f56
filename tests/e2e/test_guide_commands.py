"""The commands of the guides, checked as a reader would type them; and the site that they make."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_presets import vgg16_of_zeros

ROOT = Path(__file__).resolve().parents[2]
# The recipes' commands are those of scripts/preset.py, which test_presets.py runs.
GUIDES = [g for g in (*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")) if "recipes" not in g.name]
TINY = "--ngf 2 --ndf 2 --num_threads 0 --device cpu".split()
ROOTS = {"cycle_gan": "unpaired", "cut": "unpaired", "colorization": "joined"}


# In one process, since starting one takes longer than building a small run.
DRIVER = """
import sys, shlex
import train
from util import runtime
for line in sys.stdin.read().splitlines():
    sys.argv = ["train.py", *shlex.split(line)]
    if runtime.outcome(train.main):
        print("IN:", line, file=sys.stderr)
"""


def training_commands() -> list[list[str]]:
    """Every `python train.py` in the blocks of the guides, of either language, once."""
    found = {}
    for guide in sorted(GUIDES):
        blocks = re.findall(r"^```\w*\n(.*?)^```", guide.read_text("utf-8"), re.M | re.S)
        for line in "".join(blocks).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if line.startswith("python train.py") else []
            if words and "..." not in words:
                found[" ".join(words[2:])] = words[2:]
    return list(found.values())


def on_made_pictures(words: list[str]) -> list[str]:
    """The command as --dry_run, which builds all that a run would, with small networks."""
    words = list(words)
    if "--continue_train" not in words:  # a new run, beside the one to resume
        model = words[words.index("--model") + 1]
        words[words.index("--dataroot") + 1] = ROOTS.get(model, "pairs")
        words += [*TINY, "--checkpoints_dir", "new"]
        if "perceptual" in model:
            words += ["--vgg_weights", "VGG16.pth"]
    return [*words, "--dry_run"]


def test_training_commands_work(tmp_path, pictures, run_cli) -> None:
    pictures.two_folders(12)
    pictures.unaligned()
    pictures.side_by_side(2)
    vgg16_of_zeros(tmp_path / "VGG16.pth")
    to_resume = "--dataroot pairs --name my_run --model pix2pix --netG unet_128 --load_size 128"
    to_resume += " --crop_size 128 --n_epochs 1 --n_epochs_decay 0 --max_dataset_size 1"
    assert run_cli("train.py", *to_resume.split(), *TINY).status == 0
    commands = [shlex.join(on_made_pictures(words)) for words in training_commands()]
    assert len(commands) > 10
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        input="\n".join(commands),
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, "IN:" in done.stderr) == (0, False), done.stderr


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site) -> None:
    for page in ("index.html", "first_hour/index.html", "ko/index.html"):
        assert (site / page).is_file()


@pytest.mark.slow
def test_a_picture_of_the_guides_is_made_anew(tmp_path) -> None:
    script = ROOT / "scripts" / "make_guide_pictures.py"
    command = [sys.executable, script, "collapse", "--out", tmp_path / "images"]
    subprocess.run([*command, "--work", tmp_path], check=True)
    with Image.open(tmp_path / "images" / "collapse.jpg") as made:
        assert made.size == (784, 520)  # two rows of three
