"""--config: values of flags in a file, as YAML or JSON, or the saved options of a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from util.errors import UserError
from util.packages import needed


class Config(NamedTuple):
    """Values of flags, as texts that the flags' own types convert.

    Attributes:
        values: by name of the flag; a list has several, which may be lists in what a run has saved.
        is_saved: whether a run has saved them, and with them the defaults that nobody chose.
        left_out: what a run has saved of its own start, and does not count for others.
    """

    file: Path
    values: dict[str, Any]
    is_saved: bool
    left_out: Mapping[str, Any] = MappingProxyType({})

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Name the file in a UserError that is raised inside."""
        try:
            yield
        except UserError as error:
            raise UserError(f"--config {self.file}: {error}") from error


NO_CONFIG = Config(Path(), {}, False)


def read_config(file: Path, not_from_runs: Collection[str]) -> Config:
    """Read a file of flags; UserError if it cannot be read or is anything else.

    Args:
        not_from_runs: names to leave out of what a run has saved.
    """
    config = Config(file, {}, False)
    with config.naming():
        values = flags_in(read(file), EXAMPLES[file.suffix.lower()])
        if "isTrain" in values:  # no flag, but in all options that a run saves
            saved = {name: value for name, value in values.items() if value is not None}
            left_out = {name: saved.pop(name) for name in sorted(saved.keys() & not_from_runs)}
            return Config(file, saved, True, left_out)
        if "config" in values:
            raise UserError("a file cannot name another; copy the lines of that one")
        for name, value in values.items():
            if value is None:
                raise UserError(f"{name} has no value; write one, or remove {name}")
    return Config(file, values, False)


def read(file: Path) -> Any:
    """What a file holds: mappings as tuples of pairs, lists, texts, and None for JSON's null."""
    form = FORMS.get(file.suffix.lower())
    if form is None:
        raise UserError(
            f"the file must end in {', '.join(FORMS)}; of a run, pass its train_options.json"
        )
    try:
        return form(file.read_bytes())
    except OSError as error:
        raise UserError(f"{error.strerror}; check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if form is from_json else "YAML"
        raise UserError(f"not {kind} in UTF-8 ({error}); mend the file") from error


def from_json(content: bytes) -> Any:
    """Parse JSON; numbers stay as they are written."""
    return json.loads(
        content, object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=str
    )


def from_yaml(content: bytes) -> Any:
    """Parse YAML; every value stays as it is written, so that `off` is no boolean.

    Of nested collections only the outermost two levels are read: references could make the others
    endless.
    """
    yaml = needed("yaml", "YAML", "write the file as JSON")

    def plain(node: Any) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [v.value if isinstance(v, yaml.ScalarNode) else () for v in node.value]
        return node.value if isinstance(node, yaml.ScalarNode) else ()

    try:
        root = yaml.compose(content, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if not isinstance(root, yaml.MappingNode):
        return None
    return tuple((plain(key), plain(value)) for key, value in root.value)


FORMS: dict[str, Callable[[bytes], Any]] = {
    ".yaml": from_yaml,
    ".yml": from_yaml,
    ".json": from_json,
}
EXAMPLES = {ending: "one a line, as in lr: 0.0002" for ending in FORMS}
EXAMPLES[".json"] = 'them as in {"lr": 0.0002, "n_epochs": 50}'


def flags_in(pairs: Any, example: str) -> dict[str, Any]:
    """The values by name of the flag, as texts, lists of texts, or None; UserError for others."""
    if not isinstance(pairs, tuple) or not pairs:
        raise UserError(f"the file has no flags; write {example}")
    is_saved = any(key == "isTrain" for key, _ in pairs)
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = key.lstrip("-") if isinstance(key, str) else ""
        text = as_texts(value, depth=9 if is_saved else 1)
        if not name or (text is None and value is not None):
            raise UserError(
                f"{name or key} is neither a value nor a list of values; write all flags side by "
                "side, each with its value"
            )
        if name in values:
            raise UserError(f"{name} is there twice; remove one")
        values[name] = text
    return values


def as_texts(value: Any, depth: int) -> Any:
    """A value, or lists of values of so many levels, as texts; None if it is anything else."""
    if not isinstance(value, list):
        return as_text(value)
    texts = [as_texts(each, depth - 1) for each in value]
    return None if None in texts or not depth else texts


def as_text(value: Any) -> str | None:
    """A value as it is typed; None if it is none."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else None
