"""Where an option comes from: typed > --config > saved > the plug-in's > the default."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from options.parser import OptionParser
from util.errors import UserError

GENERATOR = ("netG", "norm", "ngf", "no_dropout", "input_nc", "output_nc", "residual", "ema")
DISCRIMINATOR = ("netD", "ndf", "n_layers_D", "spectral_norm", "num_D")
# What a run's folders told, by name as in the options, and what is assumed where nothing is known:
# whether A and B lie in two folders, and the types of values of their pictures (see kind_of).
FACTS = {"two_folders": False, "files_A": "", "files_B": ""}
# How pictures reach the network: test.py takes these from the run, and weights fit other values.
PICTURES = ("preprocess", "crop_size", "direction", "range_A", "range_B")
# Flags that say how to start, not what to train.
PER_START = frozenset(
    (
        *("name", "checkpoints_dir", "suffix", "continue_train", "overwrite", "epoch", "load_iter"),
        *("epoch_count", "load_pretrain", "load_pretrain_partial", "dry_run", "try_steps"),
        *("verbose", "device", "gpu_ids", "config"),
    )
)


def settle(
    opt: argparse.Namespace, given: Collection[str], saved: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set the options that were not given to their saved values.

    The parser has settled the rest: a plug-in's default replaces the program's, a value of --config
    replaces both, and a typed one all of them. Those of --config count as given.

    Returns the saved values that changed an option, and those that a given value contradicts.
    """
    changed = {name: value for name, value in saved.items() if getattr(opt, name) != value}
    contradicted = {name: changed.pop(name) for name in list(changed) if name in given}
    vars(opt).update((name, value) for name, value in saved.items() if name not in given)
    return changed, contradicted


def usable(
    saved: Mapping[str, Any],
    source: Path,
    opt: argparse.Namespace,
    given: Collection[str],
    parser: OptionParser,
) -> dict[str, Any]:
    """The saved options that also apply to the next start, by name, as if they had been typed.

    Raises UserError for a value that its flag does not allow. Such a value is skipped with a
    message instead if it is in train_opt.txt, which another program may have written, or if a test
    starts, whose plug-ins may not be those of the training. That never holds for the architecture:
    no default can replace it.
    """
    values = {}
    # A plug-in may set defaults for names that are not flags; it sets those at each start.
    flags = vars(opt).keys() & set(parser.dests())
    for name in sorted((saved.keys() & flags) - PER_START):
        may_misfit = source.name == "train_opt.txt" or not opt.isTrain
        may_misfit &= name not in GENERATOR + DISCRIMINATOR
        try:
            values[name] = parser.checked(name, saved[name], source)
        except UserError as error:
            if not may_misfit:
                raise
            if name not in given:
                print(f"{error}; using --{name} {getattr(opt, name)}")
    return values
