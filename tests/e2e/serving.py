"""scripts/try_it.py as a process, with small runs to try."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from scripts.try_it import address_in_network
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = ROOT / "datasets" / "portrait_retouch"
TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --device cpu --seed 1"
ONCE = "--n_epochs 2 --n_epochs_decay 0 --save_epoch_freq 1 --num_threads 0 --no_html"


def train(run_in, folder: Path) -> Path:
    """The checkpoints folder of the run `mine`, which has the checkpoints 1, 2 and latest."""
    line = f"--dataroot {PORTRAITS} --name mine --model pix2pix --residual {TINY} {ONCE}".split()
    done = run_in(folder, "train.py", *line)
    assert done.status == 0, done.stderr
    return folder / "checkpoints"


def needs_network() -> None:
    try:
        address_in_network()
    except UserError as error:
        pytest.skip(str(error))


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        assert self.status == 200, self.body
        return json.loads(self.body)

    @property
    def line(self) -> str:
        """The answer of an error: one line of text."""
        text = self.body.decode()
        assert self.headers["Content-Type"].startswith("text/plain") and "\n" not in text
        return text


class Server(NamedTuple):
    """A running program.

    Attributes:
        url: as printed.
        folder: where its temporary folder lies.
    """

    process: subprocess.Popen
    url: str
    folder: Path

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.url)[1])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        at: str = "127.0.0.1",
        **headers: str,
    ) -> Answer:
        """Headers are named with _ for -; Host is that of the address unless it is given."""
        connection = http.client.HTTPConnection(at, self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def upload(self, name: str, body: bytes, epoch="latest", full_size="auto", **more) -> Answer:
        words = urlencode({"name": name, "epoch": epoch, "full_size": full_size})
        return self.ask("POST", f"/photographs?{words}", body, **more)

    def told(self, number: int) -> dict:
        """What the page hears of a photograph."""
        (found,) = (p for p in self.ask("GET", "/photographs").json["photographs"]
                    if p["number"] == number)  # fmt: skip
        return found

    def finished(self, number: int, limit_s: float = 60) -> dict:
        """The newest result of a photograph, once it is done or has failed."""
        end = time.monotonic() + limit_s
        while (result := self.told(number)["results"][-1])["state"] not in ("done", "failed"):
            assert time.monotonic() < end, result
            time.sleep(0.05)
        return result

    def result(self, name: str, body: bytes, **more) -> dict:
        return self.finished(self.upload(name, body, **more).json["number"])


@contextmanager
def started(checkpoints: Path, folder: Path, *words: str, **environment: str) -> Iterator[Server]:
    """The program with these words; ended at the end if it still runs."""
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), **environment}
    line = f"--name mine --checkpoints_dir {checkpoints} --device cpu --port 0".split()
    command = [sys.executable, str(ROOT / "scripts" / "try_it.py"), *line, *words]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that started the tests in the background has made them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        first = process.stdout.readline()
        url = re.search(r"http://\S+", first)
        assert url, process.communicate()
        yield Server(process, url[0], temporary)
    finally:
        process.kill()
        process.communicate()
