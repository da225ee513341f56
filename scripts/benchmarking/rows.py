"""What is measured: one function per row of the table, or per group of related rows."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import data
import models
import train
from models.base_model import BaseModel
from models.losses.lpips import LAYERS as LPIPS_LAYERS
from models.networks.generators import SIZE_MULTIPLE
from models.validation.validation import frequency
from options.train_options import TrainOptions
from scripts.benchmarking.measure import (
    Samples,
    in_turns,
    matrix_rate,
    peak_memory,
    seconds,
    seconds_until,
)
from scripts.benchmarking.table import Row, name_of, number
from scripts.benchmarking.variants import (
    VARIANTS,
    Setting,
    build,
    common_line,
    is_fast,
    loggers_of,
    program,
    training_line,
)
from scripts.export import as_plain, export
from util.run.checkpoint import Checkpoints
from util.run.clock import Clock
from util.run.interrupt import Interrupt
from util.show.loggers.base import Losses
from util.speed import heap, performance
from util.torchvision_compat import import_torchvision
from util.util import counted

WARM_UP = 2  # steps; the first allocates memory and compiles graphs
MEMORY_STEPS = 3
VALIDATED_RUNS = (3, 100, 400)  # pairs


def step_pix2pix(setting: Setting) -> list[Row]:
    """One training step without data and logging."""
    return time_steps(setting, "pix2pix")


def step_cycle_gan(setting: Setting) -> list[Row]:
    """One training step without data and logging."""
    return time_steps(setting, "cycle_gan")


def time_steps(setting: Setting, name: str) -> list[Row]:
    """Time a model's steps, and estimate them from their multiply-adds at the speed of matmul.

    A multiply-add counts as two operations. The estimate is a lower bound for direct convolutions;
    Winograd's algorithm needs fewer multiplications.
    """
    batch = random_batch(setting)
    built = {variant: build(setting, variant, name, "step") for variant in VARIANTS}

    def step(variant: str, times: int = setting.steps_per_turn) -> float:
        return seconds(lambda: take_step(built[variant].model, batch), setting.device, times)

    dtypes = {
        variant: performance.resolve_precision(built[variant].opt.precision, setting.device)
        for variant in VARIANTS
    }

    def measure_rates() -> dict[torch.dtype, float]:
        return {dtype: matrix_rate(dtype, setting) for dtype in dict.fromkeys(dtypes.values())}

    for variant in VARIANTS:
        step(variant, WARM_UP)
    rates = measure_rates()
    samples = in_turns(step, setting.steps)
    # If the machine's speed has changed meanwhile, the bound uses the higher one.
    rates = {dtype: max(rate, rates[dtype]) for dtype, rate in measure_rates().items()}

    with FlopCounterMode(display=False) as counter:
        take_step(built["plain"].model, batch)
    flops = counter.get_total_flops()
    rates_text = " and ".join(f"{number(r / 1e9)} ({name_of(d)})" for d, r in rates.items())
    floor = {variant: [flops / rates[dtypes[variant]]] for variant in VARIANTS}
    title = (
        f"{name}: direct convolutions at matrix-multiplication speed, "
        f"{number(flops / 1e9)} GFLOP at {rates_text} GFLOP/s"
    )
    return [Row(f"{name}: one training step", "s", samples), Row(title, "s", floor)]


def loop_pix2pix(setting: Setting) -> list[Row]:
    """The whole training loop, without start-up and checkpoints."""
    return time_loop(setting, "pix2pix", setting.steps * setting.steps_per_turn)


def loop_cycle_gan(setting: Setting) -> list[Row]:
    """The same, on fewer images, since a step is slower."""
    return time_loop(setting, "cycle_gan", -(-setting.steps // 5) * setting.steps_per_turn)


def time_loop(setting: Setting, name: str, images: int) -> list[Row]:
    """Time train.py's own loop over `images`, with data and logging.

    Each measurement logs the losses once and sends pictures to the training page once or twice,
    which is more often than by default.
    """
    size = min(images, setting.num_pictures)
    often = f"--print_freq {images} --update_html_freq {images} --max_dataset_size {size}"
    built = {v: build(setting, v, name, "loop", often) for v in VARIANTS}

    def images_per_s(variant: str) -> float:
        run = built[variant]
        clock = Clock(1, -(-images // len(run.dataset)), len(run.dataset))
        unsaved = Unsaved(run.model.save_dir, {}, {}, {})
        run = run._replace(clock=clock, checkpoints=unsaved)
        with loggers_of(variant, run, clock) as log:
            elapsed_s = seconds(lambda: train.train(run, log, Interrupt()), setting.device)
        return clock.last_epoch * len(run.dataset) / elapsed_s

    for variant in VARIANTS:
        images_per_s(variant)
    samples = in_turns(images_per_s, setting.slow_turns)
    title = f"{name}: training loop with data and logging, over {counted(images, 'image')}"
    return [Row(title, "images/s", samples, rises=True)]


class Unsaved(Checkpoints):
    """Checkpoints that are never written."""

    def save(self, *labels: str) -> None:
        pass


def test(setting: Setting) -> list[Row]:
    """test.py with a pix2pix generator.

    `best` takes batches of eight and does not compile, which would not pay off here.
    """
    trained = build(setting, "plain", "pix2pix", "test").model
    trained.save_networks("latest")
    name, size = trained.save_dir.name, setting.num_pictures
    del trained
    more = f"--name {name} --phase train --num_test {size} --results_dir".split()
    totals: Samples = {variant: [] for variant in VARIANTS}

    def pictures_per_s(variant: str) -> float:
        flags = [*common_line(setting, variant, "pix2pix"), *more, str(setting.folder / "results")]
        if variant == "best":
            flags += ["--batch_size", "8"]
        command = program("test.py", variant, flags)
        loaded_s, done_s = seconds_until(command, [": loaded ", " results in "])
        totals[variant].append(size / done_s)
        return size / (done_s - loaded_s)

    samples = in_turns(pictures_per_s, setting.slow_turns)
    return [
        Row(
            f"test.py on {size} pictures (best: batches of 8, not compiled)",
            "pictures/s",
            totals,
            rises=True,
        ),
        Row(
            f"test.py on {size} pictures, without start-up time", "pictures/s", samples, rises=True
        ),
    ]


def loader(setting: Setting) -> list[Row]:
    """Load pairs in one process on one core, after one pass that fills the caches."""
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
    return [Row("data loading alone, in one process", "pairs/s", samples, rises=True)]


def start_up(setting: Setting) -> list[Row]:
    """train.py, from its start to the losses of its first step."""

    def first_loss_s(variant: str) -> float:
        more = "--print_freq 1 --max_dataset_size 2"
        flags = training_line(setting, variant, "pix2pix", "start_up", more)
        return seconds_until(program("train.py", variant, flags), ["(epoch: "])[0]

    samples = in_turns(first_loss_s, setting.slow_turns)
    return [Row("pix2pix: from start to first losses", "s", samples)]


def checkpoint(setting: Setting) -> list[Row]:
    """How long training pauses to save a checkpoint."""
    batch = random_batch(setting)
    savers = {}
    for variant in VARIANTS:
        run = build(setting, variant, "pix2pix", "checkpoint")
        take_step(run.model, batch)  # Adam has no state before its first step
        savers[variant] = run.checkpoints

    def save_s(variant: str) -> float:
        return seconds(lambda: savers[variant].save("latest"), setting.device)

    samples = in_turns(save_s, setting.slow_turns)
    return [Row("pix2pix: saving a checkpoint", "s", samples)]


def memory(setting: Setting) -> list[Row]:
    """Peak memory, or peak allocation on the GPU, of a process that takes a few steps."""

    def peak(variant: str) -> float:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            return process.submit(peak_of_steps, setting, variant).result()

    samples = in_turns(peak, 1)  # once is enough, since memory hardly varies
    return [Row(f"cycle_gan: peak memory over {MEMORY_STEPS} steps", "GiB", samples)]


def peak_of_steps(setting: Setting, variant: str) -> float:
    """Peak memory of a few steps; call it in a new process, which has used no memory before."""
    heap.keep_freed_memory(is_fast(variant))
    with contextlib.redirect_stdout(io.StringIO()):
        model = build(setting, variant, "cycle_gan", "memory").model
    batch = random_batch(setting)
    for _ in range(MEMORY_STEPS):
        take_step(model, batch)
    return peak_memory(setting.device)


def logging(setting: Setting) -> list[Row]:
    """How long training waits for its logs at the default frequencies, as a share of a step.

    Work on the loggers' own threads does not count here. The CPU time it takes from training is
    included in the training-loop rows.
    """
    batch = random_batch(setting)
    built = {v: build(setting, v, "pix2pix", "logging") for v in VARIANTS}
    clock = Clock(1, 1, 1)  # of a run with one image, at the end of which everything is logged
    clock.total_images = clock.epoch_images = 1
    clock.epoch_done = True
    logs = {variant: loggers_of(variant, run, clock) for variant, run in built.items()}

    def share(variant: str) -> float:
        run, log = built[variant], logs[variant]
        opt, model = run.opt, run.model

        def tell_losses() -> None:
            losses = model.get_current_losses()
            log.losses(Losses.now(clock, losses, model.learning_rate, opt.print_freq))

        def tell_images() -> None:
            run.judging.show(clock, log)

        step_s = seconds(lambda: take_step(model, batch), setting.device, setting.steps_per_turn)
        losses_s = seconds(tell_losses, setting.device)
        images_s = seconds(tell_images, setting.device)
        log.flush()
        return 100 * (losses_s / opt.print_freq + images_s / opt.update_html_freq) / step_s

    for variant in VARIANTS:
        seconds(partial(take_step, built[variant].model, batch), setting.device, WARM_UP)
        share(variant)
    samples = in_turns(share, setting.steps)
    for log in logs.values():
        log.close()
    return [Row("pix2pix: waiting for logs, as a share of a step", "%", samples)]


def validation(setting: Setting) -> list[Row]:
    """What validation adds to the time of a whole run at its default cadence, as a share.

    A tenth of the pictures is held out. All metrics of paired data are computed; the weights of
    LPIPS are made up, which does not change its time.
    """
    more = f"--val_split 0.3 {made_up_weights(setting.folder)}"
    built = {v: build(setting, v, "pix2pix", "validation", more) for v in VARIANTS}
    batch = random_batch(setting)
    clock = Clock(1, 1, 1)
    shares: dict[int, Samples] = {num: {v: [] for v in VARIANTS} for num in VALIDATED_RUNS}

    def measure(variant: str) -> float:
        run = built[variant]
        judged = run.judging.validation
        assert judged is not None
        step_s = seconds(
            lambda: take_step(run.model, batch), setting.device, setting.steps_per_turn
        )
        number = len(run.held_out) // 2  # pairs
        begin_s = seconds(judged.begin, setting.device) / number
        picture_s = seconds(lambda: judged.run(clock), setting.device) / number
        epochs = run.opt.n_epochs + run.opt.n_epochs_decay
        for num, samples in shares.items():
            held_out = max(1, round(num / 10))
            times = -(-epochs // frequency(epochs, num - held_out, held_out))
            added_s = held_out * (begin_s + times * picture_s)
            samples[variant].append(100 * added_s / (epochs * (num - held_out) * step_s))
        return picture_s

    for variant in VARIANTS:
        measure(variant)
    for samples in shares.values():
        for times in samples.values():
            times.clear()  # of the warm-up
    pictures = in_turns(measure, setting.slow_turns)
    return [Row("pix2pix: validating one picture", "s", pictures)] + [
        Row(f"pix2pix: validation, as a share of a run on {counted(num, 'pair')}", "%", samples)
        for num, samples in shares.items()
    ]


def made_up_weights(folder: Path) -> str:
    """Write random weights for LPIPS, and return the flags that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    vgg, heads = folder / "vgg16.pth", folder / "lpips.pth"
    features = import_torchvision("torchvision.models").vgg16().features.state_dict()
    torch.save({f"features.{key}": value for key, value in features.items()}, vgg)
    widths = enumerate(LPIPS_LAYERS.values())
    torch.save({f"lin{j}.model.1.weight": torch.rand(1, w, 1, 1) for j, w in widths}, heads)
    return f"--vgg_weights {vgg} --lpips_weights {heads}"


