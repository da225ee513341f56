"""visdom, Weights & Biases, TensorBoard and the page in real runs, and when they fail.

A visdom server of the test's own is started once. What each viewer got is compared with
metrics.jsonl and with the pictures of the page.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from util.show.loggers import Loggers
from util.show.loggers import visdom as visdom_logger
from util.show.loggers.base import Losses
from util.show.loggers.files import FileLogger
from util.show.loggers.visdom import VisdomLogger

TINY = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 36 --crop_size 32"
TINY += " --device cpu --seed 1 --name run --num_threads 0 --print_freq 3"
TINY += " --val_pictures 1"
VISUALS = ("real_A", "fake_B", "real_B")
SHOWN = "p3.png"  # the one picture that is always shown
LONG_S = 60.0  # nothing here takes so long unless it hangs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:visdom")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def photos(tmp_path_factory, pictures_in) -> str:
    """Six pairs."""
    return pictures_in(tmp_path_factory.mktemp("photos")).two_folders(6, (48, 40))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> dict[str, str]:
    """An environment in which visdom and wandb keep their own files in a folder of the test."""
    home = str(tmp_path_factory.mktemp("home"))
    places = {f"WANDB_{kind}_DIR": home for kind in ("CACHE", "CONFIG", "DATA")}
    return {"HOME": home, "USERPROFILE": home, "WANDB_MODE": "offline", **places}


class Server:
    """A real visdom server, and its client."""

    def __init__(self, port: int, process: subprocess.Popen):
        self.port, self.process = port, process

    def answers(self) -> bool:
        return visdom_logger.answers("localhost", self.port)

    def window(self, number: int, env: str = "main") -> dict[str, Any]:
        """What a window shows; {} where there is none yet."""
        import visdom

        client = visdom.Visdom(
            port=self.port, env=env, use_incoming_socket=False, raise_exceptions=True
        )
        return json.loads(client.get_window_data(win=str(number)) or "{}")

    def curves(self, number: int, env: str = "main") -> dict[str, tuple[list, list]]:
        """Name to x and y of each curve in a window."""
        traces = self.window(number, env).get("content", {}).get("data", [])
        return {trace["name"]: (trace["x"], trace["y"]) for trace in traces}


@pytest.fixture(scope="module")
def server(home) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", visdom_logger.SERVER, "-port", str(port), "-bind_local"],
        env={**os.environ, **home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(port, process)
    try:
        wait_until(server.answers)
        yield server
    finally:
        process.kill()
        process.wait()


def metrics(folder: Path) -> list[dict[str, Any]]:
    """What was logged of each moment."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def warnings(stdout: str) -> list[str]:
    return [line for line in stdout.splitlines() if "switched off" in line]


def pixels(picture: Any) -> np.ndarray:
    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB"))


def page_pictures(folder: Path) -> list[Path]:
    """The files that the page shows, those of the last call at the end."""
    calls = (folder / "web" / "data" / "0001.js").read_text(encoding="utf-8")
    names = re.findall(r'":"((?:epoch\d+|fixed_p3)_\w+\.png)"', calls)
    files = [folder / "web" / "images" / name for name in names]
    return [file if file.exists() else file.with_suffix(".jpg") for file in files]


# --- All of them at once, then resumed ------------------------------------------------------------


class Runs(NamedTuple):
    """Two epochs with all viewers, then from the end of the first to the end of the third."""

    folder: Path
    pages: list[list[Path]]  # shown after each of the two processes
    printed: list[str]
    server: Server


