"""The three ways to run the program that are compared: plain, default and best."""

from __future__ import annotations

import argparse
import contextlib
import runpy
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import torch

import data
import models
from models.base_model import BaseModel
from options.train_options import TrainOptions
from util import heap, loggers, performance, results, runtime
from util.clock import Clock
from util.loggers.background import BackgroundLogger
from util.loggers.base import Logger
from util.updates import Updates

ROOT = Path(__file__).resolve().parents[2]  # of the project; programs run there
VARIANTS = ("plain", "default", "best")
FLAGS = {
    "plain": "--precision fp32 --compile off --channels_last off",
    "default": "",
    "best": "--precision auto",
}
CACHE = {"plain": "none", "default": "auto", "best": "ram"}
P = ParamSpec("P")
T = TypeVar("T")
TINY = "--netG resnet_6blocks --ngf 4 --ndf 4"


class Setting(NamedTuple):
    """What is measured on what.

    Attributes:
        steps: turns of what is quick to measure.
        steps_per_turn: steps between two looks at the clock; on a GPU many, so that the processor
            may run ahead of it as it does in training.
        slow_turns: turns of what is not quick, such as whole programs.
        num_pictures: so many pairs of `dataroot` are used.
        dataroot: has trainA and trainB with pictures of the same names.
        folder: for all that is written.
        compiles: whether `best` compiles.
    """

    device: torch.device
    steps: int
    steps_per_turn: int
    slow_turns: int
    size_px: int
    tiny: bool
    num_pictures: int
    dataroot: Path
    folder: Path
    compiles: bool


class Built(NamedTuple):
    """What train.py makes of a command line, ready to take a step."""

    opt: argparse.Namespace
    text: str
    model: BaseModel
    updates: Updates


def common_line(setting: Setting, variant: str, model: str) -> list[str]:
    """Flags that train.py and test.py both take."""
    flags = f"--model {model} --seed 1 --device {setting.device} --crop_size {setting.size_px}"
    folders = ["--dataroot", str(setting.dataroot), "--checkpoints_dir", str(setting.folder)]
    return [
        *folders,
        *flags.split(),
        *(TINY if setting.tiny else "").split(),
        *FLAGS[variant].split(),
    ]


def training_line(
    setting: Setting, variant: str, model: str, row: str, more: str = ""
) -> list[str]:
    """Flags of train.py, for a run that is named after a row."""
    load_size = round(setting.size_px * 286 / 256)  # the proportion of the defaults
    flags = f"--name {row}_{model}_{variant} --overwrite --load_size {load_size}"
    flags += f" --max_dataset_size {setting.num_pictures} --cache {CACHE[variant]}"
    if variant == "best" and setting.compiles:
        flags += " --compile"
    return [*common_line(setting, variant, model), *flags.split(), *more.split()]


def build(setting: Setting, variant: str, name: str, row: str, more: str = "") -> Built:
    """A model as train.py makes it, with a folder for its run."""
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse(training_line(setting, variant, name, row, more))
    runtime.seed_everything(opt.seed)
    with features_of(variant):
        model = models.create_model(opt)
        model.setup(opt)
        updates = performance.prepare(model.networks(), model.optimizers, opt, model.device)
    options.save(opt)
    return Built(opt, options.text, model, updates)


def create_loggers(
    variant: str, opt: argparse.Namespace, text: str, clock: Clock, model: BaseModel
) -> loggers.Loggers:
    with features_of(variant):
        return loggers.create_loggers(
            opt, text, clock, captions=model.captions, compare=model.compare
        )


def program(file: str, variant: str, flags: list[str]) -> list[str]:
    """The command that runs train.py or test.py as a variant."""
    as_plain = ["-c", "from scripts.benchmarking.variants import run_plain; run_plain()"]
    return [sys.executable, *(as_plain if variant == "plain" else []), file, *flags]


def run_plain() -> None:
    """Run the program that sys.argv[1] names as `plain`; for a process of its own."""
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "train.py":
        import torch._dynamo  # noqa: F401 - PyTorch's optimizers do so, unless kept from it

    with features_of("plain"):
        runpy.run_path(sys.argv[0], run_name="__main__")


@contextlib.contextmanager
def features_of(variant: str) -> Iterator[None]:
    """Inside, for `plain`, what is made or run lacks the features that have no flag."""
    create_model = models.create_model

    def create_unbatched(opt: argparse.Namespace) -> BaseModel:
        model = create_model(opt)
        model.joins_inputs = False
        return model

    replacements = [
        (performance, "prepare", lambda *_: Updates([], [])),
        (models, "create_model", create_unbatched),
        (loggers, "BackgroundLogger", WaitedFor),
        (results, "ThreadPoolExecutor", AtOnce),
        (heap, "keep_freed_memory", lambda: None),
    ]
    with contextlib.ExitStack() as undo:
        for module, name, replacement in replacements if variant == "plain" else []:
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, replacement)
        yield


class WaitedFor(BackgroundLogger):
    """A logger whose every call is waited for, as if it had no thread of its own."""

    def _put(self, call: Callable[[Logger], None]) -> None:
        super()._put(call)
        self._calls.join()


class AtOnce(Executor):
    """Does what it is given before it goes on, as if there were no threads."""

    def __init__(self, *_: object):
        pass

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(call(*args, **kwargs))
        return done
