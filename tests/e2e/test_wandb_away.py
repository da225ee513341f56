"""Weights & Biases without its package, a key, or a server that answers: results and ends come all
the same, and what was logged is on the disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_loggers import TINY, WandbRun, free_port, warnings

ROOT = Path(__file__).resolve().parents[2]
TRAINED = f"{TINY} --no_html --n_epochs 1 --n_epochs_decay 0"
TESTED = "--name run --model pix2pix --phase train --num_threads 0 --crop_size 32 --num_test 2"
HANGS_S = 90  # six times what the end of a process may take, for busy machines


class WandbServer(ThreadingHTTPServer):
    """A server that accepts runs like the real one, until it stops answering."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WandbRequest)
        self.silent = threading.Event()
        self.closed = threading.Event()


class WandbRequest(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.silent.is_set():
            self.server.closed.wait()
            return
        question = json.loads(body) if self.path == "/graphql" else {"query": ""}
        variables = question.get("variables") or {}
        data = {}
        if "createRunFiles" in question["query"]:
            url = f"http://127.0.0.1:{self.server.server_port}/upload"
            files = [{"name": name, "uploadUrl": url} for name in variables["files"]]
            data = {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        elif "upsertBucket" in question["query"]:
            project = {"id": "1", "name": "p", "entity": {"id": "1", "name": "e"}}
            bucket = {"id": "1", "name": variables["name"], "displayName": "run", "config": "{}"}
            data = {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[WandbServer]:
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.closed.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory, pictures_in) -> str:
    return pictures_in(tmp_path_factory.mktemp("photos")).two_folders(3, (48, 40))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos, run_in) -> Path:
    """A folder in which a run was trained."""
    folder = tmp_path_factory.mktemp("trained")
    assert run_in(folder, "train.py", "--dataroot", photos, *TRAINED.split()).status == 0
    return folder


@pytest.fixture(autouse=True)
def own_service(monkeypatch) -> None:
    """Not the service process that another test may have started in this process."""
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


@pytest.fixture
def environment(tmp_path) -> Callable[[int], dict[str, str]]:
    """`environment(port)`: wandb with files in a folder of the test and a server on that port."""
    home = str(tmp_path / "home")
    places = {f"WANDB_{kind}_DIR": home for kind in ("CACHE", "CONFIG", "DATA")}
    places |= {"HOME": home, "USERPROFILE": home, "WANDB_MODE": "online"}
    return lambda port: {**places, "WANDB_BASE_URL": f"http://127.0.0.1:{port}"}


def run_of(folder: Path) -> WandbRun:
    (file,) = folder.glob("*.wandb")
    return WandbRun(file)


@pytest.mark.parametrize("obstacle", ["no package", "no key"])
def test_testing_goes_on_without_wandb(
    obstacle, trained, photos, environment, server, run_in, tmp_path
) -> None:
    """One warning, as in training."""
    here = shutil.copytree(trained, tmp_path / "here")
    around = environment(server.server_port)
    if obstacle == "no package":
        (tmp_path / "wandb.py").write_text("raise ModuleNotFoundError('no wandb')")
        around["PYTHONPATH"] = str(tmp_path)
    done = run_in(here, "test.py", "--dataroot", photos, *TESTED.split(), "--use_wandb", **around)
    assert done.status == 0, done.stderr
    (warning,) = warnings(done.stdout)
    assert re.match(r"warning: Weights & Biases is switched off: .+: .", warning)
    assert "Traceback" not in done.stderr
    results = here / "results" / "run" / "train_latest"
    assert len(list((results / "images").iterdir())) == 2 * 3
    assert "page.end(" in (results / "data" / "0001.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "program, way", [("train.py", "keeps silent"), ("test.py", "refuses"), ("test.py", "is down")]
)
def test_a_server_out_of_reach_at_the_start(
    way, program, trained, photos, environment, tmp_path
) -> None:
    """All is logged offline, and the line says how to send it."""
    here = shutil.copytree(trained, tmp_path / "here")
    words = f"{TRAINED} --overwrite" if program == "train.py" else TESTED
    with contextlib.ExitStack() as stack:
        port = free_port()
        if way != "refuses":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            port = listener.getsockname()[1]
        if way == "is down":
            threading.Thread(target=be_down, args=(listener,), daemon=True).start()
        around = {**environment(port), "WANDB_API_KEY": 40 * "0"}
        status, printed = run(
            here, str(ROOT / program), "--dataroot", photos, *words.split(), "--use_wandb", **around
        )
    assert status == 0, printed
    assert not warnings(printed)
    line = r"^Weights & Biases: http://127.0.0.1:\d+ .*; logging offline; .*: wandb sync (\S+)$"
    (glob,) = re.findall(line, printed, re.MULTILINE)
    (folder,) = here.glob(str(Path(glob)))
    assert run_of(folder).history


def be_down(listener: socket.socket) -> None:
    """Answer like a proxy whose server is unreachable."""
    with contextlib.suppress(OSError):  # closed
        while True:
            connection = listener.accept()[0]
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            connection.close()


LOGS_AND_FAILS = """
import argparse, pathlib, sys
import numpy as np
from util import runtime
from util.errors import UserError
from util.show.loggers.wandb import WandbResults

def log(first, last):
    for number in range(first, last):
        results.add({"fake": np.full((8, 8, 3), number, np.uint8)}, {"L1": number})

def main():
    global results
    opt = argparse.Namespace(name="run", wandb_project_name="p")
    results = WandbResults(opt, pathlib.Path.cwd())
    log(0, 20)
    print("logging", flush=True)
    sys.stdin.readline()
    log(20, 40)
    results.close({"L1": 3.0})
    raise UserError("so ends the run")

sys.exit(runtime.run(main))
"""


def test_a_server_that_falls_silent(environment, server, tmp_path) -> None:
    """Unsent data is on disk, nothing is left running, and the exit status is the run's."""
    around = {**environment(server.server_port), "WANDB_API_KEY": 40 * "0"}
    program = start(tmp_path, "-c", LOGS_AND_FAILS, **around, PYTHONPATH=str(ROOT))
    printed = ""
    for line in program.stdout:
        printed += line
        if line == "logging\n":
            break
    server.silent.set()
    rest, _ = program.communicate("on\n", timeout=HANGS_S)  # until all that print there have ended
    printed += rest
    assert program.returncode == 2, printed
    (warning,) = warnings(printed)
    folder = re.fullmatch(r".* to send the rest later: wandb sync (\S+)", warning)[1]
    logged = run_of(tmp_path / folder)
    assert [entry["L1"] for entry in logged.history] == list(range(40))
    assert logged.summary["mean_L1"] == 3.0


def test_a_server_that_takes_all(environment, server, tmp_path) -> None:
    """The same program and server as above print nothing if all is well."""
    around = {**environment(server.server_port), "WANDB_API_KEY": 40 * "0"}
    program = start(tmp_path, "-c", LOGS_AND_FAILS, **around, PYTHONPATH=str(ROOT))
    printed, _ = program.communicate("on\n", timeout=HANGS_S)
    assert program.returncode == 2, printed
    assert "so ends the run" in printed
    assert not warnings(printed)
    assert "Traceback" not in printed


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def run(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Status and output; an error if it or a process it started hangs."""
    program = start(folder, *words, **environment)
    printed, _ = program.communicate(timeout=HANGS_S)
    return program.returncode, printed
