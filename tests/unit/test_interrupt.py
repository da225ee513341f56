"""Ctrl-C and SIGTERM: only recorded during training, and unchanged outside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from util.errors import Stopped
from util.run.interrupt import Interrupt

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals")

# What a worker process of the loader does at signals, before and after training closes.
WORKER = """
import os, signal, sys, torch
from util.run.interrupt import leave_signals_to_main

closing = torch.zeros((), dtype=torch.bool)
leave_signals_to_main(closing)
for number in (signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
print("lives", flush=True)
closing.fill_(True)
os.kill(os.getpid(), signal.SIGTERM)
print("lives on")
"""


@pytest.fixture
def in_the_foreground() -> Iterator[None]:
    """As if these tests were not a job in the background, in which Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_handlers_are_given_back(first, in_the_foreground):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupt() as interrupt:
        assert interrupt.received is None
        send(first)
        assert interrupt.received == first
        send(signal.SIGTERM)  # which means no hurry
        assert interrupt.received == first
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert Stopped(first).status == 128 + first


def test_what_a_job_in_the_background_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            send(signal.SIGINT)
            assert interrupt.received is None
            send(signal.SIGTERM)
            assert interrupt.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_workers_leave_signals_to_the_main_process_until_it_closes():
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (worker.returncode, worker.stdout, worker.stderr) == (0, "lives\n", "")
