"""Existing runs: where they are, and their saved options, which need not be typed again.

The architecture comes from the options saved beside the weights or, for weights from elsewhere,
from the weights themselves. A flag that contradicts it is refused. What test.py should do with
pictures comes from the saved options too, unless a flag says otherwise.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from options.parser import OptionParser
from options.settle import DISCRIMINATOR, GENERATOR, settle, usable
from util.errors import UserError
from util.files import existing
from util.registry import Registry


def run_folder(opt: argparse.Namespace) -> Path:
    """checkpoints_dir/name, which holds everything of a run."""
    return Path(opt.checkpoints_dir) / opt.name


def existing_name(opt: argparse.Namespace) -> str:
    """--name as the run's folder has it, which may be in another Unicode form."""
    run = run_folder(opt)
    name = existing(run).name
    return opt.name if name == run.name else str(Path(opt.name).with_name(name))


def runs_in(folder: Path) -> list[str]:
    """Names of the runs in a --checkpoints_dir that have checkpoints."""
    return sorted({file.parent.name for file in folder.glob("*/*_net_*.pth")})


def saved_options(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The options a run was trained with and their file; None if there is none.

    Reads our train_options.json, or else the train_opt.txt of other programs of this family.
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


def plain_value(text: str) -> Any:
    """The value that was printed as this text: bool, None, int, float, list of these, or text."""
    if text.startswith("["):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(text)
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            pass
    return text


def refuse_another_model(
    opt: argparse.Namespace, model: Any, models: Registry, saved: dict[str, Any], source: Path
) -> None:
    """Refuse a --model that cannot use the run's weights, as far as both models declare their data.

    --model test accepts any generator. Other models accept weights of their base classes and
    sub-classes.
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


def restore(
    opt: argparse.Namespace,
    given: set[str],
    names: Collection[str],
    saved: dict[str, Any],
    source: Path,
    parser: OptionParser,
) -> None:
    """Set those of the named options that were not given to the values used in training.

    Raises UserError for a given flag that contradicts them. If its value works too, it is used,
    and a message says so.
    """
    # Saved options describe G_A, and G_B maps the other way; weights describe their own network.
    if getattr(opt, "model_suffix", "") == "_B" and source.suffix != ".pth":
        swapped = {"input_nc": saved.get("output_nc"), "output_nc": saved.get("input_nc")}
        saved = {**saved, **{k: v for k, v in swapped.items() if v is not None}}
    saved = {name: saved[name] for name in names if name in saved}
    saved = usable(saved, source, opt, given, parser)
    restored, contradicted = settle(opt, given, saved)
    for name, value in contradicted.items():
        if not can_differ(name, opt, saved):
            instead = ", or choose another --name" if opt.isTrain else ""
            raise UserError(
                f"--{name} {typed(getattr(opt, name))} contradicts {source}, which says "
                f"{typed(value)}; "
                f"leave the flag out{instead}"
            )
        if not opt.isTrain:  # training prints every change anyway
            given_text, saved_text = typed(getattr(opt, name)), typed(value)
            print(f"using --{name} {given_text}, although {source} says {saved_text}")
    if restored:
        values_text = ", ".join(f"{name}={value}" for name, value in restored.items())
        print(f"from {source}: {values_text}")


def typed(value: Any) -> Any:
    """A value as people type it."""
    return ("off", "on")[value] if isinstance(value, bool) else value


def can_differ(name: str, opt: argparse.Namespace, saved: dict[str, Any]) -> bool:
    """Whether the weights work in spite of another value of this flag."""
    if name == "norm":
        return {opt.norm, saved["norm"]} == {"batch", "syncbatch"}
    if name == "no_dropout":
        return saved.get("netG", opt.netG).startswith("unet")
    if name == "num_D":  # a second discriminator can begin at any time
        return opt.num_D > saved["num_D"]
    return name == "ema" or name not in GENERATOR + DISCRIMINATOR
