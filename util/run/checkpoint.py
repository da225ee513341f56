"""Checkpoints on disk: what a run needs to go on as if nothing had happened.

A checkpoint LABEL (latest, an epoch number, or iter_N) is one unit of files:

    LABEL_net_NAME.pth    bare state_dict of a network, in the field's keys
    LABEL_state.pth       all else, and the SHA-256 of each network file

They are written to LABEL_....tmp, flushed to disk, and renamed, the state last. Whatever the moment
a process is killed at, either the old files are still whole, or the new ones are complete under
one name or the other and `recover` finishes the renaming.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from util import distributed
from util.errors import UserError, first_line

FORMAT = 2

# What a state leads to that holds data of another kind than expected.
WRONG_CONTENT = (
    *(LookupError, ValueError, TypeError),
    *(AttributeError, RuntimeError, ArithmeticError),
)


class UnsafeFile(UserError):
    """A checkpoint that holds more than data."""


class Stateful(Protocol):
    """Anything that can join a checkpoint."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: checkpoints_dir/name.
        networks: by name; each has a file of its own.
        shared: parts by name that are the same in all processes.
        options: flags of the run, kept in the state file for the record.
        keep: how many numbered checkpoints to keep; 0: all.
        per_process: parts by name of which each process has its own.
        averages: further networks, which a checkpoint to go on from may lack.
    """

    def __init__(
        self,
        folder: Path,
        networks: Mapping[str, nn.Module],
        shared: Mapping[str, Stateful],
        options: Mapping[str, Any],
        *,
        keep: int = 0,
        per_process: Mapping[str, Stateful] | None = None,
        averages: Mapping[str, nn.Module] | None = None,
    ):
        self.folder, self.networks, self.averages = folder, networks, averages or {}
        self.shared, self.per_process = shared, per_process or {}
        self.options, self.keep = dict(options), keep
        self._saved_s = time.monotonic()

    def save(self, *labels: str) -> None:
        """Write the present state under each label; serialised once, then linked or copied.

        All processes call this, and the main one writes. Raises UserError where the disk is full or
        cannot be written; older checkpoints stay whole.
        """
        # `latest` last: a run that is cut in between goes on from before, and makes the rest again.
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
            self._prune(max((int(label) for label in labels if label.isdigit()), default=0))
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into the latter
            raise UserError(
                f"{self.folder}: checkpoint {first} cannot be written: {root_of(error)}; "
                f"make room or mend the rights; {last_good(self.folder)}"
            ) from error

    def is_due(self, every_minutes: float) -> bool:
        """Whether so many minutes, if above 0, have passed since the last save or the start."""
        return 0 < every_minutes <= (time.monotonic() - self._saved_s) / 60

    def _write(self, label: str, processes: list[dict[str, Any]]) -> list[str]:
        """Write the temporary files of a label, or none; returns the names of the networks."""
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
        """Give the files of one label temporary names of another, the state last."""
        for name in names:
            link(weights_path(self.folder, first, name), weights_path(self.folder, label, name))
        link(state_path(self.folder, first), state_path(self.folder, label))

    def resume(self, label: str, load_networks: Callable[[str], None]) -> str | None:
        """Put networks and parts in the state of a checkpoint; returns a line that says which.

        If the files of the label do not belong together, the last whole checkpoint is taken.
        Returns None, with weights alone loaded, where no state belongs to those of the label.
        `load_networks` loads the networks of a label, or raises UserError.
        """
        recover(self.folder)
        state, note = self._whole_state(label), ""
        if state is None and state_path(self.folder, label).is_file():
            labels = [f.name.removesuffix("_state.pth") for f in self.folder.glob("*_state.pth")]
            whole = [(other, s) for other in labels if (s := self._whole_state(other)) is not None]
            note = f"the files of checkpoint {label} do not belong together; "
            if not whole:
                raise UserError(
                    f"{note}and there is no other whole one; to go on from its weights alone, "
                    f"remove {state_path(self.folder, label)}"
                )
            label, state = max(whole, key=newest)
        load_networks(label)
        self._load_averages(label)
        if state is None:
            return None
        try:
            for name, part in self.shared.items():
                part.load_state_dict(state[name])
            processes = state["processes"]
            for name, part in self.per_process.items():
                self._load_own(part, [process[name] for process in processes])
        except WRONG_CONTENT as error:
            raise UserError(
                f"{state_path(self.folder, label)} is not the state of this model "
                f"({first_line(error)}); pass the flags of the run that wrote it, or remove it to "
                "go on from the weights alone"
            ) from error
        if distributed.is_main():
            # A process that was killed before it could may have been the last to save.
            finished = state.get("clock", {}).get("epoch", 1) - 1
            self._prune(int(label) if label.isdigit() else finished)
        if len(processes) != distributed.size():
            note += (
                f"processes: {len(processes)} -> {distributed.size()}: gradients that were not "
                "used yet (--grad_accum) and image pools of processes that are gone are left out, "
                "new processes begin with random states from --seed and empty pools; "
            )
        return f"{note}resumed from checkpoint {label} in {self.folder}"

    def _load_averages(self, label: str) -> None:
        for name, net in self.averages.items():
            path = weights_path(self.folder, label, name)
            if path.is_file():
                net.load_state_dict(load_weights(path))
            else:
                print(f"--ema: {path} is not there, so averages begin now")

    def _load_own(self, part: Stateful, states: list[Any]) -> None:
        """Restore a part of this process, which may be one of more or fewer than there were."""
        if len(states) != distributed.size() and hasattr(part, "redistribute"):
            part.redistribute(states)
        elif distributed.rank() < len(states):
            part.load_state_dict(states[distributed.rank()])

    def _whole_state(self, label: str) -> dict[str, Any] | None:
        """The state of a label, if it can be read and its networks are those it was saved with.

        Raises UserError for files that hold code, or that a later version has written.
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
        if state["format"] != FORMAT:
            raise UserError(
                f"{path} is of format {state['format']}, and this version reads {FORMAT}; update "
                "the program, or remove the file to go on from the weights alone"
            )
        digests = state.get("digests")
        if not isinstance(digests, dict):
            return None
        whole = set(digests) >= set(self.networks)
        for name, digest in digests.items():
            weights = weights_path(self.folder, label, name)
            if digest_of(weights) != digest:
                whole = False
                refuse_unsafe(weights)
        return state if whole else None

    def _prune(self, epoch: int) -> None:
        """Delete numbered checkpoints up to that of `epoch`, but for the last of them.

        Those beyond are of another course, where a run went back to an older checkpoint.
        """
        names = [f.name for f in self.folder.glob("*.pth")]
        numbers = {
            int(m[1]) for name in names if (m := re.match(r"(\d+)_(?:net_.*|state)\.pth", name))
        }
        passed = sorted(number for number in numbers if number <= epoch)
        for number in passed[: -self.keep] if self.keep else []:
            for file in self.folder.glob(f"{number}_net_*.pth"):
                file.unlink()
            state_path(self.folder, number).unlink(missing_ok=True)


