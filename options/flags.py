"""Every flag of train.py and test.py, in one table; models and datasets add their own.

An entry covers a single flag: its values, default and help. Rules between flags are in
options.checks; options.settle decides where a value comes from.
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
    value_range,
    whole,
    whole_or_auto,
)
from util.files import path_text
from util.metrics.scores import CHOICES


class Flag(NamedTuple):
    """A flag as --help shows it.

    Attributes:
        name: the flag with a placeholder for its value, as in "--seed N".
        kind: the function that converts a value, or a tuple of the allowed values.
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
    """A group of flags in --help."""

    title: str
    flags: tuple[Flag, ...]

    def add_to(self, parser: OptionParser) -> None:
        parser.begin_section(self.title)
        for flag in self.flags:
            flag.add_to(parser)


# fmt: off

# Also a flag of datasets/combine_A_and_B.py.
MAX_MEGAPIXELS = Flag("--max_megapixels MP", 179.0, number(above=0),
    "refuse larger pictures: malicious files could otherwise exhaust the memory")

EXPERIMENT = Section("Experiment", (
    Flag("--dataroot DIR", None, path_text,
         "required: folder with the pictures; its layout depends on --dataset_mode"),
    Flag("--config FILE", None, path_text,
         "take all flags that are not typed from this file: YAML or JSON, with the names of flags "
         "as keys, or the train_options.json of a run, without what belongs to one start, such as "
         "name and device"),
    Flag("--name", "experiment_name", str,
         "name of the run; its files go to this folder under --checkpoints_dir"),
    Flag("--checkpoints_dir DIR", "./checkpoints", path_text, "folder that holds all runs"),
    Flag("--suffix", "", str,
         "text to append to --name after an underscore; {flag} is replaced by the flag's value, as "
         "in {model}_{netG}_size{load_size}"),
    Flag("--model", None, str, "one of"),  # default and names: see BaseOptions.add_flags
    Flag("--seed N", None, whole(0, 2**32 - 1),
         "seed for initial weights, order, crops, flips and dropout; by default a random "
         "one, which is printed"),
    Flag("--device {auto,cpu,cuda,cuda:N,mps}", "auto", device_name,
         "where to compute; auto: a CUDA GPU if there is one, else Apple's MPS, else the CPU"),
    Flag("--gpu_ids N[,N]", (), gpu_ids,
         "older form of --device: 0 is --device cuda:0, -1 is --device cpu; with several, such as "
         "0,1, each process under torchrun uses one"),
    Flag("--epoch LABEL", "latest", str, 
         "checkpoint to load: latest, best (see --best_metric), or an epoch number"),
    Flag("--load_iter N", 0, whole(0),
         "above 0: load checkpoint iter_N (see --save_by_iter) instead of --epoch"),
    Flag("--dry_run", False, on_off,
         "check and print the options, then exit"),
    Flag("--verbose", False, on_off, "print the layers of the networks, and tracebacks of errors"),
))

DATA = Section("Data", (
    Flag("--dataset_mode", "unaligned", str, "how pictures are arranged and loaded"),
    Flag("--direction", "AtoB", ("AtoB", "BtoA"), "which side is the input and which the output"),
    Flag("--serial_batches", False, on_off,
         "use the pictures in order of name instead of shuffling them"),
    Flag("--num_threads N", 4, whole(0, 1024),
         "processes that load pictures; 0: load in the main process; does not affect the results"),
    Flag("--batch_size N", 1, whole(1, 65536),
         "pictures per step; under torchrun, per process"),
    Flag("--preprocess", "resize_and_crop",
         ("resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"),
         "resize_and_crop: resize to load_size x load_size, then crop to crop_size; crop: only "
         "crop; scale_width: scale the width to load_size, keeping the aspect ratio; "
         "scale_width_and_crop: the same, then crop; none: as they are; without a crop, "
         "pictures are padded to what the generator accepts"),
    Flag("--load_size PX", 286, whole(1, 65536),
         "size to which pictures are scaled first; unless given, test.py uses crop_size or, if "
         "nothing is cropped, that of the run"),
    Flag("--crop_size PX", 256, whole(1, 65536),
         "side of the square to crop: at random in training, from the centre in testing"),
    Flag("--no_flip", False, on_off, "do not flip pictures left to right at random"),
    Flag("--max_dataset_size N", math.inf, count_or_inf,
         "use at most this many pictures per folder; inf: all"),
    MAX_MEGAPIXELS,
    Flag("--range_A LOW,HIGH", None, value_range,
         "values of black and white in the pictures of side A, such as 0,4095 for 12 bits; by "
         "default the whole range of their type: 0,255 for 8 bits, 0,65535 for 16, 0,1 for floats"),
    Flag("--range_B LOW,HIGH", None, value_range, "the same for side B"),
    Flag("--skip_bad_images", False, on_off,
         "count an unreadable picture instead of stopping; training replaces it by another, and "
         "testing leaves it out"),
    Flag("--display_winsize PX", 256, whole(1, 65536),
         "least width of pictures on HTML pages; larger ones grow with the window"),
))

