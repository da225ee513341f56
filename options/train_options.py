"""Flags of train.py, and how they become the options of a run that starts or goes on."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from options.base_options import BaseOptions, counts_layers, suffixed_name
from options.parser import OptionParser, number, on_off_auto, whole
from options.restore import run_folder, runs_in, saved_options
from util import distributed
from util.errors import UserError
from util.files import write_whole
from util.run.checkpoint import remove_run


class TrainOptions(BaseOptions):
    """Base flags plus schedule, objective, checkpoints and logging."""

    is_train = True
    default_model = "cycle_gan"

    def add_flags(self, parser: OptionParser) -> None:
        super().add_flags(parser)
        add_training_flags(parser)
        add_checkpoint_flags(parser)
        add_logging_flags(parser)

    def earlier_options(self, argv: list[str]) -> tuple[dict[str, Any], Path] | None:
        parser, *_ = self._build_parser(argv, {})
        opt, _ = parser.parse_known_args(argv)
        if counts_layers(opt, parser.given(argv)):
            opt.netD = "n_layers"
        if opt.suffix:
            opt.name = suffixed_name(opt)
        found = saved_options(run_folder(opt)) if opt.continue_train else None
        self.saved_name = opt.name if found else ""
        return found

    def resolve(self, opt: argparse.Namespace, model: Any, dataset: Any) -> None:
        super().resolve(opt, model, dataset)
        folder = run_folder(opt)
        found = sorted(folder.glob("*_net_*.pth"))
        if opt.continue_train and not found:
            if opt.continue_train != "auto" and not opt.load_pretrain:
                runs = ", ".join(runs_in(folder.parent)) or "no runs"
                raise UserError(
                    f"--continue_train: {folder} has no checkpoint to go on from; "
                    f"{opt.checkpoints_dir} has {runs}; to start, leave the flag out or pass "
                    "--continue_train auto"
                )
            print(f"{folder} has no checkpoint yet: starting from {opt.load_pretrain or 'scratch'}")
        if opt.continue_train and found:
            self.restore(opt, model)
        if opt.continue_train and opt.overwrite:
            raise UserError("--continue_train goes on, --overwrite starts afresh: pass one of them")
        opt.continue_train = bool(opt.continue_train and found)
        if opt.continue_train and opt.load_pretrain:
            print(f"{folder} has a checkpoint: --load_pretrain {opt.load_pretrain} is not needed")
            # --epoch_count beside it said where this run began, not where it is to go on.
            opt.load_pretrain, self.given = "", self.given - {"epoch_count"}
        if not opt.continue_train and not opt.overwrite:
            refuse_used(opt)

    def check(self, opt: argparse.Namespace) -> None:
        super().check(opt)
        if opt.load_pretrain and not Path(opt.load_pretrain).is_dir():
            raise UserError(f"--load_pretrain {opt.load_pretrain}: there is no such folder")
        if opt.epoch_count > opt.n_epochs + opt.n_epochs_decay:
            raise UserError(
                f"--epoch_count {opt.epoch_count} is after the last one, --n_epochs {opt.n_epochs} "
                f"plus --n_epochs_decay {opt.n_epochs_decay}; raise one of them to train on"
            )

    def save(self, opt: argparse.Namespace) -> None:
        """Also for programs, as train_options.json; a run that starts makes room for itself."""
        if not distributed.is_main():
            return
        if not opt.continue_train:
            if not opt.overwrite:  # another process may have used the name since `resolve`
                refuse_used(opt)
            remove_run(run_folder(opt))
        super().save(opt)
        values = {k: "inf" if v == math.inf else v for k, v in plain(opt).items()}
        values_text = json.dumps(values, indent=2, sort_keys=True)
        write_whole(run_folder(opt) / "train_options.json", values_text + "\n")


def refuse_used(opt: argparse.Namespace) -> None:
    """UserError if the run's folder has checkpoints, which a run that starts would delete."""
    labels = sorted({f.name.partition("_net_")[0] for f in run_folder(opt).glob("*_net_*.pth")})
    if labels:
        raise UserError(
            f"--name {opt.name}: {run_folder(opt)} has checkpoints ({', '.join(labels)}); pass "
            "--continue_train to go on, --overwrite to delete them and start afresh, or another "
            "--name"
        )


def plain(opt: argparse.Namespace) -> dict[str, Any]:
    """The options as plain values, for JSON and for checkpoints, which hold no other types."""
    kinds = (bool, int, float, str, type(None))
    return {k: v if isinstance(v, kinds) else str(v) for k, v in vars(opt).items()}


# --- Flags, a function for each section of --help -------------------------------------------------


