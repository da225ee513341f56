"""Two processes never write to the same run, and a dead one blocks nobody."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from util.errors import UserError
from util.run.lock import RunLock

ROOT = Path(__file__).resolve().parents[2]

# Holds the lock and says so; goes on when a line comes in. With an argument it first starts a
# process as the loader does, which outlives it.
HOLDER = """
import multiprocessing, sys, time
from pathlib import Path
from util.run.lock import RunLock

with RunLock(Path(sys.argv[1])):
    if len(sys.argv) > 2:
        worker = multiprocessing.Process(target=time.sleep, args=(60,), daemon=True)
        worker.start()
        print(worker.pid)
    print("held", flush=True)
    sys.stdin.readline()
print("left", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def hold(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`hold()` returns a process that holds the lock of tmp_path."""
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_and_told_of_the_first(hold, tmp_path):
    holder = hold()
    assert holder.stdout.readline() == "held\n"
    for _ in range(2):  # being refused changes nothing
        with pytest.raises(UserError) as caught:
            RunLock(tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        for part in (str(tmp_path), f"process {holder.pid}", socket.gethostname(), "--name"):
            assert part in message


def test_free_again_when_the_holder_leaves_it(hold, tmp_path):
    holder = hold()
    assert holder.stdout.readline() == "held\n"
    print(file=holder.stdin, flush=True)
    assert holder.stdout.readline() == "left\n"
    with RunLock(tmp_path):  # while that process is still alive
        pass


def test_free_again_when_the_holder_is_killed(hold, tmp_path):
    holder = hold()
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    with RunLock(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="elsewhere processes are not forked")
def test_free_again_though_a_loader_worker_of_the_killed_one_lives(hold, tmp_path):
    holder = hold("with a worker")
    worker = int(holder.stdout.readline())
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    try:
        os.kill(worker, 0)  # raises if it does not live
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(worker, 9)


def test_a_holder_that_was_refused_first_is_named_by_its_own_number(hold, tmp_path):
    """The file describes the present holder, with nothing left from an earlier, longer entry."""
    first, second = hold(), None
    assert first.stdout.readline() == "held\n"
    first.kill()
    first.wait()
    (tmp_path / ".lock").write_text("process 123456789 on " + 99 * "x")
    second = hold()
    assert second.stdout.readline() == "held\n"
    with pytest.raises(UserError) as caught:
        RunLock(tmp_path)
    assert f"process (process {second.pid} on {socket.gethostname()})" in str(caught.value)


def test_runs_do_not_lock_each_other_out(hold, tmp_path):
    holder = hold()
    assert holder.stdout.readline() == "held\n"
    with RunLock(tmp_path / "other"):  # made where missing
        pass


def test_train_is_refused_before_it_changes_anything(hold, tmp_path, pictures, run_here):
    """Also with --overwrite, which would delete what the other one writes."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "run").symlink_to(tmp_path)
    flags = f"--dataroot {pictures.side_by_side()} --name run --model pix2pix --ngf 2 --ndf 2"
    flags += " --netG resnet_6blocks --load_size 24 --crop_size 24 --num_threads 0 --device cpu"
    torch_file = tmp_path / "latest_net_G.pth"
    torch_file.write_text("weights of the other process")
    holder = hold()
    assert holder.stdout.readline() == "held\n"
    before = sorted(tmp_path.rglob("*"))
    done = run_here("train.py", *flags.split(), "--overwrite")
    assert done.status == 2
    assert "is being written by another process" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert torch_file.read_text() == "weights of the other process"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EAGAIN, errno.EDEADLK])
def test_each_system_says_in_its_own_way_that_another_holds_the_lock(code, tmp_path, monkeypatch):
    def held(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("util.run.lock.lock_exclusively", held)
    with pytest.raises(UserError, match="is being written by another process"):
        RunLock(tmp_path)


def test_a_disk_without_locks_says_so_and_is_used(tmp_path, monkeypatch, capsys):
    def no_locks(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("util.run.lock.lock_exclusively", no_locks)
    with RunLock(tmp_path):
        pass
    assert "disk without locks" in capsys.readouterr().out
