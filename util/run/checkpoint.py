"""Checkpoints on disk, which let a run resume as if nothing had happened.

A checkpoint LABEL (latest, best, an epoch number, or iter_N) is one set of files:

    LABEL_net_NAME.pth    the bare state_dict of a network, in the field's keys
    LABEL_state.pth       everything else, and the SHA-256 of each network file

They are written to LABEL_....tmp, flushed to disk and renamed, the state last. Whenever a process
is killed, either the old files are still whole, or all new files are complete under one of their
two names, and `recover` finishes the renaming.

A state is larger than the networks. Once newer files are whole, a number that is not the newest,
and any iter_N, loses its state and keeps its weights.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from util import distributed
from util.errors import UserError, first_line
from util.run.labels import (
    available,
    last_good,
    prune,
    state_path,
    stateless,
    weights_only,
    weights_path,
    with_state,
    with_weights,
)

FORMAT = 4
READABLE = (2, 3, FORMAT)  # older states lack some parts, which then begin afresh

# Errors from a state whose data is not of the expected kind.
WRONG_CONTENT = (
    *(LookupError, ValueError, TypeError),
    *(AttributeError, RuntimeError, ArithmeticError),
)


class UnsafeFile(UserError):
    """A checkpoint that holds code."""


class Stateful(Protocol):
    """Anything that can be a part of a checkpoint."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: checkpoints_dir/name.
        networks: by name; each has its own file.
        shared: parts by name that are the same in all processes.
        options: the run's flags, kept in the state file for the record.
        keep: how many numbered checkpoints to keep; 0 keeps all.
        keep_states: how many of them, besides the newest, keep their state as well as weights.
        per_process: parts by name that differ between processes.
        averages: further networks, which may be missing in a checkpoint to resume from.
        may_be_new: those of `networks` that may be missing too; `load_networks` of `resume` knows.
    """

    def __init__(
        self,
        folder: Path,
        networks: Mapping[str, nn.Module],
        shared: Mapping[str, Stateful],
        options: Mapping[str, Any],
        *,
        keep: int = 0,
        keep_states: int = 0,
        per_process: Mapping[str, Stateful] | None = None,
        averages: Mapping[str, nn.Module] | None = None,
        may_be_new: Collection[str] = (),
    ):
        self.folder, self.networks, self.averages = folder, networks, averages or {}
        self.shared, self.per_process = shared, per_process or {}
        self.options, self.keep, self.keep_states = dict(options), keep, keep_states
        self.may_be_new = frozenset(may_be_new)
        self._saved_s = time.monotonic()

    def save(self, *labels: str) -> None:
        """Write the current state under each label: serialised once, then linked or copied.

        All processes must call this; the main one writes. Raises UserError if the disk is full or
        not writable; older checkpoints stay whole.
        """
        # `latest` comes last: a run killed before that resumes from the old one, and saves again.
        first, *others = sorted(labels, key=lambda label: label == "latest")
        own = {name: part.state_dict() for name, part in self.per_process.items()}
        processes = distributed.gather(own)
        self._saved_s = time.monotonic()
        if not distributed.is_main():
            return
        try:
            names = self._write(first, processes)
            rename_all(self.folder, first, names)
            for label in others:
                self._link(first, label, names)
                rename_all(self.folder, label, names)
            epoch = max((int(label) for label in labels if label.isdigit()), default=0)
            self._prune(epoch, *labels)
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into the latter
            raise UserError(
                f"{self.folder}: checkpoint {first} cannot be written: {root_of(error)}; "
                f"free some space or fix the permissions; {last_good(self.folder)}"
            ) from error

    def is_due(self, every_minutes: float) -> bool:
        """Whether that many minutes have passed since the last save or the start; never for 0."""
        return 0 < every_minutes <= (time.monotonic() - self._saved_s) / 60

    def _write(self, label: str, processes: list[dict[str, Any]]) -> list[str]:
        """Write all temporary files of a label, or none; returns the names of the networks."""
        networks = {**self.networks, **self.averages}
        paths = {name: weights_path(self.folder, label, name) for name in networks}
        try:
            digests = {}
            for name, net in networks.items():
                weights = {key: value.detach().cpu() for key, value in net.state_dict().items()}
                write_flushed(weights, temporary_path(paths[name]))
                digests[name] = digest_of(temporary_path(paths[name]))
            state = {name: part.state_dict() for name, part in self.shared.items()}
            state |= {"format": FORMAT, "options": self.options, "digests": digests}
            state["processes"] = processes
            write_flushed(state, temporary_path(state_path(self.folder, label)))
        except BaseException:
            for path in [*paths.values(), state_path(self.folder, label)]:
                temporary_path(path).unlink(missing_ok=True)
            raise
        return list(digests)

    def _link(self, first: str, label: str, names: list[str]) -> None:
        """Give the files of one label the temporary names of another, the state last."""
        for name in names:
            link(weights_path(self.folder, first, name), weights_path(self.folder, label, name))
        link(state_path(self.folder, first), state_path(self.folder, label))

    def resume(
        self, label: str, load_networks: Callable[[str], None], *, tidies: bool = True
    ) -> str | None:
        """Restore networks and parts from a checkpoint; returns a line that says from which.

        If the files of the label do not belong together, uses the most advanced whole checkpoint.
        If there are only weights, no state, in the folder, loads them and returns None.

        Args:
            load_networks: loads the networks of a label, or raises UserError.
            tidies: whether to finish an interrupted save; without, no file is changed.

        Raises UserError if the label has weights but no state, and others have one.
        """
        if tidies:
            recover(self.folder)
        state, note = self._whole_state(label), ""
        labels = with_state(self.folder)
        weights = with_weights(self.folder)
        is_torn = label in labels
        # Killed in its first save, a run has another label but not yet the usual one.
        is_missing = label == "latest" and label not in weights and bool(labels)
        if state is None and (is_torn or is_missing):
            whole = [(other, s) for other in labels if (s := self._whole_state(other)) is not None]
            note = f"the files of checkpoint {label} do not belong together; "
            if is_missing:
                note = f"there is no checkpoint {label}; "
            if not whole:
                raise UserError(
                    f"{note}and there is no other whole one; {weights_only(self.folder)}"
                )
            label, state = max(whole, key=newest)
        elif state is None and labels and label in weights:
            raise UserError(stateless(self.folder, label))
        self.load_weights(label, load_networks)
        if state is None:
            return None
        try:
            processes = state["processes"]
            is_older = state["format"] < FORMAT
            for name, part in self.shared.items():
                if name in state or not is_older:
                    part.load_state_dict(state[name])
            for name, part in self.per_process.items():
                may_be_new = is_older or getattr(part, "may_be_new", False)
                if name in processes[0] or not may_be_new:
                    self._load_own(part, [process[name] for process in processes])
        except WRONG_CONTENT as error:
            raise UserError(
                f"{state_path(self.folder, label)} is not the state of this model "
                f"({first_line(error)}); pass the flags of the run that wrote it; "
                f"{weights_only(self.folder)}"
            ) from error
        if tidies and distributed.is_main():
            # The process that saved last may have been killed before it could do this.
            finished = state.get("clock", {}).get("epoch", 1) - 1
            self._prune(int(label) if label.isdigit() else finished, label)
        if len(processes) != distributed.size():
            note += (
                f"processes: {len(processes)} -> {distributed.size()}: accumulated gradients "
                "(--grad_accum) and the image pools of processes that are gone are dropped; "
                "new processes start with random states from --seed and empty image pools; "
            )
        return f"{note}resumed from checkpoint {label} in {self.folder}"

    def _prune(self, epoch: int, *labels: str) -> None:
        """Delete what is older than whole checkpoints: numbers up to `epoch`, and `labels`."""
        prune(self.folder, epoch, keep=self.keep, keep_states=self.keep_states)
        if "latest" in labels:  # no iter_N is newer
            for state in self.folder.glob("iter_*_state.pth"):
                state.unlink()

    def load_weights(self, label: str, load_networks: Callable[[str], None]) -> None:
        """Load the networks of a label, and the averages that it has, without any state."""
        load_networks(label)
        for name, net in self.averages.items():
            path = weights_path(self.folder, label, name)
            if path.is_file():
                net.load_state_dict(load_weights(path))
            else:
                print(f"--ema: {path} does not exist, so averaging starts now")

    def _load_own(self, part: Stateful, states: list[Any]) -> None:
        """Restore a part of this process; the number of processes may have changed."""
        if len(states) != distributed.size() and hasattr(part, "redistribute"):
            part.redistribute(states)
        elif distributed.rank() < len(states):
            part.load_state_dict(states[distributed.rank()])

    def _whole_state(self, label: str) -> dict[str, Any] | None:
        """The state of a label, or None if it is unreadable or its networks belong to another save.

        Raises UserError for files that hold code, or that have another format.
        """
        path = state_path(self.folder, label)
        try:
            state = load_file(path) if path.is_file() else None
        except UnsafeFile:
            raise
        except UserError:
            return None
        if not isinstance(state, dict) or not isinstance(state.get("format"), int):
            return None
        if state["format"] not in READABLE:
            raise UserError(
                f"{path} has format {state['format']}, but this version reads {FORMAT}; update "
                f"the program; {weights_only(self.folder)}"
            )
        digests = state.get("digests")
        if not isinstance(digests, dict):
            return None
        whole = set(digests) >= self.networks.keys() - self.may_be_new
        for name, digest in digests.items():
            weights = weights_path(self.folder, label, name)
            if digest_of(weights) != digest:
                whole = False
                refuse_unsafe(weights)
        return state if whole else None


def newest(checkpoint: tuple[str, dict[str, Any]]) -> tuple[int, int]:
    """A key that sorts (label, state) by progress; file times may be lost in a copied folder."""
    label, state = checkpoint
    images = state.get("clock", {}).get("total_images", 0)
    return images, int(label) if label.isdigit() else 0


def temporary_path(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def save_weights(net: nn.Module, path: Path) -> None:
    """Write a network's state_dict, on the CPU; `path` is never left half written."""
    weights = {key: value.detach().cpu() for key, value in net.state_dict().items()}
    try:
        write_flushed(weights, temporary_path(path))
        os.replace(temporary_path(path), path)
    except BaseException:
        temporary_path(path).unlink(missing_ok=True)
        raise


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state_dict in a file, on the CPU.

    Removes prefixes that a DataParallel or compile wrapper has added to the keys. Raises UserError
    for a missing or damaged file, or one that holds anything but tensors; never executes its code.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint{available(path)}")
    state = load_file(path)
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and is_plain(value) for key, value in state.items()
    ):
        raise UserError(f"{path} is not a bare state_dict of one network")
    for prefix in ("module.", "_orig_mod."):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def is_plain(value: Any) -> bool:
    """Whether a value is an ordinary dense tensor."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_nested
        and not value.is_meta
    )


def load_file(path: Path) -> Any:
    """Load a file of torch.save on the CPU; UserError if it is damaged or holds code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below replace torch's warnings
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with open(path, "rb") as file:
            is_pickle = file.read(1) == b"\x80"
        if not is_pickle and "Unsupported operand" in str(error):  # random bytes
            raise no_weights(path) from error
        raise UnsafeFile(
            f"{path} holds more than tensors and was not loaded, because it could run code; save a "
            "bare state_dict instead"
        ) from error
    except (PermissionError, MemoryError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    except Exception as error:  # on other files, torch's unpickler may raise any type
        raise no_weights(path) from error


def no_weights(path: Path) -> UserError:
    return UserError(f"{path} is damaged, or is not a file of PyTorch weights")


def refuse_unsafe(path: Path) -> None:
    """Raise UnsafeFile for a file that holds code; ignore all other problems with it."""
    try:
        load_file(path)
    except UnsafeFile:
        raise
    except UserError:
        return


def write_flushed(content: Any, path: Path) -> None:
    """torch.save to a file, and flush it to the disk."""
    with open(path, "w+b") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def digest_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal; '' if there is no such file."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def link(source: Path, target: Path) -> None:
    """Link a file to the temporary name of another; copy it if the disk has no links."""
    temporary_path(target).unlink(missing_ok=True)
    try:
        os.link(source, temporary_path(target))
    except OSError:
        shutil.copyfile(source, temporary_path(target))
        with open(temporary_path(target), "rb+") as file:
            os.fsync(file.fileno())


def rename_all(folder: Path, label: str, names: list[str]) -> None:
    """Give the temporary files of a label their final names, the state last."""
    for path in [weights_path(folder, label, n) for n in names] + [state_path(folder, label)]:
        if temporary_path(path).exists():
            os.replace(temporary_path(path), path)
    if os.name == "posix":  # makes the new names themselves survive a power cut
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def recover(folder: Path) -> None:
    """Finish or undo an interrupted save: rename complete new files, and delete incomplete ones."""
    for temporary in folder.glob("*_state.pth.tmp"):
        label = temporary.name.removesuffix("_state.pth.tmp")
        try:
            digests = load_file(temporary)["digests"]
        except (UserError, KeyError, TypeError):
            continue
        paths = {name: weights_path(folder, label, name) for name in digests}
        if all(
            digest in (digest_of(temporary_path(paths[name])), digest_of(paths[name]))
            for name, digest in digests.items()
        ):
            rename_all(folder, label, list(digests))
    for leftover in folder.glob("*.pth.tmp"):
        leftover.unlink()


def root_of(error: BaseException) -> str:
    """The system's own message, such as that the disk is full, which torch may hide."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return first_line(cause or error)


def remove_run(folder: Path) -> None:
    """Delete the checkpoints, logs and page that a run has written, and nothing else."""
    for pattern in (
        "*_net_*.pth*",
        "*_state.pth*",
        "loss_log.txt",
        "metrics.jsonl",
        "wandb_id.txt",
        "validation.*",
    ):
        for file in folder.glob(pattern):
            file.unlink()
    for part in ("web", "tensorboard"):
        shutil.rmtree(folder / part, ignore_errors=True)
