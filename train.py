"""Train an image-to-image translation model on your pictures.

    python train.py --dataroot ./datasets/portrait_retouch --name retouch --model pix2pix

Weights go to checkpoints/NAME, the training page to checkpoints/NAME/web/index.html.
"""

import sys
import time

import data
import models
from options.train_options import TrainOptions, plain
from util import runtime
from util.checkpoint import Checkpoints
from util.clock import Clock, RunningMean
from util.loggers import create_loggers
from util.loggers.base import Losses


def main() -> None:
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse()
    runtime.show_tracebacks = opt.verbose
    runtime.seed_everything(opt.seed)
    dataset = data.create_dataset(opt)
    model = models.create_model(opt)
    model.setup(opt)
    if opt.dry_run:
        return

    clock = Clock(opt.epoch_count, opt.n_epochs + opt.n_epochs_decay, len(dataset))
    generator_loss = RunningMean()
    parts = {
        "clock": clock,
        "model": model,
        "generator_loss": generator_loss,
        "random": runtime.RandomState(),
    }
    checkpoints = Checkpoints(model.save_dir, model.networks(), parts, plain(opt))
    if opt.continue_train:
        resume(options, opt, checkpoints, model, clock)
    if clock.epoch > clock.last_epoch:
        print(
            f"{opt.name} is finished: {clock.last_epoch} epochs are done; to train on, raise "
            f"--n_epochs {opt.n_epochs} or --n_epochs_decay {opt.n_epochs_decay}"
        )
        return
    options.save(opt)
    log = create_loggers(opt, options.text, clock, captions=model.captions, compare=model.compare)

    for epoch in clock.epochs():
        started = time.perf_counter()
        dataset.set_epoch(epoch, start=clock.epoch_images)
        for batch in clock.iterations(dataset):
            model.set_input(batch)
            model.optimize_parameters()
            log.step(clock)
            if opt.lr_policy == "plateau":
                generator_loss.add(model.generator_loss, clock.step_images)
            if clock.due(opt.print_freq):
                log.losses(Losses.now(clock, model.get_current_losses(), model.learning_rate))
            if log.images_due(clock):
                model.compute_visuals()
                log.images(clock, model.get_current_visuals())
            if clock.due(opt.save_latest_freq):
                label = f"iter_{clock.total_images}" if opt.save_by_iter else "latest"
                checkpoints.save(label)
                log.say(f"saved {label} (epoch {epoch}, {clock.total_images} images)")

        old_lr, new_lr = model.update_learning_rate(generator_loss.take())
        clock.end_epoch()
        if epoch % opt.save_epoch_freq == 0 or epoch == clock.last_epoch:
            checkpoints.save("latest", str(epoch))
            log.say(f"saved latest and {epoch} ({clock.total_images} images)")
        log.say(
            f"End of epoch {epoch} / {clock.last_epoch} \t Time Taken: "
            f"{time.perf_counter() - started:.0f} sec \t learning rate {old_lr:.7f} -> {new_lr:.7f}"
        )
    log.close(f"finished after epoch {clock.last_epoch}: {model.save_dir}")


def resume(options, opt, checkpoints: Checkpoints, model, clock: Clock) -> None:
    """Go on where the checkpoint was saved; from bare weights, with all else starting anew."""
    label = model.label_to_load()
    resumed = checkpoints.resume(label, model.load_networks)
    if resumed is None:
        model.load_networks(label)
        print(
            f"{model.save_dir} has weights {label} without a state: optimizers, schedule and order "
            f"start anew at epoch {clock.epoch} (--epoch_count sets another)"
        )
        return
    if "epoch_count" in options.given:
        clock.start_at(opt.epoch_count)
        model.start_at(opt.epoch_count)
    print(f"{resumed}: epoch {clock.epoch}, {clock.epoch_images} of its images seen")


if __name__ == "__main__":
    sys.exit(runtime.run(main))
