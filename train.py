"""Train an image-to-image translation model on your pictures.

    python train.py --dataroot ./datasets/portrait_retouch --name retouch --model pix2pix

Weights go to checkpoints/NAME, the training page to checkpoints/NAME/web/index.html.
"""

from util.startup import begin_imports

if __name__ == "__main__":
    begin_imports()

import argparse
import copy
import sys
import time
from typing import NamedTuple

import data
import models
from data.loader import DataError, Loader
from models.base_model import BaseModel
from models.counts import Counts
from models.optimizer_state import OptimizerState
from models.schedules import decay_between, start_at
from models.validation.create import create_judging
from models.validation.generators import CannotRun
from models.validation.judging import Judging
from models.weights import label_to_load
from options.checks import advise_on_few
from options.train_options import TrainOptions, plain
from util import distributed, runtime
from util.errors import Stopped
from util.files import write_whole
from util.run.checkpoint import Checkpoints
from util.run.clock import Clock
from util.run.disk import Room, state_size, weights_size
from util.run.interrupt import Interrupt
from util.run.likeness import SOME_PAIRS, likeness, save_likeness
from util.run.lock import RunLock
from util.run.trial import try_sizes
from util.show.estimate import Estimate
from util.show.loggers import Loggers, create_loggers
from util.show.loggers.base import EpochEnd, Losses
from util.speed.performance import prepare
from util.speed.process import begin
from util.step import Steps
from util.step.ema import EMA
from util.util import counted

MEMORY_FLAGS = (
    "--batch_size 1, --precision auto, --grad_checkpoint, a smaller --crop_size, "
    "a smaller --ngf and --ndf, fewer --num_threads"
)


def main(*, fast: bool = True) -> None:
    """Train. Without `fast`, also turn off the speed-ups that have no flag, for comparison."""
    options = TrainOptions(models.registry, data.registry)
    opt = distributed.from_main(lambda: options.parse(arguments()))
    begin(opt, fast=fast)
    if opt.try_steps and not opt.dry_run:
        try_out(opt, fast=fast)
        return
    run = build(opt, fast=fast)
    warning = runtime.warn_of_unused_card(opt.device)
    if opt.dry_run:
        return
    with RunLock(run.model.save_dir):
        if opt.continue_train:
            resume(run)
        if is_finished(run):
            return
        run.judging.begin()
        if opt.overwrite:
            next(iter(run.dataset))  # fail on an unreadable picture before deleting the old run
        options.save(opt)
        save_held_out(run)
        keep_likeness(run)
        if lack := room_of(run).warning():
            print(lack)
        model = run.model
        log = create_loggers(
            opt,
            options.text,
            run.clock,
            run.judging.best,
            captions=model.captions,
            compare=model.compare,
            warning=warning,
            more_to_test=["--dataset_mode", opt.dataset_mode] * ("dataset_mode" in options.given),
            lines_within_epochs="print_freq" in options.chosen,
            waits=not fast,
        )
        with Interrupt() as interrupt, log:
            train(run, log, interrupt)


def arguments() -> list[str]:
    """The command line; a run that torchrun restarts resumes from its last checkpoint."""
    again = ["--continue_train", "auto", "--overwrite", "off"]
    return sys.argv[1:] + (again if distributed.restarts() else [])


class Run(NamedTuple):
    """A training run with everything it needs, before its first step."""

    opt: argparse.Namespace
    dataset: Loader
    model: BaseModel
    steps: Steps
    clock: Clock
    checkpoints: Checkpoints
    judging: Judging
    held_out: tuple[str, ...]


def build(opt: argparse.Namespace, *, fast: bool = True) -> Run:
    """Create the training run that the options describe.

    Args:
        fast: whether to use the speed-ups that have no flag.
    """
    dataset = data.create_dataset(opt)
    judged = data.create_judged(opt)
    num_held_out = len(judged.validation.held_out) // (2 if opt.two_folders else 1)
    advise_on_few(opt, len(dataset) + num_held_out)
    model = models.create_model(opt)
    model.joins_inputs &= fast
    model.loads_on_resume = False  # `resume` does it
    begin_by_data(model, dataset)
    model.setup(opt)
    networks = model.networks()
    begin_alike(model, opt)
    ema = EMA(networks, model.optimizers, opt.ema)
    judging = create_judging(
        model,
        opt,
        ema.networks,
        judged.validation.loader,
        judged.examples,
        len(dataset),
        judged.validation.key,
    )
    if fast:
        scalers = prepare(networks, model.optimizers, opt, model.device)
    else:
        scalers = [None for _ in model.optimizers]
    steps = Steps(
        model,
        ema,
        scalers,
        num_batches=opt.grad_accum,
        tolerated=opt.skip_nonfinite,
        watches_loss=opt.lr_policy == "plateau" and opt.plateau_on == "loss",
    )
    clock = Clock(opt.epoch_count, opt.n_epochs + opt.n_epochs_decay, len(dataset))
    optimizers = OptimizerState(model.optimizers, model.schedulers, opt.lr)
    memories = {f"model.{name}": memory for name, memory in model.memories().items()}
    checkpoints = Checkpoints(
        model.save_dir,
        networks,
        {
            "clock": clock,
            "model": optimizers,
            "counts": Counts(model),
            "best": judging.best,
            **steps.shared,
        },
        plain(opt),
        keep=opt.keep_checkpoints,
        keep_states=opt.keep_states,
        per_process={
            **steps.per_process,
            "random": runtime.RandomState(model.device),
            **memories,
        },
        averages=ema.networks,
        may_be_new=model.may_be_new(),
    )
    return Run(opt, dataset, model, steps, clock, checkpoints, judging, judged.validation.held_out)


