"""How a command line becomes the options of a run."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import string
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from options.checks import (
    PORTRAITS,
    check_dataroot,
    check_fit,
    check_names,
    check_replaced,
    check_sizes,
    has_weight_maps,
    require_dataroot,
)
from options.config import NO_CONFIG, Config, read_config
from options.flags import Section, program_of
from options.namespace import Options
from options.other_names import current_names, refusing
from options.parser import OptionParser
from options.restore import existing_name, refuse_another_model, run_folder, saved_options, typed
from options.settle import FACTS, PER_START, settle, usable
from util import __version__, distributed
from util.errors import UserError
from util.files import path_text, write_whole, writing
from util.registry import Registry, registry_of
from util.runtime import has_gpu


class Owner(NamedTuple):
    """Who has a flag: the program that alone has it, or '', and the plug-ins that add it."""

    program: str
    plugins: list[str]


class BaseOptions:
    """Builds the parser, lets the chosen model and dataset add their flags, parses and checks.

    Args:
        models, datasets: the registries that --model and --dataset_mode choose from; by default
            the program's own.

    `parse()` returns a namespace that nothing changes afterwards, so the printed options are the
    ones in use. Besides the flags it holds `isTrain`, `program_version`, and the model's
    `size_multiple` and `size_minimum`: which sides of pictures it accepts, in pixels; FACTS; and
    `weight_maps`: whether maps in PHASEW weigh its losses.

    Attributes, once parsed:
        given: names of the flags on the command line, and of those in --config.
        chosen: names of the flags that somebody has set, and of the options that differ from their
            defaults, as in a run that resumes.
        text: the options as printed.
    """

    sections: tuple[Section, ...]
    is_train: bool
    default_model: str
    script: str
    examples: tuple[str, ...] = (
        f"{PORTRAITS} --name retouch --model pix2pix",
        "./my_data --name my_run --model cycle_gan",
    )
    given: set[str]
    chosen: set[str]
    text: str = ""
    parser: OptionParser
    saved_name: str
    config: Config = NO_CONFIG
    not_from_runs: Collection[str] = PER_START  # what --config leaves out of a run's options

    def __init__(self, models: Registry | None = None, datasets: Registry | None = None):
        self.models = models or registry_of("models")
        self.datasets = datasets or registry_of("data")
        self.given = set()  # also in processes that another one parses for
        self.chosen = set()

    def add_flags(self, parser: OptionParser) -> None:
        """Add the program's own flags; --model and --dataset_mode list what is registered."""
        for section in self.sections:
            section.add_to(parser)
        model, dataset_mode = parser.actions(("model", "dataset_mode"))
        model.default = self.default_model
        model.help = f"{model.help} {', '.join(self.models.names())}"
        dataset_mode.choices = self.datasets.names()

    def parse(self, argv: list[str] | None = None) -> argparse.Namespace:
        """Parse, check and print the options of a command line (default: this process's).

        Writes no files (see `save`). Raises UserError for flags, values and combinations that
        cannot work.
        """
        argv, notes = current_names(sys.argv[1:] if argv is None else argv, self.owners)
        self.saved_name = ""
        with refusing(notes):
            self.config = self.config_of(argv)
            saved, source = self.earlier_options(argv) or ({}, None)
            self.parser, model, dataset, replaced = self._build_parser(argv, saved)
            self.check_config()
            opt, self.given = self.parser.parse(argv, Options())
        self.tell_config(opt, argv)
        for action, plugin in replaced:
            check_replaced(opt, self.parser, action, plugin)
        given_values = {flag: getattr(opt, flag) for flag in self.given}
        opt.isTrain, opt.program_version = self.is_train, __version__
        if counts_layers(opt, self.given):
            print(f"--netD basic with --n_layers_D {opt.n_layers_D}: using --netD n_layers")
            opt.netD = "n_layers"
        changes = []
        if source is not None:
            values = usable(saved, source, opt, self.given, self.parser)
            _, contradicted = settle(opt, self.given, values)
            changes = [f"{name} {v} -> {getattr(opt, name)}" for name, v in contradicted.items()]
        require_dataroot(opt, self.script, self.examples)
        self.resolve(opt, model, dataset)
        opt.size_multiple, opt.size_minimum = model.size_multiple(opt), model.size_minimum(opt)
        check_fit(opt, self.given, model, dataset)
        opt.weight_maps = has_weight_maps(opt, model, dataset)
        self.check(opt)
        vars(opt).update(self.facts(opt, dataset))
        defaults = {name: self.parser.get_default(name) for name in self.parser.dests()}
        saved_by_a_run = self.config.values.keys() if self.config.is_saved else set()
        self.chosen = self.given - saved_by_a_run
        self.chosen |= {n for n, value in defaults.items() if vars(opt)[n] != value}
        self.text = describe(opt, self.parser, given_values)
        self.tell(opt, changes)
        return opt

    def tell(self, opt: argparse.Namespace, changes: Sequence[str]) -> None:
        """Print the options, and what has changed in a run that resumes."""
        shows_all = opt.verbose or opt.dry_run
        print(*changes, self.text if shows_all else changed_only(self.text), sep="\n", flush=True)

    def config_of(self, argv: list[str]) -> Config:
        """The --config of a command line; UserError if its keys have other names here."""
        parser = OptionParser(add_help=False)
        parser.add_argument("--config", type=path_text, action="append", default=[])
        files = parser.parse_known_args(argv)[0].config
        if not files:
            return NO_CONFIG
        if len(files) > 1:
            raise UserError(f"--config is there {len(files)} times; pass one file, with all flags")
        config = read_config(Path(files[0]), self.not_from_runs)
        if not config.is_saved:
            words = [f"--{name}={value}" for name, value in config.values.items()]
            with config.naming(), refusing(current_names(words, self.owners)[1]):
                pass
        return config

    def check_config(self) -> None:
        """Refuse unknown flags in --config; those of the other program are named and left out.

        Of the saved options of a run, those that are no flags of this start are left out.
        """
        if self.config.is_saved:
            return
        unknown = self.config.values.keys() - self.parser.configured().keys()
        others = sorted(name for name in unknown if self.owner(f"--{name}").program)
        with self.config.naming():
            self.parser.refuse_unknown([f"--{name}" for name in sorted(unknown.difference(others))])
        if others:
            print(f"{self.config.file}: left out, not for {self.script}: {', '.join(others)}")

    def tell_config(self, opt: argparse.Namespace, argv: list[str]) -> None:
        """Print what --config changes, and what the command line says against it."""
        file, words = self.config.file, self.parser.config_words()
        if not self.config.values:
            return
        # At the end of the line, the file has the last word.
        said, _ = self.parser.parse_known_args([*argv, *words], Options())
        vars(said).update(self.parser.config_values())
        changed = []
        for name in dict.fromkeys(action.dest for action in self.parser.configured().values()):
            value, used = getattr(said, name), getattr(opt, name)
            if value != used:
                print(f"using --{name} {typed(used)}, although {file} says {typed(value)}")
            elif value != self.parser.get_default(name):
                changed.append(f"{name}={value}")
        if changed:
            print(f"from {file}: {', '.join(changed)}")
        defaults = self.parser.defaults()
        left_out = [
            f"{name}={value}"
            for name, value in self.config.left_out.items()
            if name in defaults and value != str(typed(defaults[name]))
        ]
        if left_out:
            print(f"{file}: left out, as it belongs to that start alone: {', '.join(left_out)}")

    def earlier_options(self, argv: list[str]) -> tuple[dict[str, Any], Path] | None:
        """The saved options of the run to resume, which flags on the line override, and their file.

        If there are any, sets `saved_name` to the run's name: with --suffix, restored values must
        not change it.
        """
        return None

    def resolve(self, opt: argparse.Namespace, model: Any, dataset: Any) -> None:
        """Settle what depends on other flags or on the disk."""
        if opt.seed is None:
            opt.seed = secrets.randbelow(2**31)
        if opt.netD == "pixel" and "n_layers_D" in self.given and self.is_train:
            print(f"--netD pixel has no layers to choose: ignoring --n_layers_D {opt.n_layers_D}")
        if opt.suffix:
            opt.name = self.saved_name or suffixed_name(opt)
        opt.name = existing_name(opt)
        self.choose_device(opt)

    def facts(self, opt: argparse.Namespace, dataset: Any) -> dict[str, Any]:
        """What the folders with the pictures tell; see FACTS."""
        return {**FACTS, **dataset.facts(opt)}

    def choose_device(self, opt: argparse.Namespace) -> None:
        """Set --device from --gpu_ids, or --gpu_ids from --device for model files that read it."""
        if "gpu_ids" not in self.given:
            on_gpu = opt.device.startswith("cuda") or (opt.device == "auto" and has_gpu())
            opt.gpu_ids = (int(opt.device.partition(":")[2] or 0),) if on_gpu else ()
            return
        ids = opt.gpu_ids
        device = f"cuda:{ids[0]}" if ids else "cpu"
        if "device" in self.given and opt.device != device:
            numbers = ",".join(map(str, ids)) or "-1"
            raise UserError(f"--device {opt.device} and --gpu_ids {numbers}: pass one of them")
        opt.device = device
        if ids and distributed.size() > 1:
            opt.device = "cuda"  # each process takes its own; see util.runtime.resolve_device
        elif len(ids) > 1:
            opt.gpu_ids = ids[:1]
            print(
                f"--gpu_ids {','.join(map(str, ids))}: one process uses one GPU, {device}; to use "
                f"all: torchrun --nproc_per_node={len(ids)} {os.path.basename(sys.argv[0])} ..."
            )

    def find_run(self, opt: argparse.Namespace, model: Any) -> tuple[dict[str, Any], Path]:
        """The run's saved options, or else what its weights tell, and their file."""
        known = saved_options(run_folder(opt))
        found = known or model.infer_architecture(opt)
        saved, source = found or ({}, run_folder(opt))
        if known:  # other programs and older versions have no such networks
            saved = {"residual": False, **saved}
        elif found and "residual" not in self.given:
            print(f"{source} has no options beside it: taken as trained without --residual")
        if "model" in self.given:
            refuse_another_model(opt, model, self.models, saved, source)
        return saved, source

    def check(self, opt: argparse.Namespace) -> None:
        """Refuse combinations that cannot work, before anything is written."""
        check_names(opt)
        check_dataroot(opt, self.given)
        check_sizes(opt)

    def save(self, opt: argparse.Namespace) -> None:
        """Save the printed options in the run's folder, as train_opt.txt or test_opt.txt."""
        folder = run_folder(opt)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        file = folder / ("train_opt.txt" if self.is_train else "test_opt.txt")
        write_whole(file, self.text + "\n")

    def owner(self, flag: str) -> Owner:
        """Who has a flag that this program lacks, with the --model and --dataset_mode given."""
        if program := program_of(flag):
            return Owner(program, [])
        for is_train in (self.is_train, not self.is_train):
            found = []
            for registry in (self.models, self.datasets):
                for name in registry.names():
                    parser = OptionParser()
                    parser.line = ()
                    self.add_flags(parser)
                    try:
                        registry.find(name).modify_commandline_options(parser, is_train)
                    except Exception:  # a file that is broken, or not for this program
                        continue
                    if flag[2:] in parser.dests():
                        found.append(f"{registry.flag} {name}")
            if found:
                program = "train.py" if is_train else "test.py"
                return Owner("" if is_train == self.is_train else program, found)
        return Owner("", [])

    def owners(self, flag: str) -> str:
        """Say which models and datasets add a flag, or which program has it; '' if none does."""
        program, plugins = self.owner(flag)
        parts = [text for text in (", ".join(plugins), program) if text]
        return f": it belongs to {' of '.join(parts)}" if parts else ""

    def _build_parser(
        self, argv: list[str], saved: dict[str, Any]
    ) -> tuple[OptionParser, Any, Any, list[tuple[argparse.Action, str]]]:
        """The parser for a command line, its model and dataset, and our flags that they redefine.

        Each redefined flag is returned as our own definition, and the plug-in's name and file.
        """
        parser = OptionParser(
            description=(sys.modules["__main__"].__doc__ or "").split("\n")[0],
            usage="%(prog)s --dataroot DIR [flags]",
            epilog="On/off flags work without a value or with on/off, true/false, yes/no, 1/0. "
            "With --model or --dataset_mode, --help also shows what these add and change.",
        )
        parser.owners, parser.line, parser.config = self.owners, argv, self.config
        self.add_flags(parser)
        chosen = OptionParser(add_help=False)
        chosen.config = self.config
        chosen.add_argument("--model", default=self.default_model)
        chosen.add_argument("--dataset_mode")
        names, _ = chosen.parse_known_args(argv)
        settle(names, chosen.given(argv), {n: str(saved[n]) for n in vars(names) if n in saved})

        model = self._find(self.models, "model", names.model)
        replaced = self._add_plugin_flags(parser, f"--model {names.model}", model)
        if names.dataset_mode is None:  # only now: the model may change the default
            names.dataset_mode = parser.get_default("dataset_mode")
        dataset = self._find(self.datasets, "dataset_mode", names.dataset_mode)
        replaced += self._add_plugin_flags(parser, f"--dataset_mode {names.dataset_mode}", dataset)
        return parser, model, dataset, replaced

    def _find(self, registry: Registry, flag: str, name: str) -> Any:
        """The class of that name; an error names --config, if the name is from there."""
        if self.config.values.get(flag) == name:
            with self.config.naming():
                return registry.find(name)
        return registry.find(name)

    def _add_plugin_flags(
        self, parser: OptionParser, title: str, plugin: Any
    ) -> list[tuple[argparse.Action, str]]:
        before = parser.defaults()
        own = parser.actions(before)
        section = parser.begin_section(f"Added by {title}")
        plugin.modify_commandline_options(parser, self.is_train)
        changed = [f"{k}={v}" for k, v in parser.defaults().items() if before.get(k, v) != v]
        if changed:
            section.description = f"{title} changes these defaults: {', '.join(changed)}"
        kept = parser.actions(before)
        file = sys.modules[plugin.__module__].__file__
        return [(action, f"{title}: {file}") for action in own if action not in kept]


