"""Loggers on background threads: slow ones, failing ones, and how they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from util.run.clock import Clock
from util.show.loggers import Loggers
from util.show.loggers.background import WAITING, BackgroundLogger, PicturesDue
from util.show.loggers.base import Example, Logger, Losses, Outcome
from util.show.loggers.console import ConsoleLogger

DONE = Outcome("finished", "finished after epoch 3")
LONG_S = 20.0  # nothing here takes so long unless it hangs


class Sink(Logger):
    """Records its calls, each after `delay_s` and only while `gate` is open."""

    name = "sink"

    def __init__(self) -> None:
        self.told: list[object] = []
        self.threads: set[threading.Thread] = set()
        self.gate, self.busy = threading.Event(), threading.Event()
        self.gate.set()
        self.errors: dict[int, Exception] = {}  # by how many calls went well before
        self.delay_s = 0.0

    def note(self, what: object) -> None:
        self.threads.add(threading.current_thread())
        self.busy.set()
        time.sleep(self.delay_s)
        assert self.gate.wait(LONG_S)
        if error := self.errors.get(len(self.told)):
            raise error
        self.told.append(what)

    def losses(self, losses: Losses) -> None:
        self.note(losses.total_images)

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        means = {n: float(x.mean()) for e in examples for n, x in e.pictures.items()}
        self.note((clock.total_images, means))

    def close(self, outcome: Outcome) -> None:
        self.note(outcome)


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.gate.set()  # so that no thread is left waiting


def start(
    make: Callable[[], Logger], *, lossless: bool, patience_s: float = LONG_S
) -> BackgroundLogger:
    return BackgroundLogger("sink", make, PicturesDue(2), lossless=lossless, patience_s=patience_s)


def losses(count: int) -> Losses:
    return Losses(1, count, count, 0.1, 0.0, 2e-4, {"G": 1.0})


def quickly(call: Callable[[], object], limit_s: float = 10.0) -> float:
    """Seconds that a call takes, which must be few."""
    started = time.perf_counter()
    call()
    took_s = time.perf_counter() - started
    assert took_s < limit_s
    return took_s


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("lossless", [True, False])
def test_calls_arrive_in_order_on_another_thread(lossless, sink) -> None:
    logger = start(lambda: sink, lossless=lossless)
    clock = Clock(1, 1, 10)
    for count in range(1, 5):
        clock.total_images = count
        logger.losses(losses(count))
        picture = torch.full((1, 3, 2, 2), float(count))
        logger.images(clock, [Example(("a.png",), {"fake_B": picture})], None)
    logger.close(DONE)
    expected = [part for n in range(1, 5) for part in (n, (n, {"fake_B": float(n)}))]
    assert sink.told == [*expected, DONE]
    assert threading.current_thread() not in sink.threads
    assert len(sink.threads) == 1


def test_it_is_made_on_its_thread_and_training_does_not_wait_for_that(sink) -> None:
    def make() -> Logger:
        makers.append(threading.current_thread())
        sink.gate.wait(LONG_S)
        return sink

    makers: list[threading.Thread] = []
    sink.gate.clear()
    quickly(lambda: start(make, lossless=True))
    wait_until(lambda: bool(makers))
    assert makers != [threading.current_thread()]


def test_pictures_are_due_as_it_was_told(sink) -> None:
    clock, logger = Clock(1, 1, 10), start(lambda: sink, lossless=True)
    due = []
    for clock.total_images in range(1, 5):
        due.append(logger.images_due(clock))
        clock._previous_total = clock.total_images
    assert due == [False, True, False, True]


def test_pictures_are_due_after_some_minutes_too() -> None:
    clock = Clock(1, 1, 10)
    due = PicturesDue(1000, minutes=1e-9)
    assert due(clock)
    due = PicturesDue(1000, minutes=60)
    assert not due(clock)
    due.last_s -= 3600
    assert due(clock)
    due.passed_on()
    assert not due(clock)
    due = PicturesDue(1000, minutes=0)
    due.last_s -= 1e9
    assert not due(clock)


# --- Slow ones ------------------------------------------------------------------------------------


def test_a_slow_server_loses_calls_and_never_holds_up_training(sink) -> None:
    logger = start(lambda: sink, lossless=False)
    sink.gate.clear()
    logger.losses(losses(0))
    assert sink.busy.wait(LONG_S)
    examples = [Example(("a.png",), {"fake_B": torch.zeros(1, 3, 256, 256)})]
    clock = Clock(1, 1, 10)
    quickly(lambda: [logger.images(clock, examples, None) for _ in range(1000)])
    quickly(lambda: [logger.losses(losses(count)) for count in range(1000)])
    quickly(logger.flush)
    sink.gate.set()
    logger.close(DONE)
    # The one it was at, and those waiting: more pictures would fill the memory.
    assert sink.told == [0, *[(0, {"fake_B": 0.0})] * WAITING, DONE]


def test_files_get_everything_however_slow(sink) -> None:
    """Training waits when the queue is full, and continues as it empties."""
    logger = start(lambda: sink, lossless=True)
    sink.gate.clear()
    done = threading.Event()

    def train() -> None:
        for count in range(100):
            logger.losses(losses(count))
        done.set()

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    assert not done.wait(0.2)
    sink.gate.set()
    assert done.wait(LONG_S)
    logger.close(DONE)
    assert sink.told == [*range(100), DONE]


def test_flush_waits_for_files(sink) -> None:
    logger = start(lambda: sink, lossless=True)
    sink.gate.clear()
    logger.losses(losses(1))
    threading.Timer(0.2, sink.gate.set).start()
    logger.flush()
    assert sink.told == [1]


def test_close_waits_for_files_as_long_as_it_takes(sink) -> None:
    logger = start(lambda: sink, lossless=True, patience_s=0.05)
    sink.gate.clear()
    logger.losses(losses(1))
    threading.Timer(0.5, sink.gate.set).start()
    logger.close(DONE)
    assert sink.told == [1, DONE]


@pytest.mark.parametrize("waiting", [0, 1, WAITING, 1000])
def test_close_of_a_server_that_hangs_takes_its_patience_at_most(waiting, sink) -> None:
    logger = start(lambda: sink, lossless=False, patience_s=0.3)
    sink.gate.clear()
    logger.losses(losses(-1))
    assert sink.busy.wait(LONG_S)
    for count in range(waiting):
        logger.losses(losses(count))
    started = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"within 0\.3 s"):
        logger.close(DONE)
    assert 0.25 < time.perf_counter() - started < LONG_S  # it would hang for ever


def test_close_of_a_server_that_crawls_takes_its_patience_at_most(sink) -> None:
    """It takes calls while it is closed, but too slowly to end."""
    sink.delay_s = 0.4
    logger = start(lambda: sink, lossless=False, patience_s=0.5)
    for count in range(WAITING + 1):
        logger.losses(losses(count))
    assert sink.busy.wait(LONG_S)
    logger.losses(losses(-1))
    started = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"within 0\.5 s"):
        logger.close(DONE)
    assert time.perf_counter() - started < 3  # all of its calls would take 7
    sink.delay_s = 0.0


def test_close_waits_for_a_server_that_is_merely_slow(sink) -> None:
    logger = start(lambda: sink, lossless=False)
    sink.gate.clear()
    for count in range(3):
        logger.losses(losses(count))
    threading.Timer(0.2, sink.gate.set).start()
    logger.close(DONE)
    assert sink.told == [0, 1, 2, DONE]


def test_the_end_says_what_it_waits_for(sink, capfd) -> None:
    sink.delay_s = 1.3
    others = [Sink(), start(lambda: sink, lossless=False)]
    log = Loggers(ConsoleLogger(Clock(1, 1, 10), within_epochs=True), others, lambda error: DONE)
    log.close()
    lines = capfd.readouterr().out.splitlines()
    assert lines == [DONE.line, "waiting for sink ..."]  # not for the other one


# --- Failing ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lossless", [True, False])
def test_an_error_shows_once_in_a_later_call(lossless, sink) -> None:
    sink.errors[1] = ValueError("the disk is gone")
    logger = start(lambda: sink, lossless=lossless)
    for count in range(3):  # the second fails
        logger.losses(losses(count))
    wait_until(logger._calls.empty)
    wait_until(lambda: logger._error is not None)
    with pytest.raises(ValueError, match="the disk is gone"):
        logger.losses(losses(3))
    logger.losses(losses(4))
    logger.flush()
    logger.close(DONE)
    assert sink.told == [0]  # it is not asked again


def test_an_error_shows_in_flush_and_in_close(sink) -> None:
    for end in (lambda x: x.flush(), lambda x: x.close(DONE)):
        sink.told.clear()
        sink.errors[0] = OSError("no space")
        logger = start(lambda: sink, lossless=True)
        logger.losses(losses(1))
        with pytest.raises(OSError, match="no space"):
            end(logger)


def test_an_error_in_its_close_shows(sink) -> None:
    sink.errors[0] = OSError("no space")
    logger = start(lambda: sink, lossless=False)
    with pytest.raises(OSError, match="no space"):
        logger.close(DONE)


@pytest.mark.parametrize("lossless", [True, False])
def test_one_that_cannot_be_made(lossless) -> None:
    def make() -> Logger:
        raise ImportError("no such package")

    logger = start(make, lossless=lossless)
    with pytest.raises(ImportError, match="no such package"):
        quickly(lambda: logger.close(DONE))


def test_a_failed_one_never_blocks(sink) -> None:
    """Also if it fails while the queue is full and training waits."""
    sink.errors[0] = OSError("no space")
    logger = start(lambda: sink, lossless=True)
    sink.gate.clear()
    threading.Timer(0.1, sink.gate.set).start()
    with pytest.raises(OSError, match="no space"):
        [logger.losses(losses(count)) for count in range(1000)]
    quickly(lambda: [logger.losses(losses(count)) for count in range(1000)])
    quickly(lambda: logger.close(DONE))


def test_loggers_warn_once_and_go_on(sink, capfd) -> None:
    """Among several loggers, a failing one is switched off; the others get everything."""
    bad = Sink()
    bad.errors[2] = ValueError("went wrong")
    log = Loggers(
        ConsoleLogger(Clock(1, 1, 10), within_epochs=True),
        [start(lambda: bad, lossless=True), start(lambda: sink, lossless=True)],
        lambda error: DONE,
    )
    for count in range(6):
        log.losses(losses(count))
        log.flush()
    log.close()
    assert sink.told == [*range(6), DONE]
    out, err = capfd.readouterr()
    assert [line for line in out.splitlines() if "warning" in line] == [
        "warning: sink is switched off: ValueError: went wrong"
    ]
    assert out.endswith(f"{DONE.line}\n")
    assert err == ""
