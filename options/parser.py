"""An argparse parser with on/off flags that take values, and errors that say what to do."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, NoReturn

from options.config import NO_CONFIG, Config, as_text
from util import __version__
from util.errors import UserError, did_you_mean

# As word processors and messengers write them.
LONG_DASHES = "\u2012\u2013\u2014\u2015\u2212"
ON, OFF = ("true", "on", "yes", "1"), ("false", "off", "no", "0")


class OptionParser(argparse.ArgumentParser):
    """ArgumentParser with sections, on/off flags and one-line errors.

    Flags with action="store_true", including those of third-party models and datasets, work
    without a value or with true/false, on/off, yes/no, 1/0. Flags go to the section begun last.
    A flag that is added again replaces the earlier one.

    Attributes:
        line: the command line that models and datasets may ask for; by default the process's.
        config: values that count for all flags that a command line does not give.
        owners: says which models and datasets have an unknown flag, for its error; '' if none.
    """

    _section: Any = None
    line: Sequence[str] | None = None
    config: Config = NO_CONFIG
    owners: Callable[[str], str] = staticmethod(lambda flag: "")

    def __init__(self, **kwargs: Any):
        super().__init__(
            allow_abbrev=False, formatter_class=HelpFormatter, conflict_handler="resolve", **kwargs
        )
        # A value may begin with a minus, as in --range_A -1000,2000. No flag begins like these.
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")
        if self.add_help:
            self.add_argument(
                "--version",
                action="version",
                dest=argparse.SUPPRESS,  # it has no value to save
                version=f"%(prog)s {__version__}",
                help="show the program's version and exit",
            )

    def begin_section(self, title: str) -> argparse._ArgumentGroup:
        """Group the flags that follow under a title in --help."""
        self._section = self.add_argument_group(title)
        return self._section

    def add_argument(self, *names: Any, **kwargs: Any) -> argparse.Action:
        if kwargs.get("action") == "store_true":
            kwargs.pop("action")
            kwargs["type"] = on_off
            kwargs.setdefault("default", False)
        if kwargs.get("type") in SWITCHES:
            kwargs.update(nargs="?", const=True, metavar=SWITCHES[kwargs["type"]])
        if kwargs.get("type") is float:  # no nan or inf, in third-party flags either
            is_weight = str(names[0]).startswith("--lambda_") or names[0] == "--r1"
            kwargs["type"] = number(0) if is_weight else number()
            if is_weight and kwargs.get("help"):
                kwargs["help"] += "; at least 0"
        add = super().add_argument if self._section is None else self._section.add_argument
        return add(*names, **kwargs)

    def dests(self) -> list[str]:
        """The names of all options, without --help and --version."""
        return [a.dest for a in self._actions if a.dest not in ("help", argparse.SUPPRESS)]

    def actions(self, dests: Collection[str]) -> list[argparse.Action]:
        """The definitions of these options."""
        return [action for action in self._actions if action.dest in dests]

    def configured(self) -> dict[str, argparse.Action]:
        """The definitions of the options that `config` sets, by their names in it.

        Those are the names of flags, with or without dashes or with _ for -, or of the options that
        a run has saved.
        """
        if not self.config.values:  # as of most command lines, which are parsed several times
            return {}
        named: dict[str, argparse.Action] = {}
        for action in self.actions(self.dests()):
            flags = [flag.lstrip("-") for flag in action.option_strings]
            flags += [flag.replace("-", "_") for flag in flags]
            named |= dict.fromkeys([action.dest] if self.config.is_saved else flags, action)
        return {name: named[name] for name in self.config.values if name in named}

    def config_words(self) -> list[str]:
        """The values of `config` as a command line, but for those in `config_values`."""
        words = []
        for name, action in self.configured().items():
            if not self._is_set(action):
                flag, value = action.option_strings[-1], self.config.values[name]
                if isinstance(value, list) and not takes_one(action):
                    words += [flag, *value]
                else:
                    words.append(f"{flag}={','.join(value) if isinstance(value, list) else value}")
        return words

    def config_values(self) -> dict[str, Any]:
        """By option, the values of `config` that stand for no word, or for several, on a line."""
        values = {}
        for name, action in self.configured().items():
            if self._is_set(action):
                with self.config.naming():
                    values[action.dest] = self._config_value(name, action)
        return values

    def _is_set(self, action: argparse.Action) -> bool:
        """Whether a value of `config` is set; others are parsed, with all that argparse checks."""
        several_saved = self.config.is_saved and not takes_one(action)  # may be none at all
        return action.nargs == 0 or repeats(action) or several_saved

    def _config_value(self, name: str, action: argparse.Action) -> Any:
        value, flag = self.config.values[name], action.option_strings[0]
        if action.nargs != 0:
            return self.checked_by(action, value if isinstance(value, list) else [value], flag)
        text = str(value)
        try:
            if isinstance(action, argparse._CountAction):
                return whole(0)(text)
            if isinstance(action, argparse.BooleanOptionalAction):
                return on_off(text) != (name.startswith(("no-", "no_")) and name != action.dest)
            const = as_text(action.const) or str(action.const)
            is_there = text == const if self.config.is_saved else on_off(text)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{flag}: {error}") from error
        return action.const if is_there else action.default

    def defaults(self) -> dict[str, Any]:
        return {dest: self.get_default(dest) for dest in self.dests()}

    def parse(
        self, argv: list[str], into: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, set[str]]:
        """The options, set on `into` if given, and the names of those on the command line."""
        opt = self.parse_args(argv, into)
        return opt, self.given(argv)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, with errors that say what to type."""
        argv = sys.argv[1:] if args is None else args
        for word in argv:  # one that is taken for a value would be missed as a flag
            flag = f"--{word.lstrip(LONG_DASHES + '-')}"
            if word[:1] in LONG_DASHES and flag.partition("=")[0] in self._option_string_actions:
                self.error(f"{word!r} begins with a long dash: type {flag}")
        opt, unknown = self.parse_known_args(argv, namespace)
        self.refuse_unknown([w.partition("=")[0] for w in unknown if re.match(r"-(?!\d)", w)])
        if unknown:
            self.error(f"{unknown[0]!r} {misplaced(unknown[0], argv)}")
        return opt

    def refuse_unknown(self, flags: Sequence[str]) -> None:
        """Say of all unknown flags whose they are, or what may be meant."""
        known = [s for a in self._actions for s in a.option_strings]
        hints = (self.owners(flag) or did_you_mean(flag, known) for flag in flags)
        told = [f"unknown flag {flag}{hint}" for flag, hint in zip(flags, hints, strict=True)]
        if told:
            self.error(f"{'; '.join(told)}; see --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, above the values of `config`; without `args`, of the `line`, if any."""
        if args is None and self.line is not None:
            # For models that ask what was typed; --help would end the program before all flags
            # are added.
            args = [word for word in self.line if word not in ("-h", "--help", "--version")]
        words, values = self.config_words(), self.config_values()
        if not (words or values):
            return self._parse_words(args, namespace)
        try:
            opt, unknown = self._parse_words([*words, *args], namespace)
        except UserError:
            with self.config.naming():
                self._parse_words(words)
            raise
        typed = {word.partition("=")[0] for word in args}
        for action in self.actions(values):
            if typed.isdisjoint(action.option_strings):
                setattr(opt, action.dest, values[action.dest])
        return opt, unknown

    def _parse_words(self, args: Any, namespace: Any = None) -> tuple[Any, list[str]]:
        opt, unknown = super().parse_known_args(args, namespace)
        for action in filter(takes_one, self.actions(self.dests())):
            value = getattr(opt, action.dest, None)
            each = value if repeats(action) and value is not None else [value]
            if any(type(one) is list for one in each):  # before Python 3.13, of --flag=--
                self.error(f"--{action.dest} expects one value, not --")
        return opt, unknown

    def given(self, argv: list[str]) -> set[str]:
        """The names of the options given on a command line."""
        untouched = Untouched()
        opt, _ = self.parse_known_args(
            argv, argparse.Namespace(**dict.fromkeys(self.dests(), untouched))
        )
        return {dest for dest in self.dests() if getattr(opt, dest, untouched) is not untouched}

    def checked(self, dest: str, value: Any, source: object) -> Any:
        """Convert a saved value as if it had been typed; UserError if it is not allowed."""
        return self.checked_by(self.actions([dest])[0], value, source)

    def checked_by(self, action: argparse.Action, value: Any, source: object) -> Any:
        """`checked`, for the definition of an option, which may belong to another parser."""
        if (value is None and action.default is None) or action.nargs == 0:
            return value
        convert = action.type if callable(action.type) else str

        def converted(value: Any) -> Any:
            if isinstance(value, list) and (repeats(action) or not takes_one(action)):
                return [converted(each) for each in value]
            one = convert(str(value))
            self._check_value(action, one)
            return one

        try:
            return converted(value)
        except (argparse.ArgumentTypeError, argparse.ArgumentError, ValueError) as error:
            raise UserError(
                f"{source}: {action.dest}: {getattr(error, 'message', error)}"
            ) from error

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument ").replace(": expected", " expects", 1))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(c) for c in action.choices]
            raise argparse.ArgumentError(
                action,
                f"{value!r} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}",
            )


class Untouched(list):
    """In place of a value that a flag may replace, append to, or count up: a copy is none."""

    def __add__(self, other: Any) -> Any:
        return other


def takes_one(action: argparse.Action) -> bool:
    """Whether a flag takes one value, or may, rather than several or none."""
    return action.nargs in (None, "?")


def repeats(action: argparse.Action) -> bool:
    """Whether it matters how often a flag is there."""
    kinds = argparse._AppendAction | argparse._ExtendAction | argparse._CountAction
    return isinstance(action, kinds)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except those that say nothing: off, empty, random or required."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == "":
            return action.help
        return super()._get_help_string(action)


class RawHelpFormatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The same, and the description keeps its lines."""


def misplaced(word: str, line: Sequence[str]) -> str:
    """Why a word of a command line is not taken, and what to type."""
    if word[:1] in LONG_DASHES:
        return f"begins with a long dash: type --{word.lstrip(LONG_DASHES + '-')}"
    before = line[line.index(word) - 1] if word in line[1:] else "--"
    value = before.partition("=")[2] if before.startswith("-") else before
    if value:
        return f'belongs to no flag; a value with spaces needs quotes, as in "{value} {word}"'
    return f"belongs to no flag; values follow flags, as in --name {word}"


def on_off(text: str) -> bool:
    """Convert true/false, on/off, yes/no or 1/0, in any letter case."""
    if text.lower() not in ON + OFF:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither on nor off (true/false, on/off, yes/no, 1/0)"
        )
    return text.lower() in ON


def on_off_auto(text: str) -> bool | str:
    """Convert what `on_off` takes, or auto."""
    if text.lower() == "auto":
        return "auto"
    try:
        return on_off(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of on, off, auto") from None


SWITCHES = {on_off: "on|off", on_off_auto: "on|off|auto"}  # types of flags that need no value


def whole(at_least: int, at_most: int = 2**31 - 1) -> Callable[[str], int]:
    """A type for whole numbers between bounds."""
    bounds = f"of at least {at_least}"
    if at_most != 2**31 - 1:
        bounds += f" and at most {at_most}"

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not at_least <= value <= at_most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
        return value

    return convert


def number(at_least: float = -math.inf, *, above: float = -math.inf, below: float = math.inf):
    """A type for finite numbers x with at_least <= x, above < x < below."""
    bounds = [
        text
        for bound, text in (
            (at_least, f"a number of at least {at_least:g}"),
            (above, f"a number above {above:g}"),
            (below, f"below {below:g}"),
        )
        if math.isfinite(bound)
    ]

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= at_least and above < value < below):
            allowed = " and ".join(["a finite number", *bounds][bool(bounds) :])
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
        return value

    return convert


def whole_or_auto(text: str) -> int | str:
    """A whole number, or auto."""
    if text == "auto":
        return text
    try:
        return whole(0)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor auto") from None


def count_or_inf(text: str) -> float:
    """A whole number of at least 1, or inf for no limit."""
    if text.lower() in ("inf", "infinity"):
        return math.inf
    try:
        return whole(1)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a whole number of at least 1 nor inf"
        ) from None


def device_name(text: str) -> str:
    """auto, cpu, cuda, cuda:N or mps."""
    if text in ("auto", "cpu", "cuda", "mps") or re.fullmatch(r"cuda:[0-9]+", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not one of auto, cpu, cuda, cuda:N, mps")


class ValueRange(NamedTuple):
    """The values of black and white; its text is what was typed."""

    low: float
    high: float

    def __str__(self) -> str:
        return ",".join(f"{value:.15g}" for value in self)


def value_range(text: str) -> ValueRange:
    """LOW,HIGH: two finite numbers, of which the second is larger."""
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not LOW,HIGH: two numbers, such as 0,4095, of which the second is larger"
        )
    return ValueRange(low, high)


def gpu_ids(text: str) -> tuple[int, ...]:
    """GPU numbers separated by commas, or -1 for none."""
    if text != "-1" and not re.fullmatch(r"\d{1,4}(,\d{1,4})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither -1 nor a list of GPUs such as 0,1")
    return () if text == "-1" else tuple(int(number) for number in text.split(","))
