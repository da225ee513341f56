"""The console: bars and loss lines on a real terminal, and plain lines where there is none."""

from __future__ import annotations

import codecs
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from util.run.clock import Clock
from util.show.loggers import console
from util.show.loggers.base import EpochEnd, Losses, Outcome
from util.show.loggers.console import ConsoleLogger

ROOT = Path(__file__).resolve().parents[2]
needs_pty = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo terminals")

# Trains three epochs of eight pictures, each waited for 20 ms and trained on for 30 ms.
CHILD = """
import time
from types import SimpleNamespace
from util.run.clock import Clock
from util.distributed import Share
from util.show.loggers.base import EpochEnd, Losses, Outcome
from util.show.loggers.console import ConsoleLogger

class Pictures:
    def __len__(self): return 8
    def __iter__(self):
        for _ in range(8):
            time.sleep(0.02)
            yield SimpleNamespace(share=Share(0, 1, 1, 1.0))

clock = Clock(1, 3, 8)
console = ConsoleLogger(clock, within_epochs=WITHIN)
for epoch in clock.epochs():
    for batch in clock.iterations(Pictures()):
        time.sleep(0.03)
        console.step(clock)
        if clock.due(3) or clock.epoch_done:
            console.losses(Losses.now(clock, {"G_GAN": 0.5, "G_L1": 12.0}, 2e-4, 3))
    clock.end_epoch()
    console.epoch_end(EpochEnd(epoch, 3, 0.4, (2e-4, 2e-4)))
console.close(Outcome("finished", "finished"))
"""
QUIET = CHILD.replace("WITHIN", "False")
CHILD = CHILD.replace("WITHIN", "True")
LOSSES = r"\(epoch: \d, iters: \d, time: 0\.\d{3}, data: 0\.\d{3}\) , G_GAN: 0\.500, G_L1: 12\.000"
END = r"End of epoch {} / 3: G_GAN 0\.5, G_L1 12"
EPOCH_BAR = (
    r"epoch (?P<epoch>\d)/3 \|(?P<bar>[^|]*)\| (?P<images>\d)/8, 00:00 left, "
    r"(?P<pace>\d+(\.\d\d)?) images/s, data wait (?P<wait>\d+)%"
)
RUN_BAR = r"run       \|(?P<bar>[^|]*)\| (?P<percent>\d+\.\d)%, 00:0\d left"


class Screen:
    """What a terminal of this width shows of what is written to it."""

    def __init__(self, columns: int):
        self.columns, self.lines, self.row, self.column = columns, [""], 0, 0
        self.decode = codecs.getincrementaldecoder("utf-8")().decode
        self.rest = ""  # of an escape sequence that has not come whole

    def feed(self, piece: bytes) -> None:
        text = self.rest + self.decode(piece)
        self.rest = re.search(r"(\x1b\[?)?$", text)[0]
        for token in re.findall(r"\x1b\[A|[^\x1b]", text.removesuffix(self.rest)):
            if token == "\r":
                self.column = 0
            elif token == "\x1b[A":
                self.row -= 1
            elif token == "\n":
                self.move_down()
            else:
                if self.column == self.columns:
                    self.column = 0
                    self.move_down()
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + token + line[self.column + 1 :]
                self.column += 1

    def move_down(self) -> None:
        self.row += 1
        self.lines += [""] * (self.row == len(self.lines))

    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.lines]


