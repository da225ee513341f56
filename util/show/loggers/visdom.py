"""Show pictures and loss curves on a visdom server, to be watched in a browser."""

from __future__ import annotations

import argparse
import html
import ipaddress
import json
import logging
import os
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from util.packages import needed
from util.run.clock import Clock
from util.show.bars import tqdm
from util.show.loggers.base import Example, Logger, Losses
from util.util import tensor2im

CALL_LIMIT_S = 5.0
START_LIMIT_S = 30.0
# Like `python -m visdom.server`, but starts even if the scripts of its page cannot be downloaded:
# they may exist from an earlier start.
SERVER = """
from visdom.server import run_server
try:
    run_server.download_scripts()
except Exception as error:
    print(error)
run_server.main()
"""


class VisdomLogger(Logger):
    """Shows the loss curves in window --display_id, and a grid of pictures in the next one.

    A resumed run first draws its earlier losses, so that the curves are continuous. Each call to
    the server has a time limit; the first one that fails raises an error. If no server answers on
    this machine, starts one, which keeps running after the run.
    """

    name = "visdom"

    def __init__(self, opt: argparse.Namespace, folder: Path, total_images: int):
        self.opt = opt
        needed("visdom", "--use_visdom")
        if port := urllib.parse.urlparse(with_scheme(opt.display_server)).port:
            raise ValueError(
                f"--display_server {opt.display_server} has a port: pass --display_port {port}"
            )
        if not answers(opt.display_server, opt.display_port):
            start_server(opt.display_server, opt.display_port)
        self.client = connect(opt)
        self.title = {"title": f"{opt.name} losses", "xlabel": "images", "ylabel": "loss"}
        history = read_history(folder / "metrics.jsonl", total_images)
        for i, (images, values) in enumerate(history):
            self._draw(images, values, append=i > 0)
        self.drawn = bool(history)

    def losses(self, losses: Losses) -> None:
        self._draw([losses.total_images], {n: [v] for n, v in losses.values.items()}, self.drawn)
        self.drawn = True

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        pictures = same_size([tensor2im(x) for e in examples for x in e.pictures.values()])
        rows = [f"{e.name} ({', '.join(e.pictures)})" for e in examples]
        # File names may be anything, and visdom shows a caption as HTML.
        caption = html.escape(f"epoch {clock.epoch}: {'; '.join(rows)}", quote=False)
        self.client.images(
            pictures.transpose(0, 3, 1, 2),
            nrow=self.opt.display_ncols,
            win=str(self.opt.display_id + 1),
            opts={"title": f"{self.opt.name} pictures", "caption": caption},
        )

    def _draw(self, images: list[int], values: dict[str, list[float]], append: bool) -> None:
        names = list(values)
        y = np.array([values[name] for name in names], dtype=np.float64).T  # (points, losses)
        x = np.repeat(np.array(images, dtype=np.float64)[:, None], len(names), axis=1)
        self.client.line(
            y if len(names) > 1 else y[:, 0],
            x if len(names) > 1 else x[:, 0],
            win=str(self.opt.display_id),
            update="append" if append else None,
            opts={**self.title, "legend": names},
        )


def same_size(pictures: list[np.ndarray]) -> np.ndarray:
    """(N, H, W, 3) from pictures (h, w, 3); smaller ones get a white margin."""
    height, width = (max(sides) for sides in zip(*(p.shape[:2] for p in pictures), strict=True))
    grid = np.full((len(pictures), height, width, 3), 255, dtype=np.uint8)
    for place, picture in zip(grid, pictures, strict=True):
        place[: picture.shape[0], : picture.shape[1]] = picture
    return grid


def connect(opt: argparse.Namespace) -> Any:
    """A visdom client with a time limit for each request; ConnectionError if no server answers."""
    logging.getLogger("visdom").setLevel(logging.ERROR)
    import requests
    import visdom

    class LimitedVisdom(visdom.Visdom):
        session = open_session(opt.display_server)

        def _handle_post(self, url: str, data: Any = None) -> str:
            try:
                answer = self.session.post(url, data=data or {}, timeout=CALL_LIMIT_S)
                answer.raise_for_status()
            except requests.RequestException as error:
                # After a ConnectionError, the client would print a line and keep calling.
                raise OSError(f"{url}: {error}") from error
            return answer.text

    return LimitedVisdom(
        server=with_scheme(opt.display_server),
        port=opt.display_port,
        env=opt.display_env,
        raise_exceptions=True,
        use_incoming_socket=False,
    )


def answers(server: str, port: int) -> bool:
    """Whether a visdom server answers: ask whether some window exists.

    Its page would not do: with some versions of its web server, that answers 403.
    """
    import requests

    url = f"{with_scheme(server)}:{port}/win_exists"
    window = {"eid": "main", "win": "1"}
    try:
        answer = open_session(server).post(url, json=window, timeout=CALL_LIMIT_S)
    except requests.RequestException:
        return False
    return answer.ok and answer.text in ("true", "false")


def open_session(server: str) -> Any:
    """A session for requests to a server; for one on this machine, ignores configured proxies."""
    import requests

    session = requests.Session()
    session.trust_env = not is_here(server)
    return session


def is_here(server: str) -> bool:
    host = urllib.parse.urlparse(with_scheme(server)).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return host.rstrip(".") == "localhost"
    return address.is_loopback or address.is_unspecified


def with_scheme(server: str) -> str:
    """--display_server as a URL without a path, also for a bare name or IPv6 address."""
    if "://" not in server:
        server = f"http://[{server}]" if server.count(":") > 1 and "[" not in server else server
        server = server if "://" in server else f"http://{server}"
    return server.rstrip("/")


def start_server(server: str, port: int) -> None:
    """Start a visdom server on this machine; ConnectionError if `server` is another machine."""
    if not is_here(server):
        raise ConnectionError(f"no visdom server answers at {server}:{port}")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, "-port", str(port), "-bind_local"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it outlives the run, and is not stopped by Ctrl-C
    )
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if answers(server, port):
            ending = f"taskkill /PID {process.pid} /F" if os.name == "nt" else f"kill {process.pid}"
            # `print` would break the progress bars.
            tqdm.write(f"started a visdom server at {server}:{port}; to stop it: {ending}")
            return
        time.sleep(0.2)
    process.kill()
    raise ConnectionError(
        f"no visdom server answers at {server}:{port}, and none could be started; is the port "
        "in use (--display_port)?"
    )


def read_history(
    metrics: Path, total_images: int
) -> list[tuple[list[int], dict[str, list[float]]]]:
    """Losses up to an image count: (image counts, values by name) for each set of names.

    Later losses arrive through `VisdomLogger.losses`.
    """
    parts: list[tuple[list[int], dict[str, list[float]]]] = []
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    for line in lines:
        record = json.loads(line)
        if record["total_images"] > total_images:
            break
        losses = {n: float("nan") if v is None else v for n, v in record["losses"].items()}
        if not parts or parts[-1][1].keys() != losses.keys():
            parts.append(([], {name: [] for name in losses}))
        parts[-1][0].append(record["total_images"])
        for name, value in losses.items():
            parts[-1][1][name].append(value)
    return parts