def save_held_out(run: Run) -> None:
    """List the files that --val_split keeps out of training; warns if they were trained on."""
    if not distributed.is_main():
        return
    file = run.model.save_dir / "validation.txt"
    if not run.held_out:
        file.unlink(missing_ok=True)
        return
    before = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    if run.opt.continue_train and (learnt := set(run.held_out) - set(before)):
        print(
            f"warning: {len(learnt)} of the {counted(len(run.held_out), 'file')} held out were "
            "trained on before, so validation flatters; start under another --name to avoid that"
        )
    write_whole(file, "".join(f"{held}\n" for held in run.held_out))


def keep_likeness(run: Run) -> None:
    """Keep with a new run how alike the sides of its pairs are, for test.py --full_size auto."""
    folder = run.model.save_dir
    if not distributed.is_main() or (run.opt.continue_train and likeness(folder) is not None):
        return
    difference = getattr(run.dataset.dataset, "difference", lambda most: None)(SOME_PAIRS)
    if difference is not None:
        save_likeness(folder, difference)


def room_of(run: Run) -> Room:
    """The room on the disk that the run needs for its checkpoints, from here to its end."""
    opt, model, checkpoints = run.opt, run.model, run.checkpoints
    picture = 4 * max(opt.input_nc, opt.output_nc) * opt.crop_size**2  # float32
    return Room(
        model.save_dir,
        weights_size([*model.networks().values(), *checkpoints.averages.values()]),
        state_size(model.optimizers, model.memories().values(), picture),
        run.clock,
        epoch_freq=opt.save_epoch_freq,
        iter_freq=opt.save_latest_freq if opt.save_by_iter else 0,
        keep=opt.keep_checkpoints,
        keep_states=opt.keep_states,
        has_best=run.judging.validation is not None,
        resumes=opt.continue_train,
    )


def begin_by_data(model: BaseModel, dataset: Loader) -> None:
    """Let a model make what depends on a batch; whatever else it does with it is no step."""
    if type(model).data_dependent_initialize is BaseModel.data_dependent_initialize:
        return
    model.data_dependent_initialize(next(iter(dataset)))
    model.image_paths = []
    for net in model.networks().values():
        net.zero_grad()


def begin_alike(model: BaseModel, opt: argparse.Namespace) -> None:
    """Give several processes the same weights, and each its own dropout."""
    if distributed.size() == 1:
        return
    images = opt.batch_size * distributed.size()
    print(f"{distributed.size()} processes: --batch_size {opt.batch_size} each, {images} in total")
    for net in model.networks().values():
        distributed.share(net.state_dict().values())
    runtime.seed_everything(opt.seed + distributed.rank())


def resume(run: Run, *, tidies: bool = True) -> None:
    """Resume where the checkpoint was saved or, with --epoch_count, at the beginning of that epoch.

    If there are only weights, everything else starts afresh. Without `tidies`, changes no file.
    """
    opt, model, clock = run.opt, run.model, run.clock
    with distributed.main_first():
        label = label_to_load(opt)
        resumed = run.checkpoints.resume(label, model.load_networks, tidies=tidies)
        if resumed is None:
            print(
                f"{model.save_dir} has weights {label} but no training state: optimizers, schedule "
                f"and order start afresh at epoch {clock.epoch} (--epoch_count sets another)"
            )
            return
        if opt.patience == 0 or 0 < opt.resume_at <= clock.stuck_at:
            clock.end_as_planned()
        if clock.last_epoch < clock.planned_epochs:
            print(
                f"stuck since epoch {clock.stuck_at}: ends after epoch {clock.last_epoch} instead "
                f"of {clock.planned_epochs}; to train on, pass --patience 0"
            )
        if opt.resume_at:
            clock.start_at(opt.resume_at)
            start_at(opt.resume_at, model.schedulers)
            run.judging.best.forget_from(opt.resume_at)
        decay_between(clock.stuck_at, clock.last_epoch, model.schedulers)
        print(f"{resumed}: epoch {clock.epoch}, {clock.epoch_images} of its images seen")


def is_finished(run: Run) -> bool:
    """Whether all epochs are done, after a line that says how to train longer."""
    opt, clock = run.opt, run.clock
    if clock.epoch <= clock.last_epoch:
        return False
    how = f"raise --n_epochs {opt.n_epochs} or --n_epochs_decay {opt.n_epochs_decay}"
    if clock.stuck_at:
        how = f"pass --patience 0 instead of {opt.patience}"
    done = counted(clock.epoch - 1, "epoch")
    print(f"{opt.name} is finished: {done} done; to train longer, {how}")
    return True