NETWORKS = Section("Networks", (
    Flag("--input_nc N", 3, whole(1, 64), "input channels: 3 for RGB, 1 for grey"),
    Flag("--output_nc N", 3, whole(1, 64), "output channels: 3 for RGB, 1 for grey"),
    Flag("--ngf N", 64, whole(1, 4096),
         "generator filters in the first layer; all its widths are multiples of this"),
    Flag("--ndf N", 64, whole(1, 4096), "discriminator filters in the first layer"),
    Flag("--netG", "resnet_9blocks", ("resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"),
         "generator; sides must be multiples of 256 for unet_256, of 128 for unet_128, of 4 for "
         "the ResNets"),
    Flag("--netD", "basic", ("basic", "n_layers", "pixel"),
         "discriminator; basic: the 70x70 PatchGAN; n_layers: a PatchGAN with --n_layers_D "
         "layers; pixel: judges each pixel separately"),
    Flag("--n_layers_D N", 3, whole(1, 10),
         "layers of the PatchGAN; with --netD basic, a value other than 3 selects n_layers"),
    Flag("--norm", "instance", ("instance", "batch", "none", "syncbatch"),
         "normalisation in generators and discriminators"),
    Flag("--init_type", "normal", ("normal", "xavier", "kaiming", "orthogonal"),
         "how the initial weights are drawn"),
    Flag("--init_gain X", 0.02, number(above=0),
         "scale of the initial weights for normal, xavier and orthogonal"),
    Flag("--no_dropout", False, on_off, "build generators without dropout"),
    Flag("--residual", False, on_off,
         "let generators make the change of their input instead of a whole picture; for pictures "
         "that should mostly stay as they are, such as retouched portraits (with cycle_gan, "
         "changing nothing already solves the cycle and identity losses)"),
))

SPEED = Section("Speed", (
    Flag("--precision", "fp32", ("fp32", "bf16", "fp16", "auto"),
         "arithmetic inside the networks; bf16: faster, with less memory and more rounding, where "
         "the device has it; fp16: for GPUs without bf16; auto: bf16 where the device has it, "
         "else fp32"),
    Flag("--compile", False, on_off,
         "compile the networks: takes a minute at the start, then makes each step faster"),
    Flag("--channels_last", "auto", on_off_auto,
         "use the channels-last memory layout; auto: where it is known to be faster"),
    Flag("--ema DECAY", 0.0, number(0, below=1),
         "training: also keep an exponential moving average (EMA) of the generators' weights, with "
         "a decay such as 0.999, and save it as LABEL_net_G_ema.pth; testing: use the EMA if the "
         "run has one; 0: no EMA"),
))

WANDB = Section("Weights & Biases", (
    Flag("--use_wandb", False, on_off, "log losses and pictures to Weights & Biases"),
    Flag("--wandb_project_name NAME", "CycleGAN-and-pix2pix", str,
         "Weights & Biases project"),
))

