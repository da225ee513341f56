"""Every flag of train.py and test.py, in one table; those of models and datasets are theirs.

What is true of a single flag stands here: its values, default and help. What flags mean for each
other stands in options.checks, and where a value comes from, in options.settle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from options.parser import (
    OptionParser,
    count_or_inf,
    device_name,
    gpu_ids,
    number,
    on_off,
    on_off_auto,
    whole,
)


class Flag(NamedTuple):
    """A flag as --help shows it.

    Attributes:
        name: with the placeholder of its value, as in "--seed N".
        kind: what converts a value, or the values that there are.
    """

    name: str
    default: Any
    kind: Callable[[str], Any] | tuple[str, ...]
    help: str

    def add_to(self, parser: OptionParser) -> None:
        name, _, metavar = self.name.partition(" ")
        values = "choices" if isinstance(self.kind, tuple) else "type"
        parser.add_argument(
            name,
            default=self.default,
            metavar=metavar or None,
            help=self.help,
            **{values: self.kind},
        )


class Section(NamedTuple):
    """Flags that stand together in --help."""

    title: str
    flags: tuple[Flag, ...]

    def add_to(self, parser: OptionParser) -> None:
        parser.begin_section(self.title)
        for flag in self.flags:
            flag.add_to(parser)


# fmt: off

# Of datasets/combine_A_and_B.py as well, which reads pictures too.
MAX_MEGAPIXELS = Flag("--max_megapixels MP", 179.0, number(above=0),
    "refuse larger pictures, which may be files made to exhaust the memory")

EXPERIMENT = Section("Experiment", (
    Flag("--dataroot DIR", None, str,
         "needed: folder with the pictures; the layout depends on --dataset_mode"),
    Flag("--name", "experiment_name", str,
         "name of the run: the folder under --checkpoints_dir where all of it is kept"),
    Flag("--checkpoints_dir DIR", "./checkpoints", str, "where runs are kept"),
    Flag("--suffix", "", str,
         "appended to --name after an underscore; {flag} stands for the flag's value, as in "
         "{model}_{netG}_size{load_size}"),
    Flag("--model", None, str, "one of"),  # default and names: see BaseOptions.add_flags
    Flag("--seed N", None, whole(0, 2**32 - 1),
         "makes initial weights, order, crops, flips and dropout repeatable; by default a new "
         "one is drawn and printed"),
    Flag("--device {auto,cpu,cuda,cuda:N,mps}", "auto", device_name,
         "where to compute; auto takes a CUDA GPU, else Apple's MPS, else the CPU"),
    Flag("--gpu_ids N[,N]", (), gpu_ids,
         "the same in the words of older commands: 0 is --device cuda:0, -1 is --device cpu; "
         "several, as 0,1, are used under torchrun, one by each process"),
    Flag("--epoch LABEL", "latest", str, "which checkpoint to load: latest, or an epoch number"),
    Flag("--load_iter N", 0, whole(0),
         "above 0: load checkpoint iter_N (of --save_by_iter) instead of --epoch"),
    Flag("--dry_run", False, on_off,
         "print the options as they would be used, check them, and exit"),
    Flag("--verbose", False, on_off, "print the networks layer by layer, and tracebacks of errors"),
))

DATA = Section("Data", (
    Flag("--dataset_mode", "unaligned", str, "how pictures are arranged and loaded"),
    Flag("--direction", "AtoB", ("AtoB", "BtoA"), "which side is the input and which the output"),
    Flag("--serial_batches", False, on_off,
         "take the pictures in the order of their names instead of shuffled"),
    Flag("--num_threads N", 4, whole(0, 1024),
         "processes that load pictures; 0 loads in the main process; results do not depend on it"),
    Flag("--batch_size N", 1, whole(1, 65536),
         "pictures per step; under torchrun, of each process"),
    Flag("--preprocess", "resize_and_crop",
         ("resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"),
         "resize_and_crop: to load_size squared, then a crop_size crop; crop: the crop alone; "
         "scale_width: width to load_size, aspect ratio kept; scale_width_and_crop: the same and "
         "a crop; none: sides are only rounded to what the generator takes"),
    Flag("--load_size PX", 286, whole(1, 65536),
         "pictures are scaled to this size first; test.py: to crop_size unless given"),
    Flag("--crop_size PX", 256, whole(1, 65536),
         "side of the square that is cut out, at random in training, from the centre in testing"),
    Flag("--no_flip", False, on_off, "do not mirror pictures left to right at random"),
    Flag("--max_dataset_size N", math.inf, count_or_inf,
         "use at most this many pictures of a folder; inf: all"),
    MAX_MEGAPIXELS,
    Flag("--display_winsize PX", 256, whole(1, 65536), "width of pictures on HTML pages"),
))

NETWORKS = Section("Networks", (
    Flag("--input_nc N", 3, whole(1, 64), "input: 3 RGB, 1 grey"),
    Flag("--output_nc N", 3, whole(1, 64), "output: 3 RGB, 1 grey"),
    Flag("--ngf N", 64, whole(1, 4096),
         "generator filters next to the picture; the usual measure of its size"),
    Flag("--ndf N", 64, whole(1, 4096), "discriminator filters in the first layer"),
    Flag("--netG", "resnet_9blocks", ("resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"),
         "generator; unet_256 needs sides that are multiples of 256, unet_128 of 128, the "
         "ResNets of 4"),
    Flag("--netD", "basic", ("basic", "n_layers", "pixel"),
         "discriminator: basic is the 70x70 PatchGAN, n_layers a PatchGAN of --n_layers_D "
         "layers, pixel judges each pixel"),
    Flag("--n_layers_D N", 3, whole(1, 10),
         "layers of the PatchGAN; given with --netD basic it selects n_layers"),
    Flag("--norm", "instance", ("instance", "batch", "none", "syncbatch"),
         "normalisation in both networks"),
    Flag("--init_type", "normal", ("normal", "xavier", "kaiming", "orthogonal"),
         "how weights are drawn at the start"),
    Flag("--init_gain X", 0.02, number(above=0),
         "scale of the initial weights for normal, xavier and orthogonal"),
    Flag("--no_dropout", False, on_off, "no dropout in the generator"),
))

SPEED = Section("Speed", (
    Flag("--precision", "fp32", ("fp32", "bf16", "fp16", "auto"),
         "arithmetic inside the networks; bf16 is faster and takes less memory where the device "
         "has it, and rounds more; fp16 is for GPUs that lack bf16; auto: bf16 where the device "
         "has it, else fp32"),
    Flag("--compile", False, on_off,
         "compile the networks at the start, which takes a minute and saves time per step"),
    Flag("--channels_last", "auto", on_off_auto,
         "memory layout of the networks; auto: where it is known to be faster"),
    Flag("--ema DECAY", 0.0, number(0, below=1),
         "in training, also average the generators' weights over time, as with 0.999, and save "
         "them beside as LABEL_net_G_ema.pth; in testing, take those where the run has them; 0: "
         "no averages"),
))

WANDB = Section("Weights & Biases", (
    Flag("--use_wandb", False, on_off, "log losses and pictures to Weights & Biases"),
    Flag("--wandb_project_name NAME", "CycleGAN-and-pix2pix", str, "project there"),
))

TRAINING = Section("Training schedule and objective", (
    Flag("--phase", "train", str, "part of --dataroot to use: train, val, test, ..."),
    Flag("--n_epochs N", 100, whole(0), "epochs at the initial learning rate"),
    Flag("--n_epochs_decay N", 100, whole(0),
         "epochs after those; --lr_policy linear lets the rate fall to zero over them"),
    Flag("--lr X", 0.0002, number(above=0), "learning rate of Adam"),
    Flag("--beta1 X", 0.5, number(0, below=1), "momentum of Adam, 0 to below 1"),
    Flag("--lr_policy", "linear", ("linear", "step", "plateau", "cosine"),
         "linear: constant for n_epochs, then to zero; step: x0.1 each lr_decay_iters epochs; "
         "plateau: x0.2 when the generator loss has not improved by 1%% for 5 epochs; cosine: "
         "one smooth fall to zero over the run"),
    Flag("--lr_decay_iters N", 50, whole(1), "epochs between two steps of --lr_policy step"),
    Flag("--gan_mode", "lsgan", ("vanilla", "lsgan", "wgangp"),
         "adversarial objective: cross-entropy, least squares, or Wasserstein with gradient "
         "penalty"),
    Flag("--pool_size N", 50, whole(0),
         "generated images kept to train the discriminator with; 0: only the newest"),
    Flag("--deterministic", False, on_off,
         "the same bits each time on a GPU too, at some cost in speed"),
    Flag("--spectral_norm", False, on_off,
         "spectral normalisation in the discriminators, which steadies them"),
    Flag("--cache", "auto", ("auto", "ram", "disk", "none"),
         "keep decoded, resized pictures between epochs: in memory, at most a quarter of what is "
         "free; on disk, under --checkpoints_dir; auto: in memory if they fit"),
    Flag("--grad_accum N", 1, whole(1),
         "change the weights after each N batches, by the mean of their gradients: a larger "
         "batch in the memory of a small one"),
    Flag("--grad_checkpoint", False, on_off,
         "compute the layers of the generators twice instead of keeping what they gave: less "
         "memory, more time, the same result"),
))

CHECKPOINTS = Section("Checkpoints", (
    Flag("--save_latest_freq IMAGES", 5000, whole(1),
         "save checkpoint `latest` each time this many images were seen"),
    Flag("--save_by_iter", False, on_off,
         "at --save_latest_freq keep each as iter_N, besides latest"),
    Flag("--save_epoch_freq EPOCHS", 5, whole(1),
         "keep a numbered checkpoint each so many epochs, and of the last one"),
    Flag("--save_latest_minutes M", 0.0, number(0),
         "save `latest` also each time so many minutes have passed; 0: not by time"),
    Flag("--keep_checkpoints K", 0, whole(0), "keep only the last K numbered checkpoints; 0: all"),
    Flag("--skip_nonfinite N", 0, whole(0),
         "leave out up to N steps whose gradients are not finite; 0: stop at the first"),
    Flag("--skip_bad_images", False, on_off,
         "take another picture for one that cannot be read, and count it, instead of stopping"),
    Flag("--continue_train", False, on_off_auto,
         "go on from the checkpoint --epoch of this --name; auto: if there is one, else start"),
    Flag("--overwrite", False, on_off,
         "start afresh under a --name that has checkpoints, which are deleted"),
    Flag("--load_pretrain DIR", "", str,
         "start from the weights in another run's folder; --epoch picks which; with "
         "--continue_train only while this run has none of its own"),
    Flag("--load_pretrain_partial", False, on_off,
         "take of --load_pretrain what fits, and leave the rest as initialised"),
    Flag("--epoch_count N", 1, whole(1),
         "number of the first epoch; the schedule is placed there; with --continue_train, go on "
         "at the beginning of this epoch"),
))

LOGGING = Section("Logging", (
    Flag("--print_freq IMAGES", 100, whole(1),
         "print and log the losses each time this many images were seen"),
    Flag("--display_freq IMAGES", 400, whole(1),
         "send pictures to the live viewers below as often"),
    Flag("--update_html_freq IMAGES", 1000, whole(1),
         "add pictures to the training page as often, and after the first and last epoch"),
    Flag("--no_html", False, on_off, "make no training page (web/index.html)"),
    Flag("--use_tensorboard", False, on_off,
         "write losses and pictures for TensorBoard, to NAME/tensorboard"),
    Flag("--use_visdom", False, on_off,
         "show losses and pictures on a visdom server, which is started if none answers"),
    Flag("--display_server URL", "http://localhost", str, "where the visdom server is"),
    Flag("--display_port N", 8097, whole(1, 65535), "port of the visdom server"),
    Flag("--display_env NAME", "main", str, "visdom environment to draw in"),
    Flag("--display_id N", 1, whole(-1), "number of the first visdom window; 0 or -1: no visdom"),
    Flag("--display_ncols N", 4, whole(1), "pictures per row in visdom"),
))

TESTING = Section("Testing", (
    Flag("--phase", "test", str, "part of --dataroot to use: train, val, test, ..."),
    Flag("--results_dir DIR", "./results/", str, "where results are written"),
    Flag("--num_test N", 50, count_or_inf, "how many pictures to run; inf: all"),
    Flag("--aspect_ratio X", 1.0, number(0.01, below=100),
         "width over height by which results are stretched back"),
    Flag("--eval", False, on_off,
         "normalise with the running averages of training and without dropout; by default both "
         "act as in training on each picture alone, whatever --batch_size, as pix2pix was "
         "published"),
))

OF_BOTH = (EXPERIMENT, DATA, NETWORKS, SPEED, WANDB)
OF_TRAINING = (*OF_BOTH, TRAINING, CHECKPOINTS, LOGGING)
OF_TESTING = (*OF_BOTH, TESTING)