def add_training_flags(parser: OptionParser) -> None:
    parser.begin_section("Training schedule and objective")
    parser.add_argument(
        "--phase", default="train", help="part of --dataroot to use: train, val, test, ..."
    )
    parser.add_argument(
        "--n_epochs",
        type=whole(0),
        default=100,
        metavar="N",
        help="epochs at the initial learning rate",
    )
    parser.add_argument(
        "--n_epochs_decay",
        type=whole(0),
        default=100,
        metavar="N",
        help="epochs after those; --lr_policy linear lets the rate fall to zero over them",
    )
    parser.add_argument(
        "--lr", type=number(above=0), default=0.0002, metavar="X", help="learning rate of Adam"
    )
    parser.add_argument(
        "--beta1",
        type=number(0, below=1),
        default=0.5,
        metavar="X",
        help="momentum of Adam, 0 to below 1",
    )
    parser.add_argument(
        "--lr_policy",
        default="linear",
        choices=["linear", "step", "plateau", "cosine"],
        help="linear: constant for n_epochs, then to zero; step: x0.1 each lr_decay_iters "
        "epochs; plateau: x0.2 when the generator loss has not improved by 1%% for 5 epochs; "
        "cosine: one smooth fall to zero over the run",
    )
    parser.add_argument(
        "--lr_decay_iters",
        type=whole(1),
        default=50,
        metavar="N",
        help="epochs between two steps of --lr_policy step",
    )
    parser.add_argument(
        "--gan_mode",
        default="lsgan",
        choices=["vanilla", "lsgan", "wgangp"],
        help="adversarial objective: cross-entropy, least squares, or Wasserstein with "
        "gradient penalty",
    )
    parser.add_argument(
        "--pool_size",
        type=whole(0),
        default=50,
        metavar="N",
        help="generated images kept to train the discriminator with; 0: only the newest",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits each time on a GPU too, at some cost in speed",
    )
    parser.add_argument(
        "--spectral_norm",
        action="store_true",
        help="spectral normalisation in the discriminators, which steadies them",
    )
    parser.add_argument(
        "--cache",
        default="auto",
        choices=["auto", "ram", "disk", "none"],
        help="keep decoded, resized pictures between epochs: in memory, at most a quarter of "
        "what is free; on disk, under --checkpoints_dir; auto: in memory if they fit",
    )
    parser.add_argument(
        "--grad_accum",
        type=whole(1),
        default=1,
        metavar="N",
        help="change the weights after each N batches, by the mean of their gradients: a "
        "larger batch in the memory of a small one",
    )
    parser.add_argument(
        "--grad_checkpoint",
        action="store_true",
        help="compute the layers of the generators twice instead of keeping what they gave: "
        "less memory, more time, the same result",
    )


def add_checkpoint_flags(parser: OptionParser) -> None:
    parser.begin_section("Checkpoints")
    parser.add_argument(
        "--save_latest_freq",
        type=whole(1),
        default=5000,
        metavar="IMAGES",
        help="save checkpoint `latest` each time this many images were seen",
    )
    parser.add_argument(
        "--save_by_iter",
        action="store_true",
        help="at --save_latest_freq keep each as iter_N, besides latest",
    )
    parser.add_argument(
        "--save_epoch_freq",
        type=whole(1),
        default=5,
        metavar="EPOCHS",
        help="keep a numbered checkpoint each so many epochs, and of the last one",
    )
    parser.add_argument(
        "--save_latest_minutes",
        type=number(0),
        default=0.0,
        metavar="M",
        help="save `latest` also each time so many minutes have passed; 0: not by time",
    )
    parser.add_argument(
        "--keep_checkpoints",
        type=whole(0),
        default=0,
        metavar="K",
        help="keep only the last K numbered checkpoints; 0: all",
    )
    parser.add_argument(
        "--skip_nonfinite",
        type=whole(0),
        default=0,
        metavar="N",
        help="leave out up to N steps whose gradients are not finite; 0: stop at the first",
    )
    parser.add_argument(
        "--skip_bad_images",
        action="store_true",
        help="take another picture for one that cannot be read, and count it, instead of stopping",
    )
    parser.add_argument(
        "--continue_train",
        type=on_off_auto,
        nargs="?",
        const=True,
        default=False,
        metavar="on|off|auto",
        help="go on from the checkpoint --epoch of this --name; auto: if there is one, else start",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="start afresh under a --name that has checkpoints, which are deleted",
    )
    parser.add_argument(
        "--load_pretrain",
        default="",
        metavar="DIR",
        help="start from the weights in another run's folder; --epoch picks which; with "
        "--continue_train only while this run has none of its own",
    )
    parser.add_argument(
        "--load_pretrain_partial",
        action="store_true",
        help="take of --load_pretrain what fits, and leave the rest as initialised",
    )
    parser.add_argument(
        "--epoch_count",
        type=whole(1),
        default=1,
        metavar="N",
        help="number of the first epoch; the schedule is placed there; with --continue_train, "
        "go on at the beginning of this epoch",
    )


def add_logging_flags(parser: OptionParser) -> None:
    parser.begin_section("Logging")
    parser.add_argument(
        "--print_freq",
        type=whole(1),
        default=100,
        metavar="IMAGES",
        help="print and log the losses each time this many images were seen",
    )
    parser.add_argument(
        "--display_freq",
        type=whole(1),
        default=400,
        metavar="IMAGES",
        help="send pictures to the live viewers below as often",
    )
    parser.add_argument(
        "--update_html_freq",
        type=whole(1),
        default=1000,
        metavar="IMAGES",
        help="add pictures to the training page as often, and after the first and last epoch",
    )
    parser.add_argument(
        "--no_html", action="store_true", help="make no training page (web/index.html)"
    )
    parser.add_argument(
        "--use_tensorboard",
        action="store_true",
        help="write losses and pictures for TensorBoard, to NAME/tensorboard",
    )
    parser.add_argument(
        "--use_visdom",
        action="store_true",
        help="show losses and pictures on a visdom server, which is started if none answers",
    )
    parser.add_argument(
        "--display_server",
        default="http://localhost",
        metavar="URL",
        help="where the visdom server is",
    )
    parser.add_argument(
        "--display_port",
        type=whole(1, 65535),
        default=8097,
        metavar="N",
        help="port of the visdom server",
    )
    parser.add_argument(
        "--display_env", default="main", metavar="NAME", help="visdom environment to draw in"
    )
    parser.add_argument(
        "--display_id",
        type=whole(-1),
        default=1,
        metavar="N",
        help="number of the first visdom window; 0 or -1: no visdom",
    )
    parser.add_argument(
        "--display_ncols",
        type=whole(1),
        default=4,
        metavar="N",
        help="pictures per row in visdom",
    )
