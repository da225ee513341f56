"""Where the value of an option comes from: typed > saved > the plug-in's > the default."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from options.parser import OptionParser
from util.errors import UserError

GENERATOR = ("netG", "norm", "ngf", "no_dropout", "input_nc", "output_nc", "direction", "ema")
DISCRIMINATOR = ("netD", "ndf", "n_layers_D", "spectral_norm")
# Flags that say how to start, not what to train.
PER_START = frozenset(
    (
        *("name", "checkpoints_dir", "suffix", "continue_train", "overwrite", "epoch", "load_iter"),
        *("epoch_count", "load_pretrain", "load_pretrain_partial", "dry_run", "verbose", "device"),
        "gpu_ids",
    )
)


def settle(
    opt: argparse.Namespace, given: Collection[str], saved: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set the options that were not given to their saved values.

    The parser has settled the rest: a plug-in's default replaces the program's own there, and what
    is typed replaces both. A file of options would be settled before the saved ones, and what it
    names be given from then on.

    Returns the saved values that changed an option, and those that a given one contradicts.
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
    """The saved options that hold for the next start too, by name, as if they had been typed.

    UserError for a value that its flag does not take. In train_opt.txt another program may have
    saved one: that is said, and it is left out, unless it is of the architecture, for which no
    default can stand in.
    """
    values = {}
    # A plug-in may set defaults for names that are no flags; those it says anew at each start.
    flags = vars(opt).keys() & set(parser.dests())
    for name in sorted((saved.keys() & flags) - PER_START):
        may_misfit = source.name == "train_opt.txt" and name not in GENERATOR + DISCRIMINATOR
        origin = source if may_misfit else "the saved options"
        try:
            values[name] = parser.checked(name, saved[name], origin)
        except UserError as error:
            if not may_misfit:
                raise
            if name not in given:
                print(f"{error}; using --{name} {getattr(opt, name)}")
    return values
