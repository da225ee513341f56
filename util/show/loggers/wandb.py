"""Weights & Biases: options, losses, learning rate and pictures; imported only when asked for.

A server that cannot be reached must neither hold up a run nor cost what it has logged. Found at the
start, all is logged offline. Where it falls silent later, what it has not got is on the disk too,
and the process ends all the same: wandb by itself would wait for it at every one of its calls, and
once more when the interpreter exits.
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
import torch
from tqdm import tqdm

from util import runtime
from util.run.clock import Clock
from util.show.loggers.base import Logger, Losses, Outcome, switched_off
from util.util import tensor2im

NAME = "Weights & Biases"
ANSWER_LIMIT_S = 3.0  # for the server to say anything at all
LOOK_AGAIN_S = 1.0  # between two looks at the end whether the server still answers
T = TypeVar("T")
Mode = Literal["offline"] | None  # None: as wandb's own settings say


class WandbLogger(Logger):
    """One run of project --wandb_project_name; WANDB_MODE=offline works without an account.

    The run's id is kept in NAME/wandb_id.txt, so that a run that goes on is the same run there.
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

    def images(self, clock: Clock, visuals: Mapping[str, torch.Tensor]) -> None:
        pictures = {name: tensor2im(tensor) for name, tensor in visuals.items()}
        self.run.log({"pictures": picture_grid(pictures)}, step=clock.total_images)

    def close(self, outcome: Outcome) -> None:
        self.run.summary["outcome"] = outcome.line
        finish(self.run)


class WandbResults:
    """The pictures and metrics of test.py as a run of their own, named NAME (test).

    It is switched off with a warning where it fails.
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
        except Exception as error:  # whatever the package, its server or the disk may do
            self.run = None
            tqdm.write(switched_off(NAME, error))  # which spares the progress bar


def log_in(folder: Path) -> Mode:
    """How to start a run: "offline" if the server does not answer.

    Asks for the API key on the terminal, if there is none yet, before progress bars hide it.
    Without a connection none is needed, and there is nobody to ask whether it is right.

    Args:
        folder: where runs are kept.
    """
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return None
    with contextlib.suppress(Exception):  # starting a run will meet it too, and tell
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
    import wandb

    return wandb.init(
        project=opt.wandb_project_name,
        name=name,
        config=vars(opt),
        dir=str(folder),
        mode=mode,
        **resume,
    )


def finish(run: Any) -> None:
    """End a run, and wait until all is sent, as long as the server answers.

    Raises ConnectionError where it does not, saying how to send the rest later.
    """
    server = run.settings.base_url
    if run.settings.mode in ("offline", "disabled"):
        run.finish()
    elif silence := while_answering(server, run.finish):
        leave_in_time(server)
        folder = Path(run.dir).parent
        raise ConnectionError(f"{silence}; to send the rest later: wandb sync {folder}")


def leave_in_time(server: str) -> None:
    """When the interpreter exits, call `leave_if_silent` before any hook that wandb has so far."""
    atexit.unregister(leave_if_silent)
    atexit.register(leave_if_silent, server)


def leave_if_silent(server: str) -> None:
    """When the interpreter exits: the last of wandb's waiting, unless the server is silent.

    Its teardown takes away its own hook, and has its service process write all to the disk, which
    it does at once, and send all, which may never end. Then that process is ended, and with it
    this one, since the thread that waits would not let the interpreter go in peace.
    """
    import wandb

    try:
        service = wandb.setup()._connection._proc._process  # type: ignore[union-attr]
    except AttributeError:  # another version of wandb: it stays until it gives up
        service = None
    with contextlib.suppress(Exception):  # all is over, and what failed was told before
        if while_answering(server, wandb.teardown):
            if service is not None:
                service.kill()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(runtime.status)


def while_answering(server: str, call: Callable[[], object]) -> str:
    """Wait for a call as long as the server answers: "", or why it was not waited for."""
    future = beside(call)
    while not wait([future], LOOK_AGAIN_S).done:
        if silence := why_silent(server):
            return silence
    future.result()  # or its error
    return ""


def why_silent(server: str) -> str:
    """Why a server cannot be used, in a few words; "" if it answers anything, be it a refusal."""
    import requests

    question = {"query": "{__typename}"}  # to the interface that all calls of wandb need
    try:
        # On a thread, since the time limit of requests leaves out the search for the address.
        answer = beside(
            lambda: requests.post(f"{server}/graphql", json=question, timeout=ANSWER_LIMIT_S)
        ).result(ANSWER_LIMIT_S)
    except requests.exceptions.SSLError:  # there is somebody; wandb will say what is wrong
        return ""
    except (requests.RequestException, FutureTimeout) as error:
        return f"{server} does not answer ({type(error).__name__})"
    if answer.status_code >= 500:
        return f"{server} answers {answer.status_code} {answer.reason}"
    return ""


def beside(call: Callable[[], T]) -> Future[T]:
    """What a call returns or raises; its thread does not keep the process alive."""
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