def counts_layers(opt: argparse.Namespace, given: set[str]) -> bool:
    """Whether --netD basic means n_layers, because --n_layers_D is given and is not 3."""
    return opt.netD == "basic" and "n_layers_D" in given and opt.n_layers_D != 3


def suffixed_name(opt: argparse.Namespace) -> str:
    """--name and --suffix, joined by one underscore even if the suffix begins with one."""
    return f"{opt.name}_{expand_suffix(opt).removeprefix('_')}"


def expand_suffix(opt: argparse.Namespace) -> str:
    """--suffix with {flag} replaced by values; only plain flag names are looked up."""
    try:
        for _, field, form, _ in string.Formatter().parse(opt.suffix):
            if field is not None and field not in vars(opt):
                raise UserError(f"--suffix {opt.suffix!r}: {{{field}}} is not the name of a flag")
            if re.search(r"\d{3}|{", form or ""):  # could fill the memory
                raise UserError(
                    f"--suffix {opt.suffix!r}: {form!r} may ask for at most 99 places, as in "
                    "{lr:.0e}"
                )
        return opt.suffix.format(**vars(opt))
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"--suffix {opt.suffix!r} is not a format string: {error}") from error


def changed_only(text: str) -> str:
    """The lines of `describe` with options that differ from their defaults."""
    head, *lines, end = text.splitlines()
    changed = [line for line in lines if "\t[default: " in line]
    rest = f"{'(the others)':>25}: as --verbose shows"
    return "\n".join([head, *changed, rest, end])


def describe(opt: argparse.Namespace, parser: OptionParser, typed: dict[str, Any]) -> str:
    """The options as text, one per line, with the default where the value differs from it.

    `typed` holds the values that were given; they are shown where another value is used.
    """
    lines = ["----------------- Options ---------------"]
    for name, value in sorted(vars(opt).items()):
        default = parser.get_default(name) if name in parser.dests() else value
        given = f", given: {typed[name]}" if typed.get(name, value) != value else ""
        note = f"\t[default: {default}{given}]" if value != default or given else ""
        lines.append(f"{name:>25}: {value}{note}")
    lines.append("----------------- End -------------------")
    return "\n".join(lines)
