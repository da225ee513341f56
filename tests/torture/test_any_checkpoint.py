"""Whatever happens to the files of a run, programs use it, or refuse it in one line unchanged."""

from __future__ import annotations

import json
import shutil
import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from chance import TooLong, damaged, spoilt

from tests.e2e.test_bad_input import AGAIN, BARE

pytestmark = pytest.mark.slow
ODD = [
    None,
    True,
    False,
    0,
    -1,
    3,
    0.5,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x",
    "../x",
    [],
    {},
]
ODD += [[[]], {"x": 1}, 9000 * "9"]
ODD_IN_STATES = [*ODD, torch.zeros(0), torch.ones(2), torch.tensor(float("nan")), (1, 2)]
PROGRAMS = {
    "train.py": (f"{AGAIN} --n_epochs_decay 0", 80),
    "test.py": (BARE, 50),
    "scripts/translate.py": ("photos/train --name run --device cpu", 40),
    "scripts/export.py": ("--name run", 4),
    "scripts/compare_checkpoints.py": ("--name run --device cpu", 15),
    "scripts/plot_losses.py": ("checkpoints/run", 15),
}


def some_file(run: Path, draw) -> Path:
    """A file of a run; those of rare types are as likely as others."""
    files = sorted(contents(run))
    suffix = draw.choice(sorted({file.suffix for file in files}))
    return draw.choice([file for file in files if file.suffix == suffix])


def spoil(file: Path, draw) -> None:
    """Damage a file as a whole, or something in it."""
    content = file.read_bytes()
    if draw.random() < 0.5 and file.suffix in (".pth", ".json", ".jsonl"):
        if file.suffix == ".pth":
            state = torch.load(file, weights_only=True)
            torch.save(spoilt(state, draw, ODD_IN_STATES), file)
        else:
            lines = content.decode().splitlines() if file.suffix == ".jsonl" else [content]
            number = draw.randrange(len(lines))
            lines[number] = json.dumps(spoilt(json.loads(lines[number]), draw, ODD))
            file.write_text("\n".join(map(str, lines)))
    else:
        file.write_bytes(damaged(content, draw))


def contents(folder: Path) -> dict[Path, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]
    return {file: file.read_bytes() for file in files}


@pytest.mark.parametrize("script", PROGRAMS)
def test_any_damage(script, trained, draw, ended, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    line, times = PROGRAMS[script]
    found, statuses = [], Counter()
    for number in range(times):
        here = tmp_path / str(number)
        shutil.copytree(trained, here)
        monkeypatch.chdir(here)
        run = here / "checkpoints" / "run"
        files = {some_file(run, draw) for _ in range(draw.choice([1, 1, 2]))}
        for file in sorted(files):
            spoil(file, draw)
        before = contents(run)
        what = " and ".join(str(file.relative_to(run)) for file in sorted(files))
        try:
            done = ended(script, line.split())
        except (Exception, TooLong) as error:
            place = traceback.format_tb(error.__traceback__)[-1]
            found.append(f"{what}: {type(error).__name__}: {error} {place}")
            continue
        statuses[done.status] += 1
        if done.status not in (0, 2) or done.stderr.count("\n") > 1:
            found.append(f"{what}: {done.status} {done.stderr[-500:]}")
        elif done.status == 2 and contents(run) != before:
            found.append(f"{what}: refused with changes: {done.stderr}")
        shutil.rmtree(here)
    assert not found, "\n".join(found)
    assert statuses[0], "a program that refuses everything would pass, too"
