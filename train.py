"""Train an image-to-image translation model on your pictures.

    python train.py --dataroot ./datasets/portrait_retouch --name retouch --model pix2pix

Weights go to checkpoints/NAME, the training page to checkpoints/NAME/web/index.html.
"""

from util.startup import begin_imports, skip_dynamo

if __name__ == "__main__":
    begin_imports()

import argparse
import contextlib
import sys
import time

import data
import models
from data.loader import DataError, Loader
from models.base_model import BaseModel
from options.train_options import TrainOptions, plain
from util import distributed, runtime
from util.averages import Averages
from util.checkpoint import Checkpoints
from util.clock import Clock, RunningMean
from util.command import resume_command
from util.deterministic import be_deterministic, replace_reflection_padding
from util.finite import FiniteGuard
from util.heap import keep_freed_memory
from util.image_pool import ImagePool
from util.interrupt import Interrupt, Stopped
from util.lock import RunLock
from util.loggers import Loggers, create_loggers
from util.loggers.base import Losses
from util.performance import prepare
from util.updates import Updates
from util.util import counted


def main() -> None:
    options = TrainOptions(models.registry, data.registry)
    opt, given = distributed.from_main(lambda: (options.parse(arguments()), options.given))
    runtime.show_tracebacks = opt.verbose
    runtime.seed_everything(opt.seed)
    if opt.deterministic:
        be_deterministic()
    if not opt.compile:
        skip_dynamo()
    dataset = data.create_dataset(opt)
    model = models.create_model(opt)
    if model.device.type == "cpu":
        keep_freed_memory()
    model.setup(opt)
    networks = model.networks()
    if distributed.size() > 1:
        images = opt.batch_size * distributed.size()
        print(
            f"{distributed.size()} processes: --batch_size {opt.batch_size} each, {images} in all"
        )
        for net in networks.values():
            distributed.share(net.state_dict().values())
    if not distributed.is_main():
        runtime.seed_everything(opt.seed + distributed.rank())  # each has dropout of its own
    if opt.deterministic and model.device.type == "cuda":
        for net in networks.values():
            replace_reflection_padding(net)
    warning = runtime.warn_of_unused_card(opt.device)
    averages = Averages(networks, model.optimizers, opt.ema)
    updates = prepare(networks, model.optimizers, opt, model.device)
    if opt.dry_run:
        return

    clock = Clock(opt.epoch_count, opt.n_epochs + opt.n_epochs_decay, len(dataset))
    generator_loss = RunningMean()
    guard = FiniteGuard(
        networks.values(),
        model.optimizers,
        opt.skip_nonfinite,
        lambda: checkpoints.last_good(),
        [pool for pool in vars(model).values() if isinstance(pool, ImagePool)],
    )
    checkpoints = Checkpoints(
        model.save_dir,
        networks,
        {"clock": clock, "model": model, "guard": guard, "averages": averages},
        plain(opt),
        keep=opt.keep_checkpoints,
        own_parts={
            "generator_loss": generator_loss,
            "updates": updates,
            "random": runtime.RandomState(model.device),
            **{f"model.{name}": memory for name, memory in model.memories().items()},
        },
        averages=averages.networks,
    )
    with RunLock(model.save_dir) if distributed.is_main() else contextlib.nullcontext():
        if opt.continue_train:
            with distributed.main_first():
                placed = "epoch_count" in given and not distributed.restarts()
                epoch = opt.epoch_count if placed else 0
                resume(model, averages, checkpoints, clock, epoch)
        if clock.epoch > clock.last_epoch:
            print(
                f"{opt.name} is finished: {counted(clock.epoch - 1, 'epoch')} done; to train on, "
                f"raise --n_epochs {opt.n_epochs} or --n_epochs_decay {opt.n_epochs_decay}"
            )
            return
        if opt.overwrite:
            next(iter(dataset))  # a picture that cannot be read must not cost the old run
        if distributed.is_main():
            options.save(opt)
            log = create_loggers(
                opt,
                options.text,
                clock,
                captions=model.captions,
                compare=model.compare,
                warning=warning,
            )
        else:
            log = Loggers(None, [])
        try:
            parts = model, updates, averages, clock, generator_loss, guard, checkpoints
            train(opt, dataset, *parts, log)
        except Stopped:  # has closed them
            raise
        except Exception:
            log.close(f"stopped by an error; {checkpoints.last_good()}")
            raise