TRAINING = Section("Training schedule and objective", (
    Flag("--phase", "train", str, "part of --dataroot to use: train, val, test, ..."),
    Flag("--augment LIST", "none", str,
         "change training pictures at random, for few of them: scale, rotation, shift, exposure, "
         "white_balance and gamma change A and B alike; noise, blur and jpeg the input alone; "
         "auto: all of the former that suit the pictures, also with others, as in auto,jpeg (see "
         "docs/augmentation.md)"),
    Flag("--n_epochs N", 100, whole(0), "epochs at the initial learning rate"),
    Flag("--n_epochs_decay N", 100, whole(0),
         "epochs after those, over which --lr_policy linear lowers the learning rate to zero"),
    Flag("--lr X", 0.0002, number(above=0), "learning rate of Adam"),
    Flag("--lr_D X", 0.0, number(0),
         "learning rate of the discriminators' Adam, with the schedule of --lr; 0: that of --lr"),
    Flag("--beta1 X", 0.5, number(0, below=1), "beta1 (momentum) of Adam, from 0 to below 1"),
    Flag("--lr_policy", "linear", ("linear", "step", "plateau", "cosine"),
         "linear: constant for n_epochs, then down to zero; step: x0.1 every lr_decay_iters "
         "epochs; plateau: x0.2 when what --plateau_on names has not improved by 1%% 5 times; "
         "cosine: down to zero along a cosine over the whole run"),
    Flag("--lr_decay_iters N", 50, whole(1), "epochs between the steps of --lr_policy step"),
    Flag("--gan_mode", "lsgan", ("vanilla", "lsgan", "wgangp"),
         "adversarial loss: cross-entropy, least squares, or Wasserstein with gradient penalty"),
    Flag("--pool_size N", 50, whole(0),
         "generated images kept for training the discriminator; 0: only the newest"),
    Flag("--deterministic", False, on_off,
         "make results on a GPU repeatable to the last bit; slower"),
    Flag("--spectral_norm", False, on_off,
         "use spectral normalisation in the discriminators, which stabilises training"),
    Flag("--cache", "auto", ("auto", "ram", "disk", "none"),
         "keep decoded, resized pictures between epochs; ram: in memory, at most a quarter of what "
         "is free; disk: under --checkpoints_dir; auto: in memory if they fit"),
    Flag("--grad_accum N", 1, whole(1),
         "update the weights every N batches, with the mean of their gradients: a larger batch in "
         "the memory of a small one"),
    Flag("--grad_checkpoint", False, on_off,
         "compute the generators' activations twice instead of storing them: less memory, more "
         "time, the same result"),
    Flag("--vgg_weights FILE", None, path_text,
         "ImageNet weights of the VGG of the perceptual loss and of LPIPS, a state_dict with "
         "torchvision's keys, for machines without a network connection; by default those in "
         "torch's cache"),
    Flag("--lpips_weights FILE", None, path_text,
         "weights of LPIPS itself, its file lpips/weights/v0.1/vgg.pth; by default "
         "lpips_vgg_v0.1.pth in torch's cache"),
    Flag("--inception_weights FILE", None, path_text,
         "weights of Inception v3 for KID: torchvision's inception_v3, or the port of the network "
         "of the original FID"),
    Flag("--try_steps N", 0, whole(0),
         "take N steps, print when the run would end and what memory and disk it needs, then exit; "
         "writes no file; if a GPU's memory does not suffice, look for sizes that fit; 0: train"),
))

CHECKPOINTS = Section("Checkpoints", (
    Flag("--save_latest_freq IMAGES", 5000, whole(1),
         "save checkpoint `latest` every IMAGES images"),
    Flag("--save_by_iter", False, on_off,
         "also keep the weights of each `latest` of --save_latest_freq as iter_N"),
    Flag("--save_epoch_freq EPOCHS", 5, whole(1),
         "save a numbered checkpoint every EPOCHS epochs, and at the end"),
    Flag("--save_latest_minutes M", 0.0, number(0),
         "also save `latest` every M minutes; 0: not by time"),
    Flag("--keep_checkpoints K", 0, whole(0), "keep only the last K numbered checkpoints; 0: all"),
    Flag("--keep_states N", 0, whole(0),
         "keep the training state, to resume from, of N more numbered checkpoints than the last; "
         "the others keep only their weights"),
    Flag("--skip_nonfinite N", 0, whole(0),
         "skip up to N steps whose gradients are not finite; 0: stop at the first"),
    Flag("--continue_train", False, on_off_auto,
         "resume from checkpoint --epoch of this --name; auto: resume if there is one, else start"),
    Flag("--overwrite", False, on_off,
         "start over under a --name that has checkpoints, deleting them"),
    Flag("--load_pretrain DIR", "", path_text,
         "start from the weights in another run's folder; --epoch picks the checkpoint; with "
         "--continue_train, only if this run has no checkpoint yet"),
    Flag("--load_pretrain_partial", False, on_off,
         "load only the weights of --load_pretrain that fit; leave the rest as initialised"),
    Flag("--epoch_count N", 1, whole(1),
         "number of the first epoch, where the schedule also starts; with --continue_train, resume "
         "at the beginning of this epoch"),
))