@pytest.fixture(scope="module")
def runs(tmp_path_factory, photos, home, server, run_in) -> Runs:
    folder = tmp_path_factory.mktemp("all")
    line = f"{TINY} --use_visdom --use_wandb --use_tensorboard --wandb_project_name faces"
    line += f" --display_port {server.port} --display_env faces --display_id 5 --display_ncols 2"
    line += " --display_freq 6 --update_html_freq 1 --save_epoch_freq 1 --n_epochs_decay 0"
    line += " --keep_states 1"
    pages, printed = [], []
    for more in ("--n_epochs 2", "--n_epochs 3 --continue_train --epoch 1"):
        words = f"--dataroot {photos} {line} {more}".split()
        done = run_in(folder, "train.py", *words, **home)
        pages.append(page_pictures(folder / "checkpoints" / "run"))
        for picture in pages[-1]:
            assert pixels(picture).shape == (32, 32, 3)  # complete once the process has ended
        assert (done.status, warnings(done.stdout)) == (0, []), done.stdout + done.stderr
        printed.append(done.stdout)
    return Runs(folder / "checkpoints" / "run", pages, printed, server)


def test_every_step_reached_the_page(runs) -> None:
    names = [sorted({path.name for path in pictures}) for pictures in runs.pages]
    old, new = [f"epoch00{e}_fake_B.jpg" for e in (1, 2)], ["epoch002", "epoch003"]
    given = ["fixed_p3_real_A.png", "fixed_p3_real_B.png"]
    assert names == [[*old[:i], f"{new[i - 1]}_fake_B.png", *given] for i in (1, 2)]
    calls = (runs.folder / "web" / "data" / "0001.js").read_text(encoding="utf-8")
    shown = [int(n) for n in re.findall(r"page\.pictures\(\d+,\d+,(\d+),", calls)]
    assert shown == [*range(1, 13), *range(7, 19)]
    # "finished" is enough: the page itself shows the progress, its place and how to resume.
    assert re.fullmatch(r'page\.end\(\d+,"finished"\);', last_call(runs.folder))


def test_visdom_curves_go_on_after_a_resume(runs) -> None:
    records = metrics(runs.folder)
    assert [r["total_images"] for r in records] == [3, 6, 9, 12, 15, 18]
    curves = runs.server.curves(5, "faces")
    assert list(curves) == list(records[0]["losses"])
    for name, (x, y) in curves.items():
        assert x == [r["total_images"] for r in records]
        np.testing.assert_allclose(y, [r["losses"][name] for r in records], rtol=1e-6)


def test_visdom_pictures(runs) -> None:
    window = runs.server.window(6, "faces")
    assert all(name in window["content"]["caption"] for name in ("epoch 3", *VISUALS))
    encoded = window["content"]["src"].partition("base64,")[2]
    grid = pixels(io.BytesIO(base64.b64decode(encoded)))
    assert grid.shape == (72, 72, 3)  # two columns, with margins
    for (row, column), name in zip(((0, 0), (0, 1), (1, 0)), VISUALS, strict=True):
        shown = grid[36 * row :, 36 * column :][3:35, 3:35]
        np.testing.assert_array_equal(shown, pixels(runs.pages[1][-3 + VISUALS.index(name)]))


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(raw[place + 4 : place + 6], "little"), raw[place + 6]
        whole += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


class WandbRun:
    """What one process gave to Weights & Biases."""

    def __init__(self, file: Path):
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.files = file.parent / "files"
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config.update(self.read(record.run.config.update))
            elif kind == "summary":
                self.summary.update(self.read(record.summary.update))
            elif kind == "history":
                self.history.append(self.read(record.history.item))

    @staticmethod
    def read(items: Any) -> dict[str, Any]:
        return {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}


@pytest.fixture(scope="module")
def wandb_runs(runs) -> list[WandbRun]:
    files = sorted((runs.folder / "wandb").glob("offline-run-*/*.wandb"))
    return [WandbRun(file) for file in files]


def test_wandb_is_one_run_with_its_options(runs, wandb_runs) -> None:
    first, second = wandb_runs
    assert first.run.run_id == second.run.run_id
    assert first.run.run_id == (runs.folder / "wandb_id.txt").read_text().strip()
    for run, epochs in ((first, 2), (second, 3)):
        assert (run.run.project, run.run.display_name) == ("faces", "run")
        flags = {name: run.config[name] for name in ("model", "ngf", "lr", "n_epochs", "direction")}
        assert flags == {
            "model": "pix2pix", "ngf": 2, "lr": 2e-4, "n_epochs": epochs, "direction": "AtoB",
        }  # fmt: skip