def run_on_terminal(
    columns: int, script: str, *, colours: bool = False, **files: object
) -> tuple[Screen, list[list[str]]]:
    """The final screen, and the screen after each piece of output."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    streams = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs, **files}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm"}
    environment["NO_COLOR"] = "" if colours else "1"
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, **streams)
    os.close(theirs)
    screen, screens = Screen(columns), []
    try:
        while piece := os.read(ours, 1 << 16):
            screen.feed(piece)
            screens.append(screen.shown())
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return screen, screens


@needs_pty
@pytest.mark.parametrize("columns", [100, 80])
def test_lines_stay_whole_above_the_bars(columns) -> None:
    screen, screens = run_on_terminal(columns, CHILD)
    shown = "\n".join(screen.shown())
    ends = [END.format(epoch) for epoch in (1, 3)]  # at 16 images, none is asked for
    lines = [*[LOSSES] * 2, ends[0], *[LOSSES] * 5, ends[1], "finished", ""]
    assert re.fullmatch("\n".join(lines), shown), shown

    seen = []
    for lines in screens:
        for row, (upper, lower) in enumerate(pairwise(lines)):
            epoch, run = re.fullmatch(EPOCH_BAR, upper), re.fullmatch(RUN_BAR, lower)
            if epoch and run:
                assert len(epoch["bar"]) == len(run["bar"]) >= 5
                assert not "".join(lines[row + 2 :])
                seen.append((epoch, run))
    assert len(seen) >= 3
    images = [(int(epoch["epoch"]) - 1) * 8 + int(epoch["images"]) for epoch, _ in seen]
    assert images == sorted(images)
    assert len(set(images)) >= 3
    for epoch, run in seen:
        assert 3 <= float(epoch["pace"]) <= 20
        assert 5 <= int(epoch["wait"]) <= 80
        assert float(run["percent"]) >= 100 * int(epoch["images"]) / 24 - 0.1


@needs_pty
@pytest.mark.parametrize("columns", [100, 45])
def test_an_epoch_has_one_line_and_its_losses_stand_below_the_bars(columns) -> None:
    screen, screens = run_on_terminal(columns, QUIET)
    shown = "\n".join(screen.shown())
    ends = [END.format(epoch) for epoch in (1, 2, 3)]  # each crosses a multiple of 3 images
    assert re.fullmatch("\n".join([*ends, "finished"]), shown.rstrip()), shown
    below = "losses G_GAN 0.5, G_L1 12"
    assert any(
        upper.startswith("run ") and lower == below
        for lines in screens
        for upper, lower in pairwise(lines)
    )
    assert below not in shown


@needs_pty
def test_a_narrow_terminal_shows_less_and_all_of_it() -> None:
    short = EPOCH_BAR.removesuffix(r", data wait (?P<wait>\d+)%")
    for columns, gone in ((60, None), (50, r" \|(?P<bar>[^|]*)\|")):
        screen, screens = run_on_terminal(columns, CHILD)
        assert len(re.findall(LOSSES, "".join(screen.shown()))) == 7
        assert re.search(END.format(3) + "finished$", "".join(screen.shown()))
        assert not any("run  " in line for line in screen.shown())
        bars = [bar.replace(gone, "") if gone else bar for bar in (short, RUN_BAR)]
        assert any(
            re.fullmatch(bars[0], upper) and re.fullmatch(bars[1], lower)
            for lines in screens
            for upper, lower in pairwise(lines)
        )


@needs_pty
def test_colours_where_the_terminal_has_them_and_nobody_minds() -> None:
    screen, _ = run_on_terminal(100, CHILD, colours=True)
    assert "[1mfinished[0m" in "".join(screen.shown())  # a screen does not show the escapes
    screen, _ = run_on_terminal(100, CHILD)
    assert "[1m" not in "".join(screen.shown())


@needs_pty
def test_lines_reach_a_file_at_once_while_the_bars_are_on_the_terminal(tmp_path) -> None:
    """With `tail -f` on the file, they appear as they are printed."""
    file = tmp_path / "out.txt"
    script = f"{CHILD}\nimport os; os._exit(0)  # what is not written yet is lost"
    with open(file, "wb") as out:
        screen, screens = run_on_terminal(100, script, stdout=out)
    lines = file.read_text(encoding="utf-8").splitlines()
    others = [line for line in lines if not re.fullmatch(LOSSES, line)]
    assert re.fullmatch(f"{END.format(1)}\n{END.format(3)}\nfinished", "\n".join(others))
    assert len(lines) == 10
    assert any("images/s" in line for shown in screens for line in shown)
    assert not "".join(screen.shown())


def test_no_bars_where_there_is_no_terminal(capfd) -> None:
    clock = Clock(1, 2, 4)
    logger = ConsoleLogger(clock, within_epochs=True)
    logger.step(clock)
    logger.say("a line")
    logger.losses(Losses(1, 4, 4, 0.25, 0.125, 2e-4, {"G": 1.0}))
    logger.close(Outcome("", "the end"))
    out, err = capfd.readouterr()
    assert out == "a line\n(epoch: 1, iters: 4, time: 0.250, data: 0.125) , G: 1.000\nthe end\n"
    assert err == ""


def test_lines_are_at_most_100_columns_wide(capfd) -> None:
    """What does not fit stands in the run's files."""
    names = [f"{kind}_{side}" for side in "AB" for kind in ("D", "G", "cycle", "idt", "GP")]
    losses = Losses(10, 100, 1900, 0.25, 0.125, 2e-4, dict.fromkeys(names, 12.345))
    logger = ConsoleLogger(Clock(1, 20, 200), within_epochs=True)
    logger.losses(losses)
    logger.losses(replace(losses, ends_epoch=True))
    logger.epoch_end(EpochEnd(10, 20, 31.0, (2e-4, 2e-4)))
    middle, end = capfd.readouterr().out.splitlines()
    assert middle.startswith("(epoch: 10, iters: 100) , D_A: 12.345, G_A: 12.345, ")
    assert end.startswith("End of epoch 10 / 20 (31 s): D_A 12.35, G_A 12.35, ")
    for line in (middle, end):
        assert 85 <= len(line) <= 100 and line.endswith(", ...")
    assert len(losses.line()) > 150
    logger.losses(replace(losses, values=dict(zip(names[:3], range(3), strict=True))))
    whole = "(epoch: 10, iters: 100, time: 0.250, data: 0.125) , "
    assert capfd.readouterr().out == f"{whole}D_A: 0.000, G_A: 1.000, cycle_A: 2.000\n"


