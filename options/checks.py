"""Checks for options that cannot work together or on this disk, for train.py and test.py.

Each raises UserError. The types in options.parser check single values, and options.restore checks
for contradictions to an earlier run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from options.parser import OptionParser
from options.restore import run_folder
from util.errors import UserError, command_line
from util.files import folders_in
from util.run.downloads import download_command, short
from util.startup import ROOT
from util.util import counted


def check_replaced(
    opt: argparse.Namespace, parser: OptionParser, action: argparse.Action, plugin: str
) -> None:
    """Refuse a value that the program cannot use, for a flag of its own that a plug-in redefines.

    `action` is the program's definition; `plugin` names the plug-in and its file.
    """
    flag = action.option_strings[0] if action.option_strings else f"--{action.dest}"
    advice = f"{plugin} redefines {flag}, a flag of the program"
    if not hasattr(opt, action.dest):
        raise UserError(f"{advice}, with another dest; rename it in that file")
    try:
        parser.checked_by(action, getattr(opt, action.dest), flag)
    except UserError as error:
        raise UserError(
            f"{advice}, and its value does not suit both ({error}); rename it in that file"
        ) from error


def check_fit(opt: argparse.Namespace, given: set[str], model: Any, dataset: Any) -> None:
    """Refuse a dataset that does not provide what the model takes, as far as both declare it.

    Colour spaces are compared only if --dataset_mode is given: model files written for other
    programs set their own dataset_mode, but declare no space.
    """
    for name, is_used in model.used().items():
        if name.startswith("--") and not is_used and is_on(opt, name[2:]):
            raise UserError(
                f"{name} {getattr(opt, name[2:])}: {model.__name__} replaces methods of its base "
                "that heed this flag; leave it out, or add it to `uses` in that class if its own "
                "methods do so too (docs/extending.md)"
            )
    lacking = [key for key in model.takes if key not in dataset.gives]
    if "dataset_mode" in given and model.space != dataset.space and dataset.gives:
        raise UserError(
            f"--model {opt.model} works in {model.space}, but --dataset_mode {opt.dataset_mode} "
            f"gives {dataset.space}; leave --dataset_mode out"
        )
    if lacking and dataset.gives:
        raise UserError(
            f"--model {opt.model} needs {' and '.join(model.takes)}, but --dataset_mode "
            f"{opt.dataset_mode} gives only {' and '.join(dataset.gives)}; leave --dataset_mode out"
        )


def is_on(opt: argparse.Namespace, name: str) -> bool:
    """Whether an option is there and not off."""
    return getattr(opt, name, 0) not in (0, "none") and (name, getattr(opt, name)) != ("num_D", 1)


def has_weight_maps(opt: argparse.Namespace, model: Any, dataset: Any) -> bool:
    """Whether maps say where the results of a run matter; prints a line if they are not used."""
    folder = dataset.weight_maps(opt) if opt.isTrain else None
    if folder is None:
        return False
    unused = [] if dataset.weighs() else [f"--dataset_mode {opt.dataset_mode}"]
    unused += [] if model.used().get("trainW") else [f"--model {opt.model}"]
    if unused:
        print(f"{folder}: {' and '.join(unused)} {'do' if unused[1:] else 'does'} not use it")
    return not unused


FEW_PAIRS = 50
# What helps with few pairs (docs/few_pairs.md), by name as in the options.
FOR_FEW_PAIRS = (
    *("residual", "augment", "d_augment", "lambda_feat", "lambda_lpips", "identity_pairs"),
    "weight_maps",
)


def advise_on_few(opt: argparse.Namespace, num_pairs: int) -> None:
    """Print a line if a new run has few pairs and nothing of what helps with few."""
    is_new = opt.dataset_mode == "aligned" and not (opt.continue_train or opt.load_pretrain)
    if not is_new or num_pairs >= FEW_PAIRS or any(is_on(opt, name) for name in FOR_FEW_PAIRS):
        return
    words = ["python", short(ROOT / "scripts" / "preset.py"), "retouch_few"]
    words += ["--dataroot", os.path.abspath(opt.dataroot), "--name", f"{opt.name}_few"]
    # The preset is for the sizes of retouching.
    words += ["--load_size", str(opt.load_size), "--crop_size", str(opt.crop_size)]
    usual = {"direction": "AtoB", "preprocess": "resize_and_crop", "netG": "unet_256"}
    for name, value in usual.items():
        if getattr(opt, name) != value:
            words += [f"--{name}", getattr(opt, name)]
    print(
        f"only {counted(num_pairs, 'pair')}: where pictures should mostly stay as they are, the "
        f"preset retouch_few does better (docs/few_pairs.md): {command_line(words)}"
    )


def check_names(opt: argparse.Namespace) -> None:
    """Refuse names that lead out of the folder they belong in."""
    # Not resolve(): a run's folder may be a link to another disk.
    runs, run = Path(os.path.abspath(opt.checkpoints_dir)), Path(os.path.abspath(run_folder(opt)))
    if runs not in run.parents:
        raise UserError(
            f"--name {opt.name!r} leads out of --checkpoints_dir {opt.checkpoints_dir}; "
            "use a plain name"
        )
    for flag in ("epoch", "phase"):
        value = getattr(opt, flag)
        if ".." in Path(value).parts or Path(value).is_absolute():
            raise UserError(f"--{flag} {value!r} leads out of its folder")
    if len(Path(opt.epoch).parts) != 1:
        raise UserError(
            f"--epoch {opt.epoch!r} is not a label; pass latest, best or an epoch number"
        )


PORTRAITS = "datasets/portrait_retouch"  # of the project


def require_dataroot(opt: argparse.Namespace, script: str, examples: Sequence[str]) -> None:
    """Refuse a missing --dataroot, which argparse cannot: saved options may supply it.

    Args:
        script: the program, in the project's folder.
        examples: what may follow it and --dataroot on the command line.
    """
    if opt.dataroot is None:
        begin = ["python", short(ROOT / script), "--dataroot"]
        lines = [
            [*begin, *(short(ROOT / word) if word == PORTRAITS else word for word in line.split())]
            for line in examples
        ]
        raise UserError(
            "--dataroot is required: the folder with the pictures; see --help, or begin with",
            examples=[command_line(line) for line in lines],
        )


def check_dataroot(opt: argparse.Namespace, given: set[str]) -> None:
    """Refuse a --dataroot that is not there; for a data set of the papers, say how to get it."""
    try:
        there = Path(opt.dataroot).exists()
        if Path(opt.dataroot).is_dir():
            os.stat(os.path.join(opt.dataroot, "."))
    except PermissionError as error:
        raise UserError(
            f"--dataroot {opt.dataroot}: {error.strerror}; fix the permissions of this folder or "
            "of one that it is in"
        ) from error
    if not there:
        origin = ""
        if "dataroot" not in given:
            origin = ", from the saved options of the run"
            if not Path(opt.dataroot).is_absolute():
                origin += " (relative to the folder it was started in)"
        download = download_command(Path(opt.dataroot), paired=opt.dataset_mode == "aligned")
        raise UserError(
            f"--dataroot {opt.dataroot}{origin}: there is no such folder"
            f"{folders_in(Path(opt.dataroot).absolute().parent)}"
            f"{'; to download it: ' if download else ''}{download}"
        )


def check_sizes(opt: argparse.Namespace) -> None:
    """Refuse sizes that --preprocess or the networks cannot take, and name the nearest they can."""
    if not opt.preprocess.endswith("crop"):  # padded to what the networks need
        return
    if opt.preprocess != "crop" and opt.load_size < opt.crop_size:
        raise UserError(
            f"--crop_size {opt.crop_size} is larger than --load_size {opt.load_size}: pictures "
            f"are scaled before they are cropped; pass --load_size {opt.crop_size} or more"
        )
    value, multiple = opt.crop_size, opt.size_multiple
    if value < opt.size_minimum:
        at_half = " with --num_D 2" if getattr(opt, "num_D", 1) == 2 else ""
        smaller = ""
        if opt.netG == "unet_256" and opt.netD == "basic" and not at_half and value >= 32:
            smaller = "unet_128" if value % 128 == 0 else "resnet_9blocks" * (value % 4 == 0)
        raise UserError(
            f"--crop_size {value}: too small for --netG {opt.netG} and --netD {opt.netD}{at_half}, "
            f"which need at least {-(-opt.size_minimum // multiple) * multiple}"
            f"{f'; --netG {smaller} takes {value}' if smaller else ''}"
        )
    if value % multiple:
        below, above = value // multiple * multiple, -(-value // multiple) * multiple
        instead = f"--crop_size {above}" if below == 0 else f"--crop_size {below} or {above}"
        raise UserError(
            f"--crop_size {value}: --netG {opt.netG} needs sides that are multiples of {multiple}; "
            f"pass {instead}, or another --netG"
        )