def test_wandb_losses_and_learning_rate(runs, wandb_runs) -> None:
    """The second process continues at the next image."""
    records = {r["total_images"]: r for r in metrics(runs.folder)}
    steps = [[h["_step"] for h in run.history if "epoch" in h] for run in wandb_runs]
    assert steps == [[3, 6, 9, 12], [9, 12, 15, 18]]
    for run in wandb_runs:
        for logged in (h for h in run.history if "epoch" in h):
            record = records[logged["_step"]]
            assert (logged["epoch"], logged["learning_rate"]) == (record["epoch"], record["lr"])
            for name, value in record["losses"].items():
                assert logged[name] == pytest.approx(value, rel=1e-6)


def test_wandb_pictures(runs, wandb_runs) -> None:
    shown = {}
    for run in wandb_runs:
        for logged in run.history:
            if "pictures/filenames" in logged:
                assert logged["pictures/captions"] == [f"{SHOWN} {name}" for name in VISUALS]
                shown[logged["_step"]] = [run.files / f for f in logged["pictures/filenames"]]
    assert list(shown) == [6, 12, 18]
    for ours, theirs in zip(runs.pages[1][-3:], shown[18], strict=True):
        np.testing.assert_array_equal(pixels(theirs), pixels(ours))


def test_wandb_summary_holds_the_last_metrics(runs, wandb_runs) -> None:
    summary, last = wandb_runs[1].summary, metrics(runs.folder)[-1]
    assert "finished after epoch 3" in summary["outcome"]
    assert (summary["epoch"], summary["learning_rate"]) == (3, last["lr"])
    for name, value in last["losses"].items():
        assert summary[name] == pytest.approx(value, rel=1e-6)


def test_flags_of_pages_and_viewers_in_testing(
    runs, photos, home, run_here, tmp_path, monkeypatch
) -> None:
    for name, value in home.items():
        monkeypatch.setenv(name, value)
    line = f"--name run --model pix2pix --checkpoints_dir {runs.folder.parent} --phase train"
    line += " --num_threads 0 --crop_size 32 --num_test 2 --display_winsize 123"
    before = set((runs.folder / "wandb").glob("offline-run-*"))
    done = run_here("test.py", "--dataroot", photos, *line.split())
    assert done.status == 0, done.stderr
    assert set((runs.folder / "wandb").glob("offline-run-*")) == before
    line += " --use_wandb --wandb_project_name tested"
    done = run_here("test.py", "--dataroot", photos, *line.split())
    assert done.status == 0, done.stderr

    page = tmp_path / "results" / "run" / "train_latest" / "index.html"
    assert "123px" in page.read_text(encoding="utf-8")
    (folder,) = set((runs.folder / "wandb").glob("offline-run-*")) - before
    (file,) = folder.glob("*.wandb")
    wait_until(lambda: len(WandbRun(file).history) == 2)  # wandb's service writes with a delay
    run = WandbRun(file)
    assert (run.run.project, run.run.display_name) == ("tested", "run (test)")
    assert [len(logged["pictures/filenames"]) for logged in run.history] == [3, 3]


@pytest.fixture(scope="module")
def events(runs) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(runs.folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
    )
    return events.Reload()


def test_tensorboard_curves_go_on_after_a_resume(runs, events) -> None:
    """Images that the first process trained beyond the checkpoint are not logged twice."""
    records = metrics(runs.folder)
    names = {f"loss/{name}": name for name in records[0]["losses"]}
    assert set(events.Tags()["scalars"]) == {*names, "learning_rate"}
    for tag, name in names.items():
        scalars = events.Scalars(tag)
        assert [s.step for s in scalars] == [r["total_images"] for r in records]
        expected = [r["losses"][name] for r in records]
        np.testing.assert_allclose([s.value for s in scalars], expected, rtol=1e-6)
    rates = [s.value for s in events.Scalars("learning_rate")]
    np.testing.assert_allclose(rates, [r["lr"] for r in records], rtol=1e-6)


