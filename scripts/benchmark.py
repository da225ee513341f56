"""Measure on this machine what the speed features are worth, as one table.

    python scripts/benchmark.py
    python scripts/benchmark.py --rows step_pix2pix loader --steps 20 --out table.md
    python scripts/benchmark.py --device cuda --size 1024 --rows step_pix2pix

Each row compares three ways to run the same program, in turns (plain, default, best, plain, ...),
so that whatever else the machine does meanwhile harms all alike:

    plain     every speed feature off: PyTorch in eager fp32 and its usual memory layout, with its
              stock Adam; one network call per input; no cache; logging that training waits for
    default   the program's defaults
    best      --precision auto --compile, and pictures cached in memory

A cell holds the median and, in brackets, the range. A gain above 1 is better than plain, whether
time, memory or a rate is measured. Files are written to the system's temporary folder, which the
environment variable TMPDIR moves to the disk that is to be measured. All rows together take half
an hour or more on two processor cores.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import multiprocessing
import os
import platform
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import data
import models
import train
from data.image_folder import make_dataset
from models.base_model import BaseModel
from options.parser import OptionParser, whole
from options.train_options import TrainOptions
from options.train_options import plain as plain_values
from util import heap, loggers, performance, results, runtime
from util.averages import Averages
from util.checkpoint import Checkpoints
from util.clock import Clock, RunningMean
from util.errors import UserError, first_line
from util.finite import FiniteGuard
from util.loggers.background import BackgroundLogger
from util.loggers.base import Logger, Losses
from util.updates import Updates
from util.util import counted

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ("plain", "default", "best")
FLAGS = {
    "plain": "--precision fp32 --compile off --channels_last off",
    "default": "",
    "best": "--precision auto",
}
CACHE = {"plain": "none", "default": "auto", "best": "ram"}
TINY = "--netG resnet_6blocks --ngf 4 --ndf 4"
WARM_UP = 2  # steps: the second finds all memory allocated and all graphs compiled
SLOW_TURNS = 3  # of what takes long each time
MEMORY_STEPS = 3
GIB = 2**30

Samples = dict[str, list[float]]  # one value per turn, for each variant


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


@dataclass(frozen=True)
class Row:
    """One line of the table; `rises` says that more is better."""

    title: str
    unit: str
    samples: Samples
    rises: bool = False

    def gain(self, variant: str) -> float:
        """How many times better than plain."""
        plain, value = (statistics.median(self.samples[v]) for v in ("plain", variant))
        return value / plain if self.rises else plain / value


class Built(NamedTuple):
    """What train.py makes of a command line, ready to take a step."""

    opt: argparse.Namespace
    text: str
    model: BaseModel
    updates: Updates


# ---------------------------------------------------------------------------------------- the rows


def step_pix2pix(setting: Setting) -> list[Row]:
    """One training step without data and logging."""
    return time_steps(setting, "pix2pix")


def step_cycle_gan(setting: Setting) -> list[Row]:
    """One training step without data and logging."""
    return time_steps(setting, "cycle_gan")


def time_steps(setting: Setting, name: str) -> list[Row]:
    """Steps of a model, and their floor: its multiply-adds, as two each, at the matrix rate."""
    batch = random_batch(setting)
    built = {variant: build(setting, variant, name, "step") for variant in VARIANTS}

    def step(variant: str, times: int = setting.steps_per_turn) -> float:
        return seconds(lambda: take_step(built[variant].model, batch), setting.device, times)

    for variant in VARIANTS:
        step(variant, WARM_UP)
    samples = in_turns(step, setting.steps)

    with FlopCounterMode(display=False) as counter:
        take_step(built["plain"].model, batch)
    flops = counter.get_total_flops()
    dtypes = {
        variant: performance.resolve_precision(built[variant].opt.precision, setting.device)
        for variant in VARIANTS
    }
    rates = {dtype: matrix_rate(dtype, setting) for dtype in dict.fromkeys(dtypes.values())}
    rates_text = " and ".join(f"{number(r / 1e9)} ({name_of(d)})" for d, r in rates.items())
    floor = {variant: [flops / rates[dtypes[variant]]] for variant in VARIANTS}
    title = f"its floor: {number(flops / 1e9)} GFLOP at {rates_text} GFLOP/s"
    return [Row(f"{name}, training step", "s", samples), Row(title, "s", floor)]


def loop_pix2pix(setting: Setting) -> list[Row]:
    """Training as a whole, without start-up and checkpoints."""
    return time_loop(setting, "pix2pix", setting.steps * setting.steps_per_turn)


def loop_cycle_gan(setting: Setting) -> list[Row]:
    """The same, on fewer images, since a step takes longer."""
    return time_loop(setting, "cycle_gan", -(-setting.steps // 5) * setting.steps_per_turn)


def time_loop(setting: Setting, name: str, images: int) -> list[Row]:
    """train.py's own loop over `images`, with data and logging.

    In each turn the losses are told once and the training page gets pictures once or twice, which
    is more often than by default.
    """
    size = min(images, setting.num_pictures)
    often = f"--print_freq {images} --update_html_freq {images} --max_dataset_size {size}"
    built = {v: build(setting, v, name, "loop", often) for v in VARIANTS}
    datasets = {variant: data.create_dataset(built[variant].opt) for variant in VARIANTS}

    def images_per_s(variant: str) -> float:
        opt, text, model, updates = built[variant]
        dataset = datasets[variant]
        clock = Clock(1, -(-images // len(dataset)), len(dataset))
        log = create_loggers(variant, opt, text, clock, model)
        unsaved = Unsaved(model.save_dir, model.networks(), {}, {})
        guard = FiniteGuard(model.networks().values(), model.optimizers, 0, unsaved.last_good)
        averages = Averages(model.networks(), model.optimizers, 0)
        rest = clock, RunningMean(), guard, unsaved, log
        arguments = opt, dataset, model, updates, averages, *rest
        elapsed_s = seconds(lambda: train.train(*arguments), setting.device)
        return clock.last_epoch * len(dataset) / elapsed_s

    for variant in VARIANTS:
        images_per_s(variant)
    samples = in_turns(images_per_s, setting.slow_turns)
    title = f"{name}, loop with data and logging, {images} images a turn"
    return [Row(title, "images/s", samples, rises=True)]


def test(setting: Setting) -> list[Row]:
    """test.py with a pix2pix generator; `best` does not compile, which would not pay here, and runs
    four pictures at once."""
    trained = build(setting, "plain", "pix2pix", "test").model
    trained.save_networks("latest")
    name, size = trained.save_dir.name, setting.num_pictures
    del trained
    more = f"--name {name} --phase train --num_test {size} --results_dir".split()
    totals: Samples = {variant: [] for variant in VARIANTS}

    def pictures_per_s(variant: str) -> float:
        flags = [*common_line(setting, variant, "pix2pix"), *more, str(setting.folder / "results")]
        if variant == "best":
            flags += ["--batch_size", "4"]
        command = program("test.py", variant, flags)
        loaded_s, done_s = seconds_until(command, [": weights of ", " results in "])
        totals[variant].append(size / done_s)
        return size / (done_s - loaded_s)

    samples = in_turns(pictures_per_s, setting.slow_turns)
    return [
        Row(
            f"test.py on {size} pictures, best by fours and not compiled",
            "pictures/s",
            totals,
            rises=True,
        ),
        Row("the same without start-up", "pictures/s", samples, rises=True),
    ]


def loader(setting: Setting) -> list[Row]:
    """Pairs of pictures from one process on one core, after a pass that fills what caches."""
    loaders = {}
    for variant in VARIANTS:
        line = training_line(setting, variant, "pix2pix", "loader", "--num_threads 0")
        loaders[variant] = data.create_dataset(
            TrainOptions(models.registry, data.registry).parse(line)
        )

    def pairs_per_s(variant: str) -> float:
        started = time.perf_counter()
        for _ in loaders[variant]:
            pass
        return len(loaders[variant]) / (time.perf_counter() - started)

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for variant in VARIANTS:
            pairs_per_s(variant)
        samples = in_turns(pairs_per_s, setting.steps)
    finally:
        torch.set_num_threads(num_threads)
    return [Row("loader alone, one process", "pairs/s", samples, rises=True)]


def start_up(setting: Setting) -> list[Row]:
    """train.py from its start to the losses of its first step."""

    def first_loss_s(variant: str) -> float:
        more = "--print_freq 1 --max_dataset_size 1"
        flags = training_line(setting, variant, "pix2pix", "start_up", more)
        return seconds_until(program("train.py", variant, flags), ["(epoch: "])[0]

    samples = in_turns(first_loss_s, setting.slow_turns)
    return [Row("pix2pix, start-up to first losses", "s", samples)]


def checkpoint(setting: Setting) -> list[Row]:
    """Training stands still for so long to save a checkpoint."""
    batch = random_batch(setting)
    savers = {}
    for variant in VARIANTS:
        opt, _, model, _ = build(setting, variant, "pix2pix", "checkpoint")
        take_step(model, batch)  # Adam's state is there from the first step on
        parts = {
            "clock": Clock(1, 1, 1),
            "model": model,
            "random": runtime.RandomState(model.device),
        }
        values = plain_values(opt)
        savers[variant] = Checkpoints(model.save_dir, model.networks(), parts, values)

    def save_s(variant: str) -> float:
        return seconds(lambda: savers[variant].save("latest"), setting.device)

    samples = in_turns(save_s, setting.slow_turns)
    return [Row("pix2pix, checkpoint save", "s", samples)]


def memory(setting: Setting) -> list[Row]:
    """Peak of a process that takes some steps: its own memory, or what it allocates on the GPU."""

    def peak(variant: str) -> float:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            return process.submit(peak_memory, setting, variant).result()

    samples = in_turns(peak, setting.slow_turns)
    return [Row(f"cycle_gan, peak memory of {MEMORY_STEPS} steps", "GiB", samples)]


def logging(setting: Setting) -> list[Row]:
    """How long training waits for its logs at the default frequencies, as a share of a step.

    What a logger does on a thread of its own does not count; that it takes processor time from
    training is part of the row `loop`.
    """
    batch = random_batch(setting)
    built = {v: build(setting, v, "pix2pix", "logging") for v in VARIANTS}
    clock = Clock(1, 1, 1)  # of a run of one image, at whose end all is logged
    clock.total_images = clock.epoch_images = clock.step_images = 1
    clock.epoch_done = True
    logs = {
        variant: create_loggers(variant, opt, text, clock, model)
        for variant, (opt, text, model, _) in built.items()
    }

    def share(variant: str) -> float:
        opt, _, model, _ = built[variant]
        log = logs[variant]

        def tell_losses() -> None:
            log.losses(Losses.now(clock, model.get_current_losses(), model.learning_rate))

        def tell_images() -> None:
            model.compute_visuals()
            log.images(clock, model.get_current_visuals())

        step_s = seconds(lambda: take_step(model, batch), setting.device, setting.steps_per_turn)
        losses_s = seconds(tell_losses, setting.device)
        images_s = seconds(tell_images, setting.device)
        log.flush()
        return 100 * (losses_s / opt.print_freq + images_s / opt.update_html_freq) / step_s

    for variant in VARIANTS:
        seconds(lambda v=variant: take_step(built[v].model, batch), setting.device, WARM_UP)
        share(variant)
    samples = in_turns(share, setting.steps)
    for log in logs.values():
        log.close("done")
    return [Row("pix2pix, waiting for logs, share of a step", "%", samples)]


ROWS: dict[str, Callable[[Setting], list[Row]]] = {
    "step_pix2pix": step_pix2pix,
    "step_cycle_gan": step_cycle_gan,
    "loop_pix2pix": loop_pix2pix,
    "loop_cycle_gan": loop_cycle_gan,
    "test": test,
    "loader": loader,
    "start_up": start_up,
    "checkpoint": checkpoint,
    "memory": memory,
    "logging": logging,
}


# ------------------------------------------------------------------------------------ the variants


class WaitedFor(BackgroundLogger):
    """A logger whose every call is waited for, as if it had no thread of its own."""

    def _put(self, call: Callable[[Logger], None]) -> None:
        super()._put(call)
        self._calls.join()


class AtOnce(Executor):
    """Does what it is given before it goes on, as if there were no threads."""

    def __init__(self, *_: object):
        pass

    def submit(self, call: Callable, *arguments: object) -> Future:
        done: Future = Future()
        done.set_result(call(*arguments))
        return done


class Unsaved(Checkpoints):
    """Checkpoints that are never written."""

    def save(self, *labels: str) -> None:
        pass


@contextlib.contextmanager
def features_of(variant: str) -> Iterator[None]:
    """Inside, for `plain`, models and loggers are made without the features that have no flag."""
    before = performance.prepare, models.create_model, loggers.BackgroundLogger
    others = results.ThreadPoolExecutor, heap.keep_freed_memory

    def create_unbatched(opt: argparse.Namespace) -> BaseModel:
        model = before[1](opt)
        model.per_sample = False
        return model

    if variant == "plain":
        performance.prepare = lambda *_: Updates([], [])
        models.create_model = create_unbatched
        loggers.BackgroundLogger = WaitedFor
        results.ThreadPoolExecutor, heap.keep_freed_memory = AtOnce, lambda: None
    try:
        yield
    finally:
        performance.prepare, models.create_model, loggers.BackgroundLogger = before
        results.ThreadPoolExecutor, heap.keep_freed_memory = others


def run_plain() -> None:
    """Run the program that sys.argv[1] names as `plain`; for a process of its own."""
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "train.py":
        import torch._dynamo  # noqa: F401 - PyTorch's optimizers do so, unless kept from it

    with features_of("plain"):
        runpy.run_path(sys.argv[0], run_name="__main__")


def program(file: str, variant: str, flags: list[str]) -> list[str]:
    """The command that runs train.py or test.py as a variant."""
    as_plain = ["-c", "from scripts.benchmark import run_plain; run_plain()"]
    return [sys.executable, *(as_plain if variant == "plain" else []), file, *flags]


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
    model.save_dir.mkdir(parents=True, exist_ok=True)
    return Built(opt, options.text, model, updates)


def create_loggers(
    variant: str, opt: argparse.Namespace, text: str, clock: Clock, model: BaseModel
) -> loggers.Loggers:
    with features_of(variant):
        return loggers.create_loggers(
            opt, text, clock, captions=model.captions, compare=model.compare
        )


# ----------------------------------------------------------------------------------- the measuring


def in_turns(measure: Callable[[str], float], turns: int) -> Samples:
    """What `measure` gives for each variant, in turns."""
    samples: Samples = {variant: [] for variant in VARIANTS}
    for _ in range(turns):
        for variant in VARIANTS:
            heap.keep_freed_memory(variant != "plain")
            samples[variant].append(measure(variant))
    return samples


def seconds(work: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Mean duration of a call, until the device has done all of it."""
    synchronize(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - started) / times


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_until(command: list[str], marks: list[str]) -> list[float]:
    """Seconds from the start of a command until it has printed each of these words, in order.

    It is killed after the last.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    times, line = [], ""
    with process:
        for line in process.stdout:
            if marks[len(times)] in line:
                times.append(time.perf_counter() - started)
            if len(times) == len(marks):
                break
        process.kill()
    if len(times) < len(marks):
        raise UserError(f"{' '.join(command)} ended with {line.strip()!r}")
    return times


def take_step(model: BaseModel, batch: dict[str, Any]) -> None:
    model.set_input(batch)
    model.optimize_parameters()


def random_batch(setting: Setting) -> dict[str, Any]:
    """One sample of noise; what is in a picture does not matter to the time of a step."""
    generator = torch.Generator().manual_seed(1)
    shape = (1, 3, setting.size_px, setting.size_px)
    sides = {side: torch.rand(shape, generator=generator) * 2 - 1 for side in "AB"}
    if setting.device.type == "cuda":
        sides = {side: picture.pin_memory() for side, picture in sides.items()}
    return {**sides, "A_paths": ["a.png"], "B_paths": ["b.png"]}


def matrix_rate(dtype: torch.dtype, setting: Setting) -> float:
    """Floating-point operations per second in a large matrix product, at best."""
    device, is_cuda = setting.device, setting.device.type == "cuda"
    n = 8192 if is_cuda else 256 if setting.tiny else 2048
    a, b = (torch.rand(n, n, device=device).to(dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # as convolutions do
    try:
        fastest_s = min(seconds(lambda: a @ b, device, times=5) for _ in range(5))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * n**3 / fastest_s


def peak_memory(setting: Setting, variant: str) -> float:
    """GiB that this process has used at most after some steps of cycle_gan."""
    heap.keep_freed_memory(variant != "plain")
    with contextlib.redirect_stdout(io.StringIO()):
        model = build(setting, variant, "cycle_gan", "memory").model
    batch = random_batch(setting)
    for _ in range(MEMORY_STEPS):
        take_step(model, batch)
    if setting.device.type == "cuda":
        return torch.cuda.max_memory_allocated(setting.device) / GIB
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss begins with what the parent has used
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / GIB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


# --------------------------------------------------------------------------------------- the table


def number(value: float) -> str:
    """Three digits, without an exponent for large numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(values: list[float]) -> str:
    """Median (least..greatest)."""
    spread = f" ({number(min(values))}..{number(max(values))})" if len(values) > 1 else ""
    return number(statistics.median(values)) + spread


