"""scripts/compare_checkpoints.py: a table and a page for the checkpoints of real runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TINY = "--model pix2pix --netG resnet_6blocks --ngf 4 --ndf 4 --load_size 40 --crop_size 32"
TINY += " --device cpu --seed 3 --num_threads 0 --n_epochs 2 --n_epochs_decay 0 --no_dropout"
SCRIPT = "scripts/compare_checkpoints.py"


@pytest.fixture
def trained(tmp_path, pictures, trainer) -> Path:
    for phase, number in (("train", 4), ("val", 3)):
        root = pictures.side_by_side(number, (40, 36), phase)
    for name in ("one", "two"):
        line = f"{TINY} --dataroot {root} --name {name} --val_freq 1 --save_epoch_freq 1"
        trainer.run(tmp_path, f"{line} --ema 0.5 --lr {0.01 if name == 'one' else 0.001}")
    return tmp_path


def rows(stdout: str) -> dict[str, list[float]]:
    """Numbers by the first word or words of their line."""
    found = re.findall(r"^(\w+(?: \w+)?) {2,}([\d.].*)$", stdout, re.MULTILINE)
    return {title: [float(word.rstrip("*")) for word in rest.split()] for title, rest in found}


def test_all_checkpoints_of_a_run(trained, run_in) -> None:
    before = {f: f.stat().st_mtime_ns for f in (trained / "checkpoints").rglob("*")}
    done = run_in(trained, SCRIPT, "--name", "one", "--device", "cpu")
    assert done.status == 0, done.stderr
    found = rows(done.stdout)
    assert list(found) == ["1", "2", "best", "latest", "doing nothing"]
    lines = (trained / "checkpoints" / "one" / "validation.jsonl").read_text().splitlines()
    for label, line in zip(("1", "2"), map(json.loads, lines), strict=True):
        assert found[label] == pytest.approx([*line["EMA"].values()], rel=1e-3)
    assert found["2"] == found["latest"]
    assert done.stdout.count("*") >= 3  # the best of each metric
    assert {f: f.stat().st_mtime_ns for f in (trained / "checkpoints").rglob("*")} == before
    page = trained / "results" / "one" / "compared"
    assert (page / "index.html").is_file()
    assert len(list((page / "images").glob("*.png"))) == 3 * 6  # A, four results and B
    data = (page / "data" / "0001.js").read_text()
    for call in re.findall(r"page\.measured\((.*)\);", data):
        _, by_label = json.loads(f"[{call}]")
        assert list(by_label) == [f"{label} fake_B" for label in ("1", "2", "best", "latest")]
        assert all(metrics.keys() >= {"L1", "PSNR", "SSIM"} for metrics in by_label.values())
    assert data.count("page.measured(") == data.count("page.nothing(") == 3
    assert '"metric": "SSIM"' in (page / "index.html").read_text()


def test_several_runs_are_compared_by_their_best(trained, run_in) -> None:
    done = run_in(trained, SCRIPT, "--name", "one", "two", "--device", "cpu", "--out", "here")
    assert done.status == 0, done.stderr
    found = rows(done.stdout)
    assert list(found) == ["one", "two", "doing nothing"]
    assert found["one"] != found["two"]
    assert (trained / "here" / "index.html").is_file()


@pytest.mark.parametrize(
    "words, told",
    [
        (["--name", "none"], "has no checkpoints; checkpoints has one, two"),
        (["--name", "one", "--epoch", "77"], "no checkpoint 77; it has 1, 2, best, latest"),
    ],
)
def test_what_is_not_there_is_told(words, told, trained, run_in) -> None:
    done = run_in(trained, SCRIPT, *words, "--device", "cpu")
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_other_pictures_are_not_compared(trained, pictures, trainer, run_in) -> None:
    root = pictures.root / "joined"
    trainer.run(trained, f"{TINY} --dataroot {root} --name three --val_size 2 --val_freq 1")
    done = run_in(trained, SCRIPT, "--name", "one", "three", "--device", "cpu")
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert "one and three do not validate on the same pictures" in done.stderr