def test_tensorboard_pictures(runs, events) -> None:
    assert set(events.Tags()["images"]) == {f"{SHOWN}/{name}" for name in VISUALS}
    for name in VISUALS:
        images = events.Images(f"{SHOWN}/{name}")
        assert [image.step for image in images] == [6, 12, 18]
        shown = pixels(io.BytesIO(images[-1].encoded_image_string))
        np.testing.assert_array_equal(shown, pixels(runs.pages[1][-3 + VISUALS.index(name)]))


def test_the_page_forgets_what_a_resumed_run_trains_again(train, folder, at, tmp_path) -> None:
    """Read as page.js reads it: pictures by epoch, losses in a row, and both up to the clock."""
    flags = "--n_epochs 2 --n_epochs_decay 0 --print_freq 2 --update_html_freq 1"
    kept: dict[str, bytes] = {}  # of 8 images
    at(10, lambda: kept.update((file.name, file.read_bytes()) for file in folder.glob("latest_*")))
    train(f"{flags} --save_latest_freq 4")
    for name, contents in kept.items():
        (folder / name).write_bytes(contents)
    train(f"{flags} --continue_train")
    pictures: dict[int, int] = {}
    losses: list[int] = []
    shown = []  # of each process, where it began
    for line in (folder / "web" / "data" / "0001.js").read_text(encoding="utf-8").splitlines():
        function, arguments = re.fullmatch(r"page\.(\w+)\((.*)\);", line).groups()
        values = json.loads(f"[{arguments}]")
        if function == "pictures":
            pictures[values[1]] = values[2]
        elif function == "loss":
            losses.append(values[2])
        elif function == "rewind":
            (images,) = values
            pictures = {epoch: at for epoch, at in pictures.items() if at <= images}
            losses = [at for at in losses if at <= images]
            shown.append((images, pictures.copy(), losses.copy()))
    assert shown == [(0, {}, []), (8, {1: 6}, [2, 4, 6, 8])]
    assert pictures == {1: 6, 2: 12}
    assert losses == [2, 4, 6, 8, 10, 12]


# --- What is not asked for ------------------------------------------------------------------------