def arguments() -> list[str]:
    """The command line; a run that torchrun starts again goes on from its last checkpoint."""
    again = ["--continue_train", "auto", "--overwrite", "off"]
    return sys.argv[1:] + (again if distributed.restarts() else [])


def train(
    opt: argparse.Namespace,
    dataset: Loader,
    model: BaseModel,
    updates: Updates,
    averages: Averages,
    clock: Clock,
    generator_loss: RunningMean,
    guard: FiniteGuard,
    checkpoints: Checkpoints,
    log: Loggers,
) -> None:
    """All epochs that are left. Raises Stopped after a signal, with `latest` saved."""

    def save(*labels: str) -> None:
        guard.check_weights()
        log.flush()
        checkpoints.save(*labels)
        log.say(f"saved {' and '.join(labels)} ({counted(clock.total_images, 'image')})")

    with Interrupt() as interrupt:
        for epoch in clock.epochs():
            started = time.perf_counter()
            dataset.set_epoch(epoch, start=clock.epoch_images)
            try:
                for batch in clock.iterations(dataset):
                    model.set_input(batch)
                    guard.begin(model.get_image_paths())
                    updates.begin(dataset.weight)
                    model.optimize_parameters()
                    updates.end()
                    guard.end(model.losses())
                    averages.take_statistics()
                    log.step(clock)
                    if opt.lr_policy == "plateau" and not guard.step_is_bad:
                        generator_loss.add(model.generator_loss * dataset.weight, clock.step_images)
                    if clock.due(opt.print_freq):
                        losses = distributed.mean_losses(model.get_current_losses(), dataset.weight)
                        log.losses(Losses.now(clock, losses, model.learning_rate))
                    if log.images_due(clock):
                        model.compute_visuals()
                        log.images(clock, model.get_current_visuals())
                    if clock.due(opt.save_latest_freq):
                        by_iter = [f"iter_{clock.total_images}"] if opt.save_by_iter else []
                        save(*by_iter, "latest")
                    elif opt.save_latest_minutes and distributed.highest(
                        int(checkpoints.is_due(opt.save_latest_minutes))
                    ):
                        save("latest")
                    if received := distributed.highest(interrupt.received or 0):
                        save("latest")
                        log.close(f"stopped; to go on: {resume_command(opt)}")
                        raise Stopped(received)
            except DataError:
                if clock.total_images > 0:
                    save("latest")
                raise

            old_lr, new_lr = model.update_learning_rate(generator_loss.take())
            clock.end_epoch()
            if epoch % opt.save_epoch_freq == 0 or epoch == clock.last_epoch:
                save("latest", str(epoch))
            log.say(
                f"End of epoch {epoch} / {clock.last_epoch} \t "
                f"Time Taken: {time.perf_counter() - started:.0f} sec \t "
                f"learning rate {old_lr:.7f} -> {new_lr:.7f}"
            )
    log.close(f"finished after epoch {clock.last_epoch}: {model.save_dir}")


def resume(
    model: BaseModel, averages: Averages, checkpoints: Checkpoints, clock: Clock, epoch: int
) -> None:
    """Go on where the checkpoint was saved, or with it at the beginning of `epoch` if above 0.

    From bare weights all else starts anew.
    """

    def load(label: str | int) -> None:
        model.load_networks(label)
        averages.load(lambda name: model.weights_path(label, name))

    label = model.label_to_load()
    resumed = checkpoints.resume(label, load)
    if resumed is None:
        load(label)
        print(
            f"{model.save_dir} has weights {label} without a state: optimizers, schedule and order "
            f"start anew at epoch {clock.epoch} (--epoch_count sets another)"
        )
        return
    if epoch:
        clock.start_at(epoch)
        model.start_at(epoch)
    print(f"{resumed}: epoch {clock.epoch}, {clock.epoch_images} of its images seen")


if __name__ == "__main__":
    sys.exit(runtime.run(main))