VALIDATION = Section("Validation", (
    Flag("--val_split X", 0.0, number(0, below=1),
         "hold this share of the training pictures out, to validate on them; 0: validate on those "
         "in valA and valB, or val, if there are any"),
    Flag("--val_freq EPOCHS", "auto", whole_or_auto,
         "validate every EPOCHS epochs, and at the end; 0: never; auto: at most 100 times, on at "
         "most 3 pictures for each 100 trained on"),
    Flag("--val_size N", 50, whole(1), "validate on at most this many pictures, evenly from all"),
    Flag("--val_pictures N", 4, whole(0),
         "always show the same N pictures, evenly from the validation or else the training "
         "pictures; 0: show what was just trained on"),
    Flag("--best_metric", "auto", ("auto", *CHOICES),
         "choose checkpoint `best` by this metric; auto: LPIPS if its weights are there, else "
         "SSIM; unpaired: KID with --inception_weights, else SWD"),
    Flag("--min_delta X", 0.0, number(0),
         "by how much the metric must be better than the best, in its own units"),
    Flag("--patience N", 0, whole(0),
         "after N validations without a better one, do what --when_stuck says; 0: train to the "
         "end"),
    Flag("--when_stuck", "decay", ("decay", "stop"),
         "decay: lower the learning rate to zero over the next n_epochs_decay epochs; stop: end"),
    Flag("--plateau_on", "loss", ("loss", "validation"),
         "what --lr_policy plateau watches: the generator loss, or the metric of --best_metric"),
))

LOGGING = Section("Logging", (
    Flag("--print_freq IMAGES", 100, whole(1),
         "log the mean losses every IMAGES images, and after each epoch; if this flag is given, "
         "print them as often, otherwise at most once an epoch, or after ten quiet minutes"),
    Flag("--display_freq IMAGES", 400, whole(1),
         "send pictures to the live viewers below every IMAGES images"),
    Flag("--update_html_freq IMAGES", 1000, whole(1),
         "add pictures to the training page every IMAGES images, and after the first and last "
         "epoch"),
    Flag("--update_html_minutes M", 1.0, number(0),
         "also add them when M minutes have passed since the last ones; 0: not by time"),
    Flag("--no_html", False, on_off,
         "do not write the training page (web/index.html); the page of all runs lists the run"),
    Flag("--use_tensorboard", False, on_off,
         "write losses and pictures for TensorBoard to NAME/tensorboard"),
    Flag("--use_visdom", False, on_off,
         "show losses and pictures on a visdom server, starting one if none answers"),
    Flag("--display_server URL", "http://localhost", str, "address of the visdom server"),
    Flag("--display_port N", 8097, whole(1, 65535), "port of the visdom server"),
    Flag("--display_env NAME", "main", str, "visdom environment to draw in"),
    Flag("--display_id N", 1, whole(-1), "number of the first visdom window; 0 or -1: no visdom"),
    Flag("--display_ncols N", 4, whole(1), "pictures per row in visdom"),
))

TESTING = Section("Testing", (
    Flag("--phase", "test", str, "part of --dataroot to use: train, val, test, ..."),
    Flag("--results_dir DIR", "./results/", path_text, "folder for the results"),
    Flag("--num_test N", 50, count_or_inf, "how many pictures to process; inf: all"),
    Flag("--aspect_ratio X", 1.0, number(0.01, below=100),
         "ratio of width to height by which to stretch the results"),
    Flag("--eval", False, on_off,
         "turn dropout off and normalise with the running statistics from training; by default "
         "both work as in training, on each picture alone whatever the --batch_size, as pix2pix "
         "was published"),
    Flag("--full_size", "off", ("off", "native", "scaled", "transfer", "auto"),
         "also write each result at the size of its picture, with its format, colours and EXIF; "
         "native: the network sees it at that size; scaled: at the size of the training; transfer: "
         "the same, and only the change is enlarged; auto: transfer for pairs that are alike"),
    Flag("--tile ROWS", "auto", whole_or_auto,
         "compute pictures of --full_size in strips of so many rows, with the same result in less "
         "memory; auto: those above 4 megapixels, in as many rows as suit; 0: never"),
    Flag("--jpeg_quality N", 95, whole(1, 100), "of results written as JPEG"),
    Flag("--only_results", False, on_off, "write no copies of inputs and targets"),
    Flag("--output_format", "auto", ("auto", "keep", "png", "jpg", "tif"),
         "of results; keep: that of the input; auto: png, and for those of --full_size keep"),
    Flag("--output_name PATTERN", None, str,
         "name of results without ending, with {stem} of the input, {label}, {name} and {epoch}; "
         "by default {stem}_{label}, and of those of --full_size {stem}"),
))

OF_BOTH = (EXPERIMENT, DATA, NETWORKS, SPEED, WANDB)
OF_TRAINING = (*OF_BOTH, TRAINING, VALIDATION, CHECKPOINTS, LOGGING)
OF_TESTING = (*OF_BOTH, TESTING)


def program_of(flag: str) -> str:
    """The program that alone has this flag, "train.py" or "test.py"; '' if both or none have it."""
    programs = {"train.py": OF_TRAINING, "test.py": OF_TESTING}
    found = [
        program
        for program, sections in programs.items()
        if any(f.name.split()[0] == flag for section in sections for f in section.flags)
    ]
    return found[0] if len(found) == 1 else ""
