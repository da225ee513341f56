"""Training is killed at random moments, even while it saves, and must be unharmed.

`--kills N` sets how often. The moments differ in each run; the seed they come from is printed.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_resume import AGAIN, CYCLE_GAN, PIX2PIX, ROOT, assert_same, dataroots
from trainer import WORKER_DIES, Trainer, told

__all__ = ["dataroots"]  # a fixture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")

# Saves after each image, plus a numbered checkpoint per epoch; old numbered ones are deleted.
BUSY = "--save_latest_freq 1 --save_epoch_freq 1 --keep_checkpoints 1 --continue_train auto"
CAMPAIGNS = [
    f"{PIX2PIX} {BUSY} --num_threads 0 --n_epochs 2 --n_epochs_decay 3",
    f"{CYCLE_GAN} {BUSY} --num_threads 0 --n_epochs 1 --n_epochs_decay 2 --batch_size 2",
    f"{PIX2PIX} {BUSY} --num_threads 2 --n_epochs 4 --n_epochs_decay 0 --lr_policy plateau",
]


@pytest.mark.slow
def test_killed_at_random_instants(tmp_path, dataroots, trainer, request, capsys):
    """Kill and restart one run until it finishes; repeat until there are enough kills."""
    wanted, kills, in_saves = request.config.getoption("--kills"), 0, 0
    seed = secrets.randbelow(2**32)
    draw = random.Random(seed).uniform
    straight: dict[str, Path] = {}
    for campaign, flags in enumerate(itertools.cycle(CAMPAIGNS), start=1):
        line = f"--dataroot {dataroots['pix2pix' if 'pix2pix' in flags else 'cycle_gan']} {flags}"
        if line not in straight:
            straight[line] = tmp_path / f"straight{campaign}"
            straight[line].mkdir()
            trainer.run(straight[line], line)
        cut = tmp_path / f"cut{campaign}"
        cut.mkdir()
        while (ended := kill_one(trainer, cut, line, draw)) == -signal.SIGKILL:
            kills += 1
            in_saves += any((cut / "checkpoints" / "run").glob("*.pth.tmp"))
            assert kills < wanted + 300, f"seed {seed}: no end in sight; {told(cut)[-1500:]}"
        assert ended == 0, f"seed {seed}, after kill {kills}: {told(cut)[-1500:]}"
        assert_same(cut, straight[line])
        shutil.rmtree(cut)
        if kills >= wanted:
            break
    with capsys.disabled():
        counts = f"{kills} kills, {in_saves} of them in a save, {campaign} campaigns, seed {seed}"
        print(f"\n{counts}", file=sys.stderr)


def kill_one(trainer: Trainer, folder: Path, line: str, draw) -> int:
    """Start a process and kill it at a random moment; returns how it ended.

    One in four dies while it starts, the others up to some steps after their first one. How long
    that lasts is taken from the process itself, so that a busy machine changes nothing.
    """
    output = folder / "out.txt"
    output.unlink(missing_ok=True)
    started_s = time.monotonic()
    process = trainer.start(folder, line)
    sign = ", iters: "
    if draw(0, 4) < 1:
        signs = ("Options", "dataset", "model", "network D", "weights of", "resumed")
        sign = signs[int(draw(0, 6))]
    while process.is_alive():
        text = output.read_text() if output.exists() else ""
        if sign in text or ", iters: " in text:
            break
        assert time.monotonic() - started_s < 60, told(folder)[-1500:]
        time.sleep(0.002)
    process.join(draw(0, 2.5 if sign == ", iters: " else 0.2) * (time.monotonic() - started_s))
    process.kill()
    process.join()
    return process.exitcode


def test_a_loader_worker_that_dies(tmp_path, dataroots, trainer):
    """Killed, for instance because memory ran out, while the main process computes."""
    cut, straight = tmp_path / "cut", tmp_path / "straight"
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --num_threads 2 --n_epochs 3"
    flags += " --n_epochs_decay 0 --save_latest_freq 999"
    for folder in (cut, straight):
        folder.mkdir()
    trainer.run(straight, flags)
    trainer.run(cut, flags, "epoch: 2, iters: 1", WORKER_DIES, ends=2)
    errors = (cut / "err.txt").read_text()
    assert "a process that loads pictures has died" in errors
    assert "--num_threads" in errors
    assert len(errors.splitlines()) == 1
    trainer.run(cut, AGAIN)
    assert_same(cut, straight)


BUG = """
import torch
from data.loader import Loader

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, index):
        return {"A": torch.zeros(1)}

loader = Loader(Pictures(), batch_size=1, shuffle=True, num_workers=2, seed=1)
for batch in loader:
    raise RuntimeError("a bug in a model")
"""


def test_a_bug_ends_the_program_while_workers_live(tmp_path):
    """The traceback is printed as usual; the loading processes do not delay the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", BUG], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            errors = process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "RuntimeError: a bug in a model"