# --- What the bars say, at times that are given ---------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def last(self, word: str) -> str:
        """The bar that begins with this word, as it was drawn last."""
        parts = re.split(r"[\r\n]|\x1b\[A", self.getvalue())
        return [part.rstrip() for part in parts if part.startswith(word)][-1]


class Training:
    """A clock and its console, with steps of given durations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock):
        self.clock, self.now_s, self.terminal = clock, 1000.0, Terminal()
        monkeypatch.setattr(sys, "stderr", self.terminal)
        monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.console = ConsoleLogger(clock, within_epochs=False)

    def step(self, wait_s: float, compute_s: float, images: int = 1) -> None:
        self.clock.epoch_images += images
        self.clock.total_images += images
        self.clock.waited_s += wait_s
        self.now_s += wait_s + compute_s
        self.console.step(self.clock)


def test_pace_time_left_and_data_wait(monkeypatch) -> None:
    training = Training(monkeypatch, Clock(1, 10, 100))
    training.step(30.0, 30.0)  # the first is slow: processes start, kernels are chosen
    assert "left" not in training.terminal.last("epoch")
    for _ in range(39):
        training.step(0.1, 0.4)
    text = "| 40/100, 00:30 left, 2.00 images/s, data wait 20%"
    assert training.terminal.last("epoch").endswith(text)
    assert training.terminal.last("run").endswith("| 4.0%, 08:00 left")


@pytest.mark.parametrize(
    "columns, epoch",
    [
        (80, "epoch  1/10 |#####2       | 40/100, 00:30 left, 2.00 images/s, data wait 20%"),
        (70, "epoch  1/10 |######         | 40/100, 00:30 left, 2.00 images/s"),
        (52, "epoch  1/10 40/100, 00:30 left, 2.00 images/s"),
        (31, "epoch  1/10 40/100, 00:30 left"),
    ],
)
def test_what_fits_is_shown(columns, epoch, monkeypatch) -> None:
    monkeypatch.setattr(Terminal, "fileno", lambda self: 2)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    training = Training(monkeypatch, Clock(1, 10, 100))
    monkeypatch.setattr(training.console.epoch, "dynamic_ncols", lambda _: (columns, 24))
    for _ in range(40):
        training.step(0.1, 0.4)
    assert training.terminal.last("epoch") == epoch


def test_an_epoch_without_lines_says_something_every_ten_minutes(monkeypatch, capfd) -> None:
    training = Training(monkeypatch, Clock(1, 10, 10_000))
    values = {"G": 1.0}
    for image in range(1, 1501):
        training.step(0.0, 1.0)
        if image % 100 == 0:
            training.console.losses(Losses(1, image, image, 1.0, 0.0, 2e-4, values))
        if image == 750:
            training.console.saved(["latest"], image)
    told = capfd.readouterr().out.splitlines()
    assert [line.partition(", time")[0] for line in told] == [
        "(epoch: 1, iters: 600",
        "(epoch: 1, iters: 1200",
    ]
    training.console.close(Outcome("", "the end"))
    assert capfd.readouterr().out == "saved latest (750 images)\nthe end\n"


def test_pace_follows_a_change(monkeypatch) -> None:
    """Another program takes the GPU: within a few minutes the bars show the new pace."""
    training = Training(monkeypatch, Clock(1, 10, 1000))
    for seconds in (0.5, 2.0):
        for _ in range(300):
            training.step(0.0, seconds)
    assert ", 0.50 images/s, data wait 0%" in training.terminal.last("epoch")


def test_a_resumed_run_begins_where_it_was(monkeypatch) -> None:
    """Earlier images count as done, but not towards the pace."""
    clock = Clock(1, 10, 100)
    counts = {"epoch": 5, "epoch_images": 50, "total_images": 450, "images_per_epoch": 100}
    clock.load_state_dict(counts)
    training = Training(monkeypatch, clock)
    for _ in range(21):
        training.step(0.0, 1.0, images=2)
    assert "epoch  5/10 |" in training.terminal.last("epoch")
    assert "| 92/100, 00:04 left, 2.00 images/s" in training.terminal.last("epoch")
    assert "| 49.2%, 04:14 left" in training.terminal.last("run")


def test_bars_are_not_redrawn_at_each_step(monkeypatch) -> None:
    training = Training(monkeypatch, Clock(1, 1, 100_000))
    for _ in range(10_000):
        training.step(0.0, 0.001)
    assert 20 <= training.terminal.getvalue().count("epoch 1/1") <= 50  # in ten seconds


def test_memory_of_the_gpus_in_use(monkeypatch) -> None:
    assert console.gpu_memory() == ""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: [0, 3 * 2**30][device])
    memory = SimpleNamespace(total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert console.gpu_memory() == ", GPU 3.0/8.0 GiB"
    training = Training(monkeypatch, Clock(1, 1, 10))
    training.step(0.0, 1.0)
    training.step(0.0, 1.0)
    assert training.terminal.last("run").endswith("| 20.0%, 00:08 left, GPU 3.0/8.0 GiB")
