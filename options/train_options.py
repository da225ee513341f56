"""How the flags of train.py become the options of a new or resumed run."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from options import flags
from options.base_options import BaseOptions, counts_layers, suffixed_name
from options.restore import existing_name, restore, run_folder, runs_in, saved_options
from options.settle import DISCRIMINATOR, GENERATOR
from util import distributed
from util.errors import UserError
from util.files import write_whole
from util.run.checkpoint import remove_run
from util.startup import ROOT


class TrainOptions(BaseOptions):
    """Base flags plus training, checkpoints and logging; a resumed run uses its saved options."""

    sections = flags.OF_TRAINING
    is_train = True
    default_model = "cycle_gan"
    script = "train.py"

    def earlier_options(self, argv: list[str]) -> tuple[dict[str, Any], Path] | None:
        parser, *_ = self._build_parser(argv, {})
        opt, _ = parser.parse_known_args(argv)
        if counts_layers(opt, parser.given(argv)):
            opt.netD = "n_layers"
        if opt.suffix:
            opt.name = suffixed_name(opt)
        opt.name = existing_name(opt)
        require_run(opt, parser.given(argv))
        found = saved_options(run_folder(opt)) if opt.continue_train else None
        self.saved_name = opt.name if found else ""
        return found

    def resolve(self, opt: argparse.Namespace, model: Any, dataset: Any) -> None:
        super().resolve(opt, model, dataset)
        folder = run_folder(opt)
        found = has_checkpoints(folder)
        if opt.continue_train and not found:
            print(f"{folder} has no checkpoint yet: starting from {opt.load_pretrain or 'scratch'}")
        if opt.continue_train and found:
            saved, source = self.find_run(opt, model)
            restore(opt, self.given, GENERATOR + DISCRIMINATOR, saved, source, self.parser)
        if opt.continue_train and opt.overwrite:
            raise UserError("--continue_train resumes, --overwrite starts over: pass one of them")
        opt.continue_train = bool(opt.continue_train and found)
        if opt.continue_train:
            # With --load_pretrain, or in a command that torchrun restarts, --epoch_count says where
            # the run began, not where it resumes.
            if "epoch_count" in self.given and not (opt.load_pretrain or distributed.restarts()):
                opt.resume_at = opt.epoch_count
            if opt.load_pretrain:
                print(f"{folder} has a checkpoint: ignoring --load_pretrain {opt.load_pretrain}")
                opt.load_pretrain = ""
        elif not (opt.overwrite or opt.try_steps):
            refuse_used(opt)
        if opt.try_steps and opt.cache == "disk":
            print("--try_steps writes no file: leaving out --cache disk")
            opt.cache = "none"
        if not (opt.continue_train or "model" in self.given) and dataset.looks_paired(opt):
            print(
                f"{opt.dataroot}: {opt.phase}A and {opt.phase}B have pictures of the same names; "
                f"are they pairs? --model pix2pix learns from pairs, --model {opt.model} does not"
            )

    def check(self, opt: argparse.Namespace) -> None:
        super().check(opt)
        if opt.load_pretrain:
            check_pretrained(opt)
        if opt.plateau_on == "validation" and opt.lr_policy != "plateau":
            print("--plateau_on validation has no effect without --lr_policy plateau")
        if opt.patience and opt.when_stuck == "decay" and opt.lr_policy == "plateau":
            raise UserError(
                "--patience with --lr_policy plateau: both lower the learning rate when a run is "
                "stuck; drop one, or pass --when_stuck stop"
            )
        if opt.epoch_count > opt.n_epochs + opt.n_epochs_decay:
            raise UserError(
                f"--epoch_count {opt.epoch_count} is after the last epoch, --n_epochs "
                f"{opt.n_epochs} plus --n_epochs_decay {opt.n_epochs_decay}; "
                "raise one of these to train longer"
            )

    def save(self, opt: argparse.Namespace) -> None:
        """Also save train_options.json, for programs; a new run first removes the old one."""
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


class LookingOptions(TrainOptions):
    """The flags of a run that does not begin, for scripts that look at what it would see.

    A run of its name may exist, and nothing is written.
    """

    def parse(self, argv: list[str] | None = None) -> argparse.Namespace:
        words = sys.argv[1:] if argv is None else argv
        return super().parse([*words, "--try_steps", "1"])

    def tell(self, opt: argparse.Namespace, changes: Sequence[str]) -> None:
        pass  # they are those that were typed


def check_pretrained(opt: argparse.Namespace) -> None:
    """Refuse --load_pretrain of a folder that is not there, or of generators of the other kind."""
    folder = Path(opt.load_pretrain)
    if not folder.is_dir():
        raise UserError(f"--load_pretrain {folder}: there is no such folder")
    found = saved_options(folder)
    if found is None:
        kind = "with" if opt.residual else "without"
        print(f"{folder} has no options: its generators are taken as trained {kind} --residual")
    if found and found[0].get("residual", False) != opt.residual:
        was, instead = ("without", "leave out") if opt.residual else ("with", "pass")
        raise UserError(
            f"--load_pretrain {folder}: these weights were trained {was} --residual, and make "
            f"{'whole pictures' if opt.residual else 'the change of a picture'}; {instead} "
            "--residual"
        )


def refuse_used(opt: argparse.Namespace) -> None:
    """Raise UserError if the run's folder has checkpoints, which a new run would delete."""
    labels = sorted({f.name.partition("_net_")[0] for f in run_folder(opt).glob("*_net_*.pth")})
    if labels:
        raise UserError(
            f"--name {opt.name}: {run_folder(opt)} has checkpoints ({', '.join(labels)}); pass "
            "--continue_train to resume, --overwrite to delete them and start over, or another "
            "--name"
        )


def has_checkpoints(folder: Path) -> bool:
    return any(folder.glob("*_net_*.pth"))


def require_run(opt: argparse.Namespace, given: Collection[str]) -> None:
    """Refuse to resume what is not there, before anything else is asked for."""
    may_start = opt.continue_train in (False, "auto") or opt.load_pretrain
    if may_start or has_checkpoints(run_folder(opt)):
        return
    runs = runs_in(Path(opt.checkpoints_dir))
    has = f"has {', '.join(runs) or 'no runs'}"
    if not Path(opt.checkpoints_dir).is_dir():
        has = f"is not in {Path.cwd()}, where the command was typed (the program is in {ROOT})"
    without_name = "" if "name" in given else " without --name"
    raise UserError(
        f"--continue_train{without_name}: {run_folder(opt)} has no checkpoint to resume from; "
        f"{opt.checkpoints_dir} {has}; to start a run, leave the flag out or pass "
        "--continue_train auto"
    )


def plain(opt: argparse.Namespace) -> dict[str, Any]:
    """The options as plain values, for JSON and for checkpoints, which hold no other types."""

    def is_plain(value: Any) -> bool:
        if isinstance(value, list):
            return all(map(is_plain, value))
        return isinstance(value, bool | int | float | str | None)

    return {name: v if is_plain(v) else str(v) for name, v in vars(opt).items()}