def table(rows: list[Row]) -> str:
    """In Markdown, with columns that line up as text, too."""
    lines = [["", "unit", *VARIANTS, *(f"gain of {variant}" for variant in VARIANTS[1:])]]
    for row in rows:
        gains = [f"{row.gain(variant):.2f}" for variant in VARIANTS[1:]]
        lines.append([row.title, row.unit, *(cell(row.samples[v]) for v in VARIANTS), *gains])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    cells = ((text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def name_of(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


def heading(setting: Setting) -> str:
    """The machine and what is measured, in words."""
    processor = platform.processor() or platform.machine()
    if hasattr(torch.cpu, "get_capabilities"):
        processor = torch.cpu.get_capabilities().get("cpu_name") or processor
    cores = counted(os.cpu_count() or 1, "logical core")
    cores += f", {counted(torch.get_num_threads(), 'thread')}"
    bf16 = "with" if performance.cpu_has("avx512_bf16", "amx_bf16") else "without"
    gpu = "no GPU"
    if setting.device.type == "cuda":
        gpu = torch.cuda.get_device_name(setting.device)
    precision = name_of(performance.resolve_precision("auto", setting.device))
    compiled = "compiled" if setting.compiles else "not compiled"
    return (
        f"{processor} ({cores}, {bf16} bf16 arithmetic), {gpu}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}. {setting.size_px} px, batch 1"
        f"{', tiny networks' if setting.tiny else ''}; best is {precision}, {compiled}."
    )


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here: it needs a C++ compiler, or Triton for a GPU."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:  # whatever is missing
        print(f"nothing is compiled: {first_line(error)}", file=sys.stderr)
        return False
    return True


def make_pictures(folder: Path, size: int, side_px: int) -> None:
    """Pairs in trainA and trainB, as JPEG: the bundled portraits, upright and turned."""
    for side in ("trainA", "trainB"):
        (folder / side).mkdir(parents=True)
        sources = sorted((ROOT / "datasets" / "portrait_retouch" / side).glob("*.jpg"))
        for index in range(size):
            turns, source = divmod(index, len(sources))
            picture = Image.open(sources[source]).convert("RGB").resize((side_px, side_px))
            picture.rotate(90 * turns).save(folder / side / f"{index:04}.jpg", quality=90)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=list(ROWS),
        default=list(ROWS),
        metavar="ROW",
        help=f"what to measure, by default all: {', '.join(ROWS)}",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute; by default on a GPU if there is one",
    )
    parser.add_argument(
        "--steps", type=whole(2), metavar="N", help="turns of each variant; by default 10"
    )
    parser.add_argument(
        "--size", type=whole(1), metavar="PX", help="side of the pictures; by default 256"
    )
    parser.add_argument(
        "--dataroot",
        type=Path,
        metavar="DIR",
        help="pictures of yours: DIR/trainA and DIR/trainB with pairs of the same names; by "
        "default copies of the bundled portraits",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny networks and pictures, uncompiled, two turns: shows that all rows work here",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    opt = parse_arguments(arguments)
    device = runtime.resolve_device(opt.device)
    if "memory" in opt.rows and os.name == "nt" and device.type == "cpu":
        print("memory is left out: Windows does not tell it", file=sys.stderr)
        opt.rows.remove("memory")
    num_pictures = 4 if opt.quick else 50
    size_px = opt.size or (32 if opt.quick else 256)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        dataroot = opt.dataroot
        if dataroot is None:
            dataroot = Path(folder) / "pictures"
            make_pictures(dataroot, num_pictures, 2 * size_px)
        setting = Setting(
            device=device,
            steps=opt.steps or (2 if opt.quick else 10),
            steps_per_turn=20 if device.type == "cuda" else 1,
            slow_turns=2 if opt.quick else SLOW_TURNS,
            size_px=size_px,
            tiny=opt.quick,
            num_pictures=len(make_dataset(dataroot / "trainA", num_pictures)),
            dataroot=dataroot.absolute(),
            folder=Path(folder) / "checkpoints",
            compiles=not opt.quick and can_compile(device),
        )
        rows: list[Row] = []
        for name in opt.rows:
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                rows += ROWS[name](setting)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            if opt.out:  # after each row, so that a run cut short leaves something
                opt.out.write_text(f"{heading(setting)}\n\n{table(rows)}\n", encoding="utf-8")
            # The next row starts without this one's models and compiled graphs.
            gc.collect()
            torch.compiler.reset()
    print(heading(setting), table(rows), sep="\n\n")


if __name__ == "__main__":
    sys.exit(runtime.run(main))
