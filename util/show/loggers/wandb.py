"""Log options, losses, learning rate and pictures to Weights & Biases; imports wandb when needed.

An unreachable server must neither delay a run nor lose what it has logged. If the server is
unreachable at the start, everything is logged offline. If it stops answering later, the data it has
not received is on the disk, and the process still ends: wandb by itself would wait for the server
in each of its calls, and again when the interpreter exits.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout  # the built-in one since Python 3.11
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from util import runtime
from util.metrics.scores import Scores
from util.packages import needed
from util.run.clock import Clock
from util.show.bars import tqdm
from util.show.loggers.base import Example, Logger, Losses, Outcome, switched_off
from util.util import tensor2im

NAME = "Weights & Biases"
ANSWER_LIMIT_S = 3.0  # for any answer from the server
LOOK_AGAIN_S = 1.0  # between two checks, at the end, that the server still answers
T = TypeVar("T")
Mode = Literal["offline"] | None  # None: according to wandb's own settings


class WandbLogger(Logger):
    """Logs one run of project --wandb_project_name; WANDB_MODE=offline works without an account.

    The run's id is kept in NAME/wandb_id.txt, so that a resumed run continues the same wandb run.
    """

    name = NAME

    def __init__(self, opt: argparse.Namespace, folder: Path, mode: Mode):
        id_file = folder / "wandb_id.txt"
        known = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
        self.run = start_run(opt, folder, opt.name, mode, id=known, resume="allow")
        id_file.write_text(self.run.id + "\n", encoding="utf-8")

    def losses(self, losses: Losses) -> None:
        values = {**losses.values, "learning_rate": losses.learning_rate, "epoch": losses.epoch}
        self.run.log(values, step=losses.total_images)

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        pictures = {
            f"{example.name} {label}".strip(): tensor2im(tensor)
            for example in examples
            for label, tensor in example.pictures.items()
        }
        self.run.log({"pictures": picture_grid(pictures)}, step=clock.total_images)

    def validation(self, scores: Scores) -> None:
        values = {f"validation/{name}": value for name, value in scores.figures.items()}
        values |= {f"validation/{name} of nothing": v for name, v in scores.nothing.items()}
        self.run.log(values, step=scores.total_images)
        if scores.is_best:
            self.run.summary["best_epoch"] = scores.epoch

    def close(self, outcome: Outcome) -> None:
        self.run.summary["outcome"] = outcome.line
        finish(self.run)


class WandbResults:
    """Logs the pictures and metrics of test.py as a separate run, named NAME (test).

    If logging fails, switches itself off with a warning.
    """

    def __init__(self, opt: argparse.Namespace, folder: Path):
        self.run: Any = None
        with self._failing_alone():
            self.run = start_run(opt, folder, f"{opt.name} (test)", log_in(folder))

    def add(self, pictures: Mapping[str, np.ndarray], metrics: Mapping[str, float]) -> None:
        """Log the pictures of one input, label to (H, W, 3) uint8, and their metrics."""
        with self._failing_alone():
            if self.run is not None:
                self.run.log({"pictures": picture_grid(pictures), **metrics})

    def close(self, means: Mapping[str, float]) -> None:
        with self._failing_alone():
            if self.run is not None:
                self.run.summary.update({f"mean_{name}": mean for name, mean in means.items()})
                finish(self.run)

    @contextlib.contextmanager
    def _failing_alone(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the package, its server or the disk may raise anything
            self.run = None
            tqdm.write(switched_off(NAME, error))  # `print` would break the progress bar


def log_in(folder: Path) -> Mode:
    """The mode for starting a run: "offline" if the server does not answer.

    If there is no API key yet, asks for it on the terminal before progress bars can hide the
    question. Offline logging needs no key, and could not check it.

    Args:
        folder: where wandb keeps its files.
    """
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return None
    with contextlib.suppress(Exception):  # starting the run will fail too, and report it
        import wandb

        server = wandb.setup().settings.base_url
        if silence := why_silent(server):
            print(
                f"{NAME}: {silence}; logging offline; to send it later: "
                f"wandb sync {folder / 'wandb' / 'offline-run-*'}"
            )
            return "offline"
        leave_in_time(server)
        wandb.login()
    return None


def start_run(opt: argparse.Namespace, folder: Path, name: str, mode: Mode, **resume: Any) -> Any:
    return needed("wandb", "--use_wandb").init(
        project=opt.wandb_project_name,
        name=name,
        config=vars(opt),
        dir=str(folder),
        mode=mode,
        **resume,
    )


def finish(run: Any) -> None:
    """End a run, and wait until everything is sent, as long as the server answers.

    Raises ConnectionError if it stops answering; the message says how to send the rest later.
    """
    server = run.settings.base_url
    if run.settings.mode in ("offline", "disabled"):
        run.finish()
    elif silence := while_answering(server, run.finish):
        leave_in_time(server)
        folder = Path(run.dir).parent
        raise ConnectionError(f"{silence}; to send the rest later: wandb sync {folder}")


def leave_in_time(server: str) -> None:
    """Make the interpreter call `leave_if_silent` at exit, before any hook that wandb has set."""
    atexit.unregister(leave_if_silent)
    atexit.register(leave_if_silent, server)


def leave_if_silent(server: str) -> None:
    """At exit, let wandb finish sending, but only as long as the server answers.

    wandb's teardown removes its own exit hook, and makes its service process write everything to
    the disk, which is quick, and send it, which may never end. If the server stops answering, kill
    the service process, and end this one at once: the waiting thread would disturb a normal exit.
    """
    import wandb

    try:
        service = wandb.setup()._connection._proc._process  # type: ignore[union-attr]
    except AttributeError:  # another version of wandb: its service runs until it gives up
        service = None
    with contextlib.suppress(Exception):  # the run is over, and failures were reported before
        if while_answering(server, wandb.teardown):
            if service is not None:
                service.kill()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(runtime.status)


def while_answering(server: str, call: Callable[[], object]) -> str:
    """Wait for a call as long as the server answers; returns "", or why the wait was given up."""
    future = beside(call)
    while not wait([future], LOOK_AGAIN_S).done:
        if silence := why_silent(server):
            return silence
    future.result()  # raises the call's error, if any
    return ""


def why_silent(server: str) -> str:
    """Why a server cannot be used, in a few words; "" if it gives any answer, even a refusal."""
    import requests

    question = {"query": "{__typename}"}  # for the interface that all of wandb's calls need
    try:
        # On a thread, because the time limit of requests does not cover the DNS lookup.
        answer = beside(
            lambda: requests.post(f"{server}/graphql", json=question, timeout=ANSWER_LIMIT_S)
        ).result(ANSWER_LIMIT_S)
    except requests.exceptions.SSLError:  # a server is there; wandb will say what is wrong
        return ""
    except (requests.RequestException, FutureTimeout) as error:
        return f"{server} does not answer ({type(error).__name__})"
    if answer.status_code >= 500:
        return f"{server} answers {answer.status_code} {answer.reason}"
    return ""


def beside(call: Callable[[], T]) -> Future[T]:
    """Run a call on a thread, which does not keep the process alive; returns its future."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def picture_grid(pictures: Mapping[str, np.ndarray]) -> list[Any]:
    import wandb

    return [wandb.Image(picture, caption=name) for name, picture in pictures.items()]
