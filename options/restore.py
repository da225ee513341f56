"""Runs that exist already: where they are, and their options, so that nobody types them again.

The architecture comes from the options saved beside the weights, or, for weights from elsewhere,
from the weights themselves; a flag that contradicts it is refused.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from util.errors import UserError
from util.registry import Registry

# (option, saved value, where it comes from) -> the value, or UserError for one that cannot be.
Check = Callable[[str, Any, object], Any]

GENERATOR = ("netG", "norm", "ngf", "no_dropout", "input_nc", "output_nc", "direction", "ema")
DISCRIMINATOR = ("netD", "ndf", "n_layers_D", "spectral_norm")
# Flags that say how to start, not what to train, and what is computed from others.
PER_START = frozenset(
    (
        *("name", "checkpoints_dir", "suffix", "continue_train", "overwrite", "epoch", "load_iter"),
        *("epoch_count", "load_pretrain", "load_pretrain_partial", "dry_run", "verbose", "device"),
        *("gpu_ids", "isTrain", "program_version", "size_multiple", "size_minimum"),
    )
)


def run_folder(opt: argparse.Namespace) -> Path:
    """checkpoints_dir/name, where all of a run is kept."""
    return Path(opt.checkpoints_dir) / opt.name


def runs_in(folder: Path) -> list[str]:
    """Names of the runs in a --checkpoints_dir that have checkpoints."""
    return sorted({file.parent.name for file in folder.glob("*/*_net_*.pth")})


def saved_options(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The options a run was trained with and their file; None where there is none.

    Reads our train_options.json, else the train_opt.txt of other programs of this family.
    """
    file = folder / "train_options.json"
    if file.is_file():
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return {k: math.inf if v == "inf" else v for k, v in values.items()}, file
        except (ValueError, AttributeError, OSError, RecursionError) as error:
            raise UserError(f"{file} cannot be read ({error}); repair or remove it") from error
    file = folder / "train_opt.txt"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        lines = re.findall(r"^ *(\w+): (.*?) *(?:\t\[default: .*\])?$", text, re.MULTILINE)
        return {name: plain_value(value) for name, value in lines}, file
    return None


def take_saved(
    opt: argparse.Namespace, given: set[str], saved: dict[str, Any], checked: Check
) -> list[str]:
    """Set the flags of `opt` that were not given to their saved values.

    Returns a line for each given one that changes what was saved.
    """
    changes = []
    for name in sorted((saved.keys() & vars(opt).keys()) - PER_START):
        value = checked(name, saved[name], "the saved options")
        if name not in given:
            setattr(opt, name, value)
        elif getattr(opt, name) != value:
            changes.append(f"{name} {value} -> {getattr(opt, name)}")
    return changes


def without_misfits(
    opt: argparse.Namespace,
    given: set[str],
    saved: dict[str, Any],
    source: Path,
    checked: Check,
) -> dict[str, Any]:
    """Options that another program saved, without those whose values this one does not take.

    Of the architecture all are kept, since no default can stand in for them; the others are named.
    """
    kept = dict(saved)
    for name in (saved.keys() & vars(opt).keys()) - PER_START - {*GENERATOR, *DISCRIMINATOR}:
        try:
            checked(name, saved[name], source)
        except UserError as error:
            del kept[name]
            if name not in given:
                print(f"{error}; using --{name} {getattr(opt, name)}")
    return kept


def plain_value(text: str) -> Any:
    """A value as it was before it was printed: bool, int, float or text."""
    if text in ("True", "False"):
        return text == "True"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            pass
    return text


def refuse_another_model(
    opt: argparse.Namespace, model: Any, models: Registry, saved: dict[str, Any], source: Path
) -> None:
    """Refuse a --model that cannot use the run's weights, as far as both declare what they do.

    --model test takes any generator, and a model those of one that it derives from, or that
    derives from it.
    """
    trained = str(saved.get("model", opt.model))
    if opt.model in (trained, "test") or trained not in models.names():
        return
    other = models.find(trained)
    related = issubclass(model, other) or issubclass(other, model)
    if (related and model.space == other.space) or not (model.takes and other.takes):
        return
    ways = f"leave the flag out, or train {opt.model} under another --name"
    if not opt.isTrain:
        ways = f"pass --model {trained}"
        if other.space == "RGB or grey":
            ways += ", or --model test for a generator alone"
    raise UserError(f"--model {opt.model} contradicts {source}, which says {trained}; {ways}")


def restore_architecture(
    opt: argparse.Namespace,
    given: set[str],
    saved: dict[str, Any],
    source: Path,
    checked: Check,
) -> None:
    """Set the architecture flags of `opt` that were not given to what the run was trained with.

    Raises UserError for a given flag that contradicts it; where both can work the given one is
    used, and that is said.
    """
    # Saved options tell of G_A, and _B maps the other way; weights tell of their own file.
    if getattr(opt, "model_suffix", "") == "_B" and source.suffix != ".pth":
        swapped = {"input_nc": saved.get("output_nc"), "output_nc": saved.get("input_nc")}
        saved = {**saved, **{k: v for k, v in swapped.items() if v is not None}}
    names = GENERATOR + (DISCRIMINATOR if opt.isTrain else ())
    saved = {n: checked(n, saved[n], source) for n in names if n in saved and hasattr(opt, n)}
    restored = []
    for name in saved:
        if getattr(opt, name) == saved[name]:
            continue
        if name not in given:
            setattr(opt, name, saved[name])
            restored.append(f"{name}={saved[name]}")
        elif can_differ(name, opt, saved):
            if not opt.isTrain:  # where each change is told anyway
                print(f"--{name} {getattr(opt, name)} is used, though {source} says {saved[name]}")
        else:
            instead = ", or choose another --name" if opt.isTrain else ""
            raise UserError(
                f"--{name} {getattr(opt, name)} contradicts {source}, which says {saved[name]}; "
                f"leave the flag out{instead}"
            )
    if restored:
        print(f"from {source}: {', '.join(restored)}")


def can_differ(name: str, opt: argparse.Namespace, saved: dict[str, Any]) -> bool:
    """Whether weights fit and make sense all the same."""
    if name == "norm":
        return {opt.norm, saved["norm"]} == {"batch", "syncbatch"}
    unet = str(saved.get("netG", opt.netG)).startswith("unet")
    return name in ("direction", "ema") or (name == "no_dropout" and unet)
