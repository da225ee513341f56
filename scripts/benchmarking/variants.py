"""The three compared ways to run the program: plain, default and best."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import torch

import data
import models
import train
from options.train_options import TrainOptions
from util import runtime
from util.run.clock import Clock
from util.show.loggers import Loggers, create_loggers

ROOT = Path(__file__).resolve().parents[2]  # the project's folder; programs run there
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
    """How to measure, and with which pictures.

    Attributes:
        steps: how often to measure each quick row.
        steps_per_turn: training steps per measurement; many on a GPU, so that the CPU can run ahead
            of it, as in training.
        slow_turns: how often to measure each slow row, such as whole programs.
        num_pictures: how many pairs of `dataroot` to use.
        dataroot: has trainA and trainB, with pairs of the same names.
        folder: where everything is written.
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


def common_line(setting: Setting, variant: str, model: str) -> list[str]:
    """Flags for both train.py and test.py."""
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
    """Flags for train.py, with the run named after a row."""
    load_size = round(setting.size_px * 286 / 256)  # the proportion of the defaults
    flags = f"--name {row}_{model}_{variant} --overwrite --load_size {load_size}"
    flags += f" --max_dataset_size {setting.num_pictures} --cache {CACHE[variant]}"
    if variant == "best" and setting.compiles:
        flags += " --compile"
    return [*common_line(setting, variant, model), *flags.split(), *more.split()]


def is_fast(variant: str) -> bool:
    """Whether a variant has the speed features that no flag turns off."""
    return variant != "plain"


def build(setting: Setting, variant: str, name: str, row: str, more: str = "") -> train.Run:
    """Build a training run as train.py does, and save its options in its folder."""
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse(training_line(setting, variant, name, row, more))
    runtime.seed_everything(opt.seed)
    run = train.build(opt, fast=is_fast(variant))
    options.save(opt)
    return run


def loggers_of(variant: str, run: train.Run, clock: Clock) -> Loggers:
    """The loggers that train.py would create."""
    return create_loggers(
        run.opt,
        "",
        clock,
        run.judging.best,
        captions=run.model.captions,
        compare=run.model.compare,
        waits=not is_fast(variant),
    )


def program(file: str, variant: str, flags: list[str]) -> list[str]:
    """The command that runs train.py or test.py as one of the variants."""
    as_plain = ["-c", "from scripts.benchmarking.variants import run_plain; run_plain()"]
    return [sys.executable, *(as_plain if variant == "plain" else []), file, *flags]


def run_plain() -> None:
    """Run the program named by sys.argv[1] as `plain`; call it in a separate process."""
    sys.argv = sys.argv[1:]
    program = importlib.import_module(Path(sys.argv[0]).stem)
    sys.exit(runtime.run(lambda: program.main(fast=False), program.MEMORY_FLAGS))
