"""Output has nowhere to go: a run continues, saves everything, and says so where it still can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="has no such terminals, devices or shells")

TINY = "--name run --model pix2pix --device cpu --netG resnet_6blocks --ngf 2 --ndf 2"
TINY += " --load_size 24 --crop_size 24"
TRAIN = f"{TINY} --print_freq 1 --n_epochs 2 --n_epochs_decay 0 --save_latest_freq 999"
SWITCHED_OFF = "warning: the console is switched off: "


def command(script: str, flags: str) -> list[str]:
    return [sys.executable, str(ROOT / script), *flags.split()]


@pytest.fixture
def start(tmp_path, pictures, monkeypatch) -> Callable[..., subprocess.Popen]:
    """`start("train.py", flags, stdout=...)`: a process in tmp_path, over three pairs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dataroot = pictures.side_by_side(3, (24, 24))

    def begin(script: str, flags: str, redirect: str = "", **streams) -> subprocess.Popen:
        words = command(script, f"{flags} --dataroot {dataroot}")
        if redirect:
            words = ["sh", "-c", f'exec "$@" {redirect}', "sh", *words]
        return subprocess.Popen(words, cwd=tmp_path, text=True, **streams)

    return begin


@pytest.fixture
def log(tmp_path) -> Callable[[], str]:
    """`log()`: what loss_log.txt says, of a run whose weights are there."""

    def read() -> str:
        run = tmp_path / "checkpoints" / "run"
        assert (run / "latest_net_G.pth").exists()
        return (run / "loss_log.txt").read_text()

    return read


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_closed_pipe(num_threads, start, log):
    """As behind `| head -n 1`."""
    flags = f"{TRAIN} --num_threads {num_threads}"
    process = start("train.py", flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(60)) == ("", 0)
    assert f"{SWITCHED_OFF}BrokenPipeError" in log()
    assert log().count("(epoch: ") == 6
    assert "finished after epoch 2" in log()


def test_a_full_disk(start, log):
    with open("/dev/full", "w") as full:
        process = start("train.py", f"{TRAIN} --num_threads 0", stdout=full, stderr=full)
    assert process.wait(60) == 0
    assert f"{SWITCHED_OFF}OSError: [Errno 28]" in log()


def test_a_full_disk_is_told_where_it_can_be(start):
    with open("/dev/full", "w") as full:
        process = start("train.py", "--help", stdout=full, stderr=subprocess.PIPE)
    lines = process.stderr.read().splitlines()
    assert len(lines) == 1 and "standard output is switched off: [Errno 28]" in lines[0]
    assert process.wait(60) == 0


def test_the_version_on_a_full_disk(start):
    with open("/dev/full", "w") as full:
        process = start("train.py", "--version", stdout=full, stderr=subprocess.PIPE)
    assert "Traceback" not in process.stderr.read()
    assert process.wait(60) == 0


@pytest.mark.parametrize("redirect", [">&-", "<&- >&- 2>&-"])
def test_no_streams_at_all(redirect, start, log):
    process = start("train.py", f"{TRAIN} --num_threads 2", redirect)
    assert process.wait(60) == 0
    assert "warning" not in log()
    assert start("test.py", f"{TINY} --num_threads 0", redirect).wait(60) == 0


def test_results_are_all_written(start, tmp_path):
    assert start("train.py", TRAIN, stdout=subprocess.DEVNULL).wait(60) == 0
    tested = f"{TINY} --phase train"
    process = start("test.py", tested, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert len([*tmp_path.glob("results/run/train_latest/images/*_fake_B.png")]) == 3


def test_an_error_that_cannot_be_shown(start):
    with open("/dev/full", "w") as full:
        process = start("train.py", "--no_such_flag", stdout=full, stderr=full)
    assert process.wait(60) == 2


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_help_through_head_is_quiet(script, start):
    process = start(script, "--help", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(60)) == ("", 0)


TALKATIVE = """
import torch
from data.loader import Loader

class Talkative(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        print(index, flush=True)
        return {"A": torch.zeros(1)}

if __name__ == "__main__":
    batches = Loader(Talkative(), batch_size=1, shuffle=False, num_workers=1, seed=1)
    batches._batches.multiprocessing_context = "spawn"
    assert len(list(batches)) == 2
"""


def test_a_dataset_that_prints_in_a_process_of_its_own(tmp_path):
    """Also in a process that is not forked, as on Windows, and only inherits the file."""
    (tmp_path / "talk.py").write_text(TALKATIVE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(tmp_path / "talk.py")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, env=environment, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("hang_up, ends", [(signal.SIG_IGN, 0), (signal.SIG_DFL, 129)])
def test_a_terminal_that_closes(hang_up, ends, tmp_path, pictures, log, monkeypatch):
    """The run is stopped as by Ctrl-C; under nohup it continues without a console."""
    import pty

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = command("train.py", f"{TRAIN} --num_threads 2 --dataroot {pictures.side_by_side(9)}")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        signal.signal(signal.SIGHUP, hang_up)
        os.execv(words[0], words)
    shown = b""
    while b"iters: 1" not in shown:
        shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ends
    assert SWITCHED_OFF in log()
    end = "finished after epoch 2" if ends == 0 else "to resume: python "
    assert end in log().splitlines()[-1]


SCRIPTS = [("scripts/preset.py", "--help"), ("scripts/plot_losses.py", "loss_log.txt")]


@pytest.mark.parametrize("script, flags", SCRIPTS)
def test_scripts_last_too(script, flags, tmp_path):
    """On a full disk, and behind a closed pipe."""
    (tmp_path / "loss_log.txt").write_text("(epoch: 1, iters: 1, time: 0.1, data: 0.1) , D: 0.5\n")
    words = command(script, flags)
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "standard output is switched off: [Errno 28]" in done.stderr
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=tmp_path, **streams) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 0)