def test_packages_of_viewers_are_imported_only_where_asked_for(photos, tmp_path, run_in) -> None:
    for name in ("wandb", "visdom", "tensorboard"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported ' + __name__)")
    words = f"--dataroot {photos} {TINY} --n_epochs 1 --n_epochs_decay 0".split()
    done = run_in(tmp_path, "train.py", *words, PYTHONPATH=str(tmp_path))
    assert (done.status, done.stderr) == (0, "")
    assert "imported" not in done.stdout
    assert not warnings(done.stdout)


@pytest.fixture
def train(photos, home, run_here, tmp_path, monkeypatch) -> Callable[[str], str]:
    """`train("--use_visdom")`: in this process; returns what was printed."""
    for name, value in home.items():
        monkeypatch.setenv(name, value)

    def run(flags: str) -> str:
        done = run_here("train.py", "--dataroot", photos, *TINY.split(), *flags.split())
        assert (done.status, done.stderr) == (0, "")
        assert list((tmp_path / "checkpoints" / "run").glob("latest_net_*.pth"))
        return done.stdout

    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    """Of the run that `train` makes."""
    return tmp_path / "checkpoints" / "run"


@pytest.fixture
def at(monkeypatch) -> Callable[[int, Callable[[], object]], None]:
    """`at(9, action)`: call `action` just before the losses of image 9 are logged."""
    actions: dict[int, Callable[[], object]] = {}
    tell = Loggers.losses

    def tell_after_acting(log: Loggers, losses: Losses) -> None:
        actions.get(losses.total_images, lambda: None)()
        tell(log, losses)

    monkeypatch.setattr(Loggers, "losses", tell_after_acting)
    return actions.__setitem__


@pytest.mark.parametrize(
    "server, url, here",
    [
        ("localhost", "http://localhost", True),
        ("http://localhost/", "http://localhost", True),
        ("127.0.1.1", "http://127.0.1.1", True),
        ("0.0.0.0", "http://0.0.0.0", True),
        ("::1", "http://[::1]", True),
        ("http://localhost.", "http://localhost.", True),
        ("https://viewer.example", "https://viewer.example", False),
        ("10.1.2.3", "http://10.1.2.3", False),
    ],
)
def test_addresses_of_visdom(server, url, here) -> None:
    assert visdom_logger.with_scheme(server) == url
    assert visdom_logger.is_here(server) is here


def test_an_address_with_a_port_names_the_flag(train) -> None:
    printed = train("--use_visdom --display_server localhost:9 --n_epochs 1 --n_epochs_decay 0")
    assert "--display_server localhost:9 has a port: pass --display_port 9" in warnings(printed)[0]


def test_display_id_0_switches_visdom_off(train, server) -> None:
    flags = f"--use_visdom --display_id 0 --display_env off --display_port {server.port}"
    printed = train(f"{flags} --n_epochs 1 --n_epochs_decay 0")
    assert not warnings(printed)
    assert server.curves(0, "off") == server.curves(1, "off") == {}


def test_a_server_on_another_machine_is_not_started(train, server) -> None:
    """The server that runs on this machine and port is not contacted."""
    flags = f"--use_visdom --display_server http://nowhere.invalid --display_port {server.port}"
    (warning,) = warnings(train(f"{flags} --n_epochs 1 --n_epochs_decay 0"))
    assert "nowhere.invalid" in warning


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """The address of a proxy that refuses everything, and a list of the requests it got."""
    asked: list[str] = []

    class Forbids(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        do_POST = do_CONNECT = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forbids) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}", asked
        listener.shutdown()


@pytest.mark.parametrize("name", ["localhost", "http://localhost", "127.0.0.1", "http://127.0.0.1"])
def test_no_proxy_is_asked_for_this_machine(name, server, proxy, monkeypatch, tmp_path) -> None:
    """Neither to find the server nor to send to it; the address needs no scheme."""
    env = re.sub(r"\W", "_", name)
    where = {"server": name, "port": server.port, "env": env, "id": 1, "ncols": 2}
    opt = Namespace(name="run", **{f"display_{key}": value for key, value in where.items()})
    with monkeypatch.context() as around:
        for variable in ("no_proxy", "NO_PROXY"):
            around.delenv(variable, raising=False)
        for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            around.setenv(variable, proxy[0])
        logger = VisdomLogger(opt, tmp_path, 0)
        logger.losses(Losses(1, 3, 3, 0.1, 0.1, 2e-4, {"G": 1.0}))
    assert proxy[1] == []
    assert list(server.curves(1, env)) == ["G"]