def try_out(opt: argparse.Namespace, *, fast: bool = True) -> None:
    """Take --try_steps steps and print what the run would take; no file is written or deleted.

    If the memory of a GPU does not suffice, raises UserError with sizes for which it does.
    """

    def attempt(batch_size: int = opt.batch_size, crop_size: int = opt.crop_size) -> None:
        sized = copy.copy(opt)
        sized.batch_size, sized.crop_size = batch_size, crop_size
        run = build(sized, fast=fast)
        if opt.continue_train:
            resume(run, tidies=False)
        if not is_finished(run):
            print(*filter(None, [*first_steps(run), room_of(run).warning()]), sep="\n")

    runtime.warn_of_unused_card(opt.device)
    if runtime.resolve_device(opt.device).type == "cuda" and distributed.size() == 1:
        try_sizes(attempt, opt.batch_size, crop_sizes(opt), MEMORY_FLAGS)
    else:
        attempt()


def crop_sizes(opt: argparse.Namespace) -> list[int]:
    """All sizes up to --crop_size that the networks take, ascending; itself if nothing crops."""
    multiple = opt.size_multiple
    least = -(-opt.size_minimum // multiple) * multiple
    smaller = range(least, opt.crop_size, multiple) if opt.preprocess.endswith("crop") else []
    return [*smaller, opt.crop_size]


def estimate_of(run: Run, num_steps: int | None = None) -> Estimate:
    """What the run will take, told by its first steps."""
    images = run.opt.batch_size * distributed.size()
    return Estimate(run.clock, run.model.device, images, room_of(run), num_steps)


def first_steps(run: Run) -> list[str]:
    """Take --try_steps steps; returns the lines of the estimate."""
    opt, dataset, model, steps, clock, *_ = run
    estimate = estimate_of(run, opt.try_steps)
    for epoch in clock.epochs():
        dataset.set_epoch(epoch, start=clock.epoch_images)
        for batch in clock.iterations(dataset):
            model.set_input(batch)
            with steps.step(batch.share):
                model.optimize_parameters()
            if estimate.step():
                return estimate.lines()
        clock.end_epoch()
    return estimate.lines()


def train(run: Run, log: Loggers, interrupt: Interrupt) -> None:
    """Train all remaining epochs. After a signal, saves `latest` and raises Stopped."""
    opt, dataset, model, steps, clock, checkpoints, judging, _ = run
    estimate = estimate_of(run)

    def save(*labels: str) -> None:
        steps.guard.check_weights()
        steps.check_optimizers(model.all_optimizers())
        log.flush()
        checkpoints.save(*labels)
        log.saved(labels, clock.total_images)

    def stop_if_asked() -> None:
        if received := distributed.highest(interrupt.received or 0):
            save("latest")
            raise Stopped(received)

    if judging.validation is not None:
        judging.validation.batches.between = stop_if_asked  # a scheduler may not wait for its end
    for epoch in clock.epochs():
        started = time.perf_counter()
        dataset.set_epoch(epoch, start=clock.epoch_images)
        try:
            for batch in clock.iterations(dataset):
                model.set_input(batch)
                with steps.step(batch.share):
                    model.optimize_parameters()
                log.step(clock)
                if estimate.step() and clock.images_left:
                    log.say("\n".join(estimate.lines()))
                if clock.due(opt.print_freq) or clock.epoch_done:
                    losses = steps.losses.take()
                    log.losses(Losses.now(clock, losses, model.learning_rate, opt.print_freq))
                if log.images_due(clock):
                    judging.show(clock, log)
                if labels := labels_due(run):
                    save(*labels)
                stop_if_asked()
            is_best = judging.validate(clock, log)
        except (DataError, CannotRun):
            if clock.total_images > 0:
                save("latest")
            raise

        model.metric = judging.plateau_metric(epoch, steps.generator_loss.take())
        rate_before = model.learning_rate
        model.update_learning_rate()
        clock.end_epoch()
        labels = ["best", "latest"] if is_best else []  # so that `best` is never the newest
        if epoch % opt.save_epoch_freq == 0 or epoch == clock.last_epoch:
            labels = [*labels[:1], "latest", str(epoch)]
        if labels:
            save(*labels)
        took_s = time.perf_counter() - started
        rates = rate_before, model.learning_rate
        log.epoch_end(EpochEnd(epoch, clock.last_epoch, took_s, rates))


def labels_due(run: Run) -> list[str]:
    """The labels of the checkpoints to save after this step."""
    opt, clock = run.opt, run.clock
    if clock.due(opt.save_latest_freq):
        return [f"iter_{clock.total_images}", "latest"] if opt.save_by_iter else ["latest"]
    minutes = opt.save_latest_minutes
    if minutes and distributed.highest(int(run.checkpoints.is_due(minutes))):
        return ["latest"]
    return []


if __name__ == "__main__":
    sys.exit(runtime.run(main, MEMORY_FLAGS))