def onnx(setting: Setting) -> list[Row]:
    """One picture through a generator in PyTorch, at its best too, and in onnxruntime."""
    import onnxruntime

    picture = random_batch(setting)["A"]
    nets = {v: build(setting, v, "pix2pix", "onnx").model.networks()["G"] for v in VARIANTS}
    multiple = SIZE_MULTIPLE["resnet_6blocks" if setting.tiny else "unet_256"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    for net in nets.values():
        net.eval()
    file = setting.folder / "generator.onnx"
    export(as_plain(nets["plain"]), torch.zeros(1, 3, 2 * multiple, 3 * multiple), multiple, file)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    values = {"picture": picture.numpy()}
    picture = picture.to(setting.device)

    def run(variant: str) -> float:
        with torch.no_grad():
            return seconds(lambda: nets[variant](picture), setting.device)

    def run_exported(_: str) -> float:
        return seconds(lambda: session.run(None, values), torch.device("cpu"))

    for variant in VARIANTS:
        run(variant)
        run_exported(variant)
    title = "pix2pix: one picture through the generator"
    return [
        Row(title, "s", in_turns(run, setting.steps)),
        Row(
            f"{title}, as ONNX in onnxruntime (all alike)",
            "s",
            in_turns(run_exported, setting.steps),
        ),
    ]


def take_step(model: BaseModel, batch: dict[str, Any]) -> None:
    model.set_input(batch)
    model.optimize_parameters()


def random_batch(setting: Setting) -> dict[str, Any]:
    """One sample of noise; the content of a picture does not affect the time of a step."""
    generator = torch.Generator().manual_seed(1)
    shape = (1, 3, setting.size_px, setting.size_px)
    sides = {side: torch.rand(shape, generator=generator) * 2 - 1 for side in "AB"}
    if setting.device.type == "cuda":
        sides = {side: picture.pin_memory() for side, picture in sides.items()}
    return {**sides, "A_paths": ["a.png"], "B_paths": ["b.png"]}


ROWS = {
    row.__name__: row
    for row in (
        step_pix2pix,
        step_cycle_gan,
        loop_pix2pix,
        loop_cycle_gan,
        test,
        loader,
        start_up,
        checkpoint,
        memory,
        logging,
        validation,
        onnx,
    )
}