def test_an_answer_of_a_proxy_is_no_visdom_server(proxy, monkeypatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(variable, proxy[0])
    assert not visdom_logger.answers("http://viewer.invalid", 8097)
    assert proxy[1] == ["http://viewer.invalid:8097/win_exists"]
    assert not visdom_logger.answers("localhost", int(proxy[0].rpartition(":")[2]))


def test_pictures_of_different_sizes(train, server, pictures) -> None:
    """As in CycleGAN, where each side keeps its sizes under --preprocess none."""
    for side, size in (("A", (48, 32)), ("B", (32, 40))):
        for index in range(2):
            pictures.save(pictures.draw(index, *size), f"mixed/train{side}/p{index}.png")
    flags = f"--dataroot {pictures.root / 'mixed'} --model cycle_gan --dataset_mode unaligned"
    flags += f" --preprocess none --use_visdom --display_port {server.port} --display_env mixed"
    printed = train(f"{flags} --use_tensorboard --display_freq 1 --n_epochs 1 --n_epochs_decay 0")
    assert not warnings(printed)
    assert "real_A, fake_B" in server.window(2, "mixed")["content"]["caption"]


# --- Servers that come and go ---------------------------------------------------------------------


def test_a_server_is_started_and_its_end_in_mid_run_is_survived(
    train, folder, at, monkeypatch
) -> None:
    """Curves begin with what was logged before the server was there."""
    started: list[subprocess.Popen] = []
    start = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> subprocess.Popen:
        started.append(start(*args, **kwargs))
        return started[-1]

    def look_and_kill() -> None:
        wait_until(lambda: any(9 in x for x, _ in server.curves(1).values()))
        seen.update(server.curves(1))
        started[0].kill()
        started[0].wait()

    monkeypatch.setattr(visdom_logger.subprocess, "Popen", remember)
    server, seen = Server(free_port(), None), {}  # type: ignore[arg-type]
    at(6, lambda: wait_until(server.answers))
    at(12, look_and_kill)
    try:
        printed = train(
            f"--use_visdom --display_port {server.port} --n_epochs 6 --n_epochs_decay 0"
        )
    finally:
        for process in started:
            process.kill()
    pid = started[0].pid
    ending = f"taskkill /PID {pid} /F" if os.name == "nt" else f"kill {pid}"
    url = f"http://localhost:{server.port}"
    assert f"started a visdom server at {url}; to stop it: {ending}\n" in printed
    assert "Error connecting" not in printed  # what visdom's own client would print
    records = metrics(folder)
    assert len(seen) == len(records[0]["losses"])
    for name, (x, y) in seen.items():
        assert x == [3, 6, 9]
        np.testing.assert_allclose(y, [r["losses"][name] for r in records[:3]], rtol=1e-6)

    (warning,) = warnings(printed)
    assert warning.startswith("warning: visdom is switched off: ")
    assert records[-1]["total_images"] == 36  # trained to the end


@pytest.mark.slow
def test_a_server_that_accepts_and_never_answers(train, folder, at) -> None:
    """Steps take no longer, and the program ends within its time limit for loggers."""
    moments: list[float] = []
    for image in (3, 60):
        at(image, lambda: moments.append(time.perf_counter()))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    accepted.append(listener.accept()[0])
                except OSError:  # closed
                    return

        threading.Thread(target=accept, daemon=True).start()
        port = listener.getsockname()[1]
        began = time.perf_counter()
        printed = train(f"--use_visdom --display_port {port} --n_epochs 10 --n_epochs_decay 0")
        ended = time.perf_counter()
        for connection in accepted:
            connection.close()
    assert accepted
    (warning,) = warnings(printed)
    assert warning.startswith("warning: visdom is switched off: ")
    assert metrics(folder)[-1]["total_images"] == 60
    assert moments[1] - moments[0] < 4.0
    assert moments[0] - began < 8.0
    assert ended - moments[1] < 14.0


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot suspend a process so")
def test_a_server_that_falls_silent_costs_one_time_limit(server, monkeypatch) -> None:
    where = {"server": "http://localhost", "port": server.port, "env": "silent"}
    client = visdom_logger.connect(Namespace(**{f"display_{k}": v for k, v in where.items()}))
    monkeypatch.setattr(visdom_logger, "CALL_LIMIT_S", 0.5)
    server.process.send_signal(signal.SIGSTOP)
    try:
        started = time.perf_counter()
        with pytest.raises(OSError, match="timed out"):
            client.line([1.0], [3.0], win="1", update="append")
        assert 0.4 < time.perf_counter() - started < LONG_S  # it would wait for ever
    finally:
        server.process.send_signal(signal.SIGCONT)


# --- Failures -------------------------------------------------------------------------------------


def test_each_one_that_fails_is_switched_off_with_one_warning(
    train, folder, server, monkeypatch
) -> None:
    """Files in the place of folders, and packages that are not installed."""
    folder.mkdir(parents=True)
    for name in ("web", "tensorboard"):
        (folder / name).write_text("in the way")
    for name in ("wandb", "visdom"):
        monkeypatch.setitem(sys.modules, name, None)
    flags = f"--use_visdom --display_port {server.port} --use_wandb --use_tensorboard"
    printed = train(
        f"{flags} --display_freq 1 --update_html_freq 1 --n_epochs 1 --n_epochs_decay 1"
    )
    names = [re.match(r"warning: (.*?) is switched off: .+: .", w)[1] for w in warnings(printed)]
    assert sorted(names) == ["TensorBoard", "Weights & Biases", "the training page", "visdom"]
    assert metrics(folder)[-1]["total_images"] == 12


def test_a_missing_package_of_tensorboard(train, folder, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    (warning,) = warnings(train("--use_tensorboard --n_epochs 1 --n_epochs_decay 1"))
    assert warning.endswith("--use_tensorboard needs tensorboard: pip install tensorboard")


def test_logs_that_cannot_be_written_cost_the_logs_alone(train, folder) -> None:
    train("--n_epochs 1 --n_epochs_decay 0")
    (folder / "loss_log.txt").unlink()
    (folder / "loss_log.txt").mkdir()
    printed = train("--continue_train --n_epochs 2 --n_epochs_decay 0")
    (warning,) = warnings(printed)
    assert warning.startswith(f"warning: {FileLogger.name} is switched off: ")
    assert len(re.findall(r"^\(epoch: 2|^End of epoch 2", printed, re.MULTILINE)) == 2


def test_disks_that_fail_in_mid_run(train, folder, at) -> None:
    """The folder of pictures disappears, and metrics.jsonl too; the other logs are complete."""

    def take_away() -> None:
        # In one step, since pictures may be written at this moment.
        (folder / "web" / "images").rename(folder / "web" / "moved")
        (folder / "web" / "images").write_text("in the way")
        (folder / "metrics.jsonl").unlink()
        (folder / "metrics.jsonl").mkdir()

    at(9, take_away)
    printed = train("--update_html_freq 1 --use_tensorboard --n_epochs 3 --n_epochs_decay 0")
    names = [re.match(r"warning: (.*?) is switched off: \w+: .", w)[1] for w in warnings(printed)]
    assert sorted(names) == [FileLogger.name, "the training page"]
    assert len(re.findall(r"^\(epoch: |^End of epoch", printed, re.MULTILINE)) == 6
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [s.step for s in events.Scalars("loss/G_GAN")] == [3, 6, 9, 12, 15, 18]


def last_call(folder: Path) -> str:
    return (folder / "web" / "data" / "0001.js").read_text(encoding="utf-8").splitlines()[-1]


def test_the_page_tells_of_an_end_by_a_bug(photos, run_here, folder, at, capsys) -> None:
    """Otherwise the run would look alive."""

    def break_down() -> None:
        raise RuntimeError("a bug in somebody's model")

    at(9, break_down)
    words = f"--dataroot {photos} {TINY} --update_html_freq 1".split()
    with pytest.raises(RuntimeError, match="a bug"):
        run_here("train.py", *words)
    assert "\nstopped by an error; no checkpoint was saved yet\n" in capsys.readouterr().out
    shown = page_pictures(folder)
    assert len(shown) == 8 * 3
    assert all(pixels(picture).shape == (32, 32, 3) for picture in shown)
    assert re.fullmatch(r'page\.end\(\d+,"stopped by an error"\);', last_call(folder))


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal")
def test_pictures_are_complete_when_a_run_was_stopped(
    photos, run_here, folder, at, monkeypatch
) -> None:
    at(9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    words = f"--dataroot {photos} {TINY} --update_html_freq 1 --use_tensorboard".split()
    done = run_here("train.py", *words)
    assert done.status == 128 + signal.SIGTERM
    assert re.search(r"^stopped; to resume: .*--continue_train$", done.stdout, re.MULTILINE)
    shown = page_pictures(folder)
    assert len(shown) == 9 * 3
    assert all(pixels(picture).shape == (32, 32, 3) for picture in shown)
    assert re.fullmatch(r'page\.end\(\d+,"stopped"\);', last_call(folder))
