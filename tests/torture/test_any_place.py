"""Real commands where their output has nowhere to go, the disk is full, or nobody is at home.

Each ends with results or one clear line, and what was there before is still there, whole.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import Run
from tests.e2e.test_bad_input import AGAIN, BARE, TRAIN
from util.errors import described

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="has no such devices or namespaces"),
]
ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "train": f"train.py {TRAIN}",
    "continue": f"train.py {AGAIN} --n_epochs_decay 0",
    "test": f"test.py {BARE}",
    "translate": "scripts/translate.py photos/train --name run --device cpu --out done",
    "export": "scripts/export.py --name run --out done/run.onnx",
    "plot": "scripts/plot_losses.py checkpoints/run --out done/losses.png",
    "preview": f"scripts/preview_augmentation.py {TRAIN} --out done/sheet.png",
    "compare": "scripts/compare_checkpoints.py --name run --device cpu --out done",
    "combine": "datasets/combine_A_and_B.py --fold_A photos/val --fold_B val --fold_AB done",
    "preset": "scripts/preset.py",
}
# What resuming deletes as it saves: the state of an older checkpoint, pictures of the page.
REPLACED = {"continue": ("checkpoints/run/2_state.pth", "checkpoints/run/web/images/")}
# Arguments: a folder to mount a disk on, what goes into it, where its content goes afterwards, what
# is done to it, and the command.
ON_A_DISK = """
mount -t tmpfs -o size=64m none "$1" && cp -a "$2/." "$1" && cd "$1" || exit 99
here=$1; after=$3; eval "$4"; shift 4
"$@"
status=$?
cp -a "$here/." "$after"
exit $status
"""
FULL = "head -c 100m /dev/zero > filler 2> /dev/null || true"
READ_ONLY = 'mount -o remount,ro "$here"'
UNKNOWN = "unshare --user --map-user=54321 --map-group=54321".split()


@pytest.fixture(scope="module")
def used(tmp_path_factory, trained) -> Path:
    """The working folder, in which each command has run once; training only at first."""
    folder = tmp_path_factory.mktemp("used") / "here"
    shutil.copytree(trained, folder)
    for name, line in COMMANDS.items():
        if name not in ("train", "continue"):
            done = end_of(begin(folder, line))
            assert (done.status, done.stderr) == (0, "")
    return folder


@pytest.fixture
def here(used, tmp_path) -> Path:
    """A copy of it."""
    shutil.copytree(used, tmp_path / "here")
    return tmp_path / "here"


def begin(folder: Path, line: str, before: list[str] | None = None, **more) -> subprocess.Popen:
    script, *words = line.split()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, **more}
    command = [*(before or []), sys.executable, str(ROOT / script), *words]
    return subprocess.Popen(command, cwd=folder, text=True, **streams)


def end_of(process: subprocess.Popen) -> Run:
    try:
        stdout, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    return Run(stdout or "", stderr or "", process.returncode)


def broken(before: Path, after: Path, name: str) -> list[str]:
    """The files that are gone or damaged after a command."""
    checks: dict[str, Callable[[Path], object]] = {
        ".png": lambda file: Image.open(file).load(),
        ".pth": lambda file: torch.load(file, weights_only=True),
        ".json": lambda file: json.loads(file.read_text()),
    }
    found = []
    for file in filter(Path.is_file, before.rglob("*")):
        path = file.relative_to(before)
        if path.as_posix().startswith(REPLACED.get(name, "/")):
            continue
        try:
            if (after / path).read_bytes() != file.read_bytes():
                checks.get(file.suffix, lambda file: 1 / file.stat().st_size)(after / path)
        except Exception as error:
            found.append(f"{path}: {described(error)}")
    return found


commands = pytest.mark.parametrize("name", COMMANDS)


@commands
def test_a_closed_pipe(name, here, used):
    """As behind `| head -n 1`."""
    process = begin(here, COMMANDS[name])
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    done = end_of(process)
    assert (done.status, done.stderr) == (0, "")
    assert not broken(used, here, name)


@commands
def test_a_full_console(name, here, used):
    with open("/dev/full", "w") as full:
        done = end_of(begin(here, COMMANDS[name], stdout=full))
    assert done.status == 0, done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr
    assert not broken(used, here, name)


@commands
def test_a_terminal_that_closes_in_the_middle(name, here, used):
    process = begin(here, COMMANDS[name])
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    done = end_of(process)
    assert done.status in (0, -signal.SIGHUP, 128 + signal.SIGHUP), done.stderr
    assert done.stderr == ""
    assert not broken(used, here, name)


@pytest.fixture
def on_a_disk(used, tmp_path) -> Callable[[str, str], tuple[Run, Path]]:
    """`on_a_disk(command, what)`: how it ends there, and a copy of what the disk has then."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("needs the right to mount a disk of its own (unshare --mount)")

    def run(line: str, what: str) -> tuple[Run, Path]:
        disk, after = tmp_path / "disk", tmp_path / "after"
        disk.mkdir()
        after.mkdir()
        shell = ["sh", "-c", ON_A_DISK, "sh", str(disk), str(used), str(after), what]
        return end_of(begin(tmp_path, line, [*unshare, *shell])), after

    return run


@pytest.mark.parametrize("what", [FULL, READ_ONLY], ids=["full", "read-only"])
@commands
def test_a_disk(name, what, on_a_disk, used):
    done, after = on_a_disk(COMMANDS[name], what)
    assert done.status in (0, 2), done  # files as large as before find room in their places
    assert done.stderr.count("\n") == done.status // 2, done.stderr
    assert not [*after.rglob("*.tmp")]
    assert not broken(used, after, name)


@commands
def test_an_unknown_user(name, here, used, tmp_path):
    """Without an entry in the list of users, a home or any other variable."""
    if shutil.which("unshare") is None or subprocess.run([*UNKNOWN, "true"]).returncode:
        pytest.skip("needs the right to be another user (unshare --map-user)")
    (tmp_path / "tmp").mkdir()
    bare = {"TMPDIR": str(tmp_path / "tmp"), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = end_of(begin(here, COMMANDS[name], UNKNOWN, env=bare))
    assert (done.status, done.stderr) == (0, "")
    assert not broken(used, here, name)
