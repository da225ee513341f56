"""How the flags of test.py determine which run, pictures and generator it uses."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from options import flags
from options.base_options import BaseOptions
from options.parser import OptionParser
from options.restore import restore, run_folder, runs_in, saved_options
from options.settle import FACTS, GENERATOR, PER_START, PICTURES
from util.errors import UserError
from util.util import listed

# test.py accepts these too, so that flags of a train.py command need not be removed.
USED_IN_TRAINING_ONLY = ("ndf", "netD", "n_layers_D", "init_type", "init_gain")
# What testing has its own defaults for, so that those of a training's saved options do not hold.
OF_EACH_PROGRAM = ("phase", "load_size", "no_flip", "serial_batches")


class TestOptions(BaseOptions):
    """Base flags plus testing; pictures come in order of name, not flipped, centre-cropped."""

    __test__ = False  # not a test, whatever pytest thinks of the name
    sections = flags.OF_TESTING
    is_train = False
    default_model = "test"
    script = "test.py"
    not_from_runs = PER_START.union(OF_EACH_PROGRAM)

    def add_flags(self, parser: OptionParser) -> None:
        super().add_flags(parser)
        parser.set_defaults(
            load_size=parser.get_default("crop_size"), no_flip=True, serial_batches=True
        )
        for action in parser.actions(USED_IN_TRAINING_ONLY):
            action.help = f"{action.help} (no effect in testing)"
        for action in parser.actions(PICTURES):
            action.help = f"{action.help}; unless given, that of the run"

    def resolve(self, opt: argparse.Namespace, model: Any, dataset: Any) -> None:
        if "phase" not in self.given and not dataset.has_phase(opt, opt.phase):
            for phase in ("val", "train"):
                if dataset.has_phase(opt, phase):
                    print(f"{opt.dataroot} has no {opt.phase} pictures: using --phase {phase}")
                    opt.phase = phase
                    break
        super().resolve(opt, model, dataset)
        if not run_folder(opt).is_dir():
            runs = ", ".join(runs_in(Path(opt.checkpoints_dir))) or "no runs"
            raise UserError(
                f"--name {opt.name}: there is no run {run_folder(opt)}; {opt.checkpoints_dir} has "
                f"{runs}"
            )
        given = self.given
        if hasattr(opt, "model_suffix") and "model_suffix" not in given:
            opt.model_suffix, opt.direction = self.choose_generator(opt)
            if opt.model_suffix:
                given = given - {"direction"}  # it has chosen the generator
        saved, source = self.find_run(opt, model)
        if "model" not in given and "model" in saved and dataset.looks_paired(opt):
            print(
                f"{opt.dataroot} has folders of inputs and of targets: --model {opt.model} makes a "
                f"result of every picture in them; --model {saved['model']} tests as the run was "
                "trained"
            )
        restore(opt, given, GENERATOR + PICTURES, saved, source, self.parser)
        if "load_size" not in self.given:
            opt.load_size = opt.crop_size
        if not opt.preprocess.endswith("crop"):
            restore(opt, self.given, ["load_size"], saved, source, self.parser)

    def check(self, opt: argparse.Namespace) -> None:
        super().check(opt)
        pattern = opt.output_name
        if pattern is not None:
            if "{stem}" not in pattern:
                raise UserError(
                    f"--output_name {pattern!r} lacks {{stem}}, the name of the input: all results "
                    "would have one name"
                )
            name = filled_name(pattern, stem="picture", label="fake_B", name="run", epoch="latest")
            if name != os.path.basename(name) or "\\" in name or name.strip(" .") != name:
                raise UserError(f"--output_name {pattern!r} makes {name!r}, which is no file name")

    def save(self, opt: argparse.Namespace) -> None:
        """Not an error if the run's folder is read-only: it may belong to somebody else."""
        try:
            super().save(opt)
        except UserError as error:
            print(f"test_opt.txt is not saved: {error}")

    def facts(self, opt: argparse.Namespace, dataset: Any) -> dict[str, Any]:
        """Those that the run was trained on, as far as it has saved them."""
        found = saved_options(run_folder(opt))
        saved = {name: found[0][name] for name in FACTS if found and found[0].get(name)}
        return {**super().facts(opt, dataset), "two_folders": False, **saved}

    def choose_generator(self, opt: argparse.Namespace) -> tuple[str, str]:
        """--model_suffix and --direction for a run that may have two generators.

        With two, the suffix is _A, unless the other direction is given. Beside a suffix,
        --direction is that of the training, which is G_A's.
        """
        files = {file.name.partition("_net_")[2] for file in run_folder(opt).glob("*_net_G*")}
        if "G.pth" in files or "G_A.pth" not in files:
            return "", opt.direction
        found = saved_options(run_folder(opt))
        trained = found[0].get("direction", "AtoB") if found else "AtoB"
        suffix = "_B" if "direction" in self.given and opt.direction != trained else "_A"
        print(f"{opt.name} has two generators: using --model_suffix {suffix}")
        return suffix, trained


def filled_name(pattern: str, **fields: str) -> str:
    """--output_name with its fields. Raises UserError if it asks for others."""
    try:
        return pattern.format(**fields)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        known = listed([f"{{{field}}}" for field in fields])
        raise UserError(f"--output_name {pattern!r}: it may have {known} ({error})") from error