def last_good(folder: Path) -> str:
    """Which checkpoint of a run there is to go on from, in words."""
    files = sorted(folder.glob("*_state.pth"), key=os.path.getmtime)
    if not files:
        return "no checkpoint was saved yet"
    label = files[-1].name.removesuffix("_state.pth")
    return f"the last good checkpoint is {label}, --continue_train goes on from it"


def newest(checkpoint: tuple[str, dict[str, Any]]) -> tuple[int, int]:
    """Sorts (label, state) by progress: copies of a folder may have lost the times of its files."""
    label, state = checkpoint
    images = state.get("clock", {}).get("total_images", 0)
    return images, int(label) if label.isdigit() else 0


def weights_path(folder: Path, label: str | int, name: str) -> Path:
    return folder / f"{label}_net_{name}.pth"


def state_path(folder: Path, label: str | int) -> Path:
    return folder / f"{label}_state.pth"


def temporary_path(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def save_weights(net: nn.Module, path: Path) -> None:
    """Write a network's state_dict, on the CPU, so that `path` is never half a file."""
    weights = {key: value.detach().cpu() for key, value in net.state_dict().items()}
    try:
        write_flushed(weights, temporary_path(path))
        os.replace(temporary_path(path), path)
    except BaseException:
        temporary_path(path).unlink(missing_ok=True)
        raise


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state_dict in a file, on the CPU.

    Keys that a DataParallel or compile wrapper has prefixed are cleaned. Raises UserError for a
    missing or damaged file, or one that is anything but tensors (it is never executed).
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
    """Whether it is a tensor that simply holds its numbers."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_nested
        and not value.is_meta
    )


def load_file(path: Path) -> Any:
    """What torch.save has written, on the CPU; UserError where it is damaged or holds code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a foreign pickle makes torch say, we say below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with open(path, "rb") as file:
            is_pickle = file.read(1) == b"\x80"
        if not is_pickle and "Unsupported operand" in str(error):  # bytes without a meaning
            raise no_weights(path) from error
        raise UnsafeFile(
            f"{path} holds more than tensors and was not loaded, since it could run code; save a "
            "bare state_dict instead"
        ) from error
    except (PermissionError, MemoryError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    except Exception as error:  # torch's unpickler raises any type on bytes that are no checkpoint
        raise no_weights(path) from error


def no_weights(path: Path) -> UserError:
    return UserError(f"{path} is damaged, or no file of PyTorch weights")


def refuse_unsafe(path: Path) -> None:
    """Raise UnsafeFile for a file that holds code; whatever else is wrong with it is no matter."""
    try:
        load_file(path)
    except UnsafeFile:
        raise
    except UserError:
        return


def write_flushed(content: Any, path: Path) -> None:
    """torch.save to a file that is on the disk when this returns."""
    with open(path, "w+b") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; '' where there is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def link(source: Path, target: Path) -> None:
    """The same file under the temporary name of a second; a copy where the disk has no links."""
    temporary_path(target).unlink(missing_ok=True)
    try:
        os.link(source, temporary_path(target))
    except OSError:
        shutil.copyfile(source, temporary_path(target))
        with open(temporary_path(target), "rb+") as file:
            os.fsync(file.fileno())


def rename_all(folder: Path, label: str, names: list[str]) -> None:
    """Give the temporary files of a label their names, the state last."""
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
    """Finish or undo a save that was cut off: complete new files get their names, others go."""
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
    """What the system said, such as that the disk is full, where torch hides it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return first_line(cause or error)


def available(path: Path) -> str:
    """Which labels the folder of a missing checkpoint has, for an error message."""
    network = path.name.rpartition("_net_")[2]
    found = sorted(path.parent.glob(f"*_net_{network}"), key=os.path.getmtime, reverse=True)
    if found:
        labels = ", ".join(f.name.rpartition("_net_")[0] for f in found[:8])
        return f"; --epoch can be {labels}"
    others = sorted({f.name.partition("_net_")[2] for f in path.parent.glob("*_net_*.pth")})
    if others:
        return f"; {path.parent} has weights of other networks: {', '.join(others)}"
    return f"; {path.parent} has no checkpoints"


def remove_run(folder: Path) -> None:
    """Delete what a run has written: its checkpoints, logs and page, and nothing else."""
    for pattern in (
        "*_net_*.pth*",
        "*_state.pth*",
        "loss_log.txt",
        "metrics.jsonl",
        "wandb_id.txt",
    ):
        for file in folder.glob(pattern):
            file.unlink()
    for part in ("web", "tensorboard"):
        shutil.rmtree(folder / part, ignore_errors=True)
