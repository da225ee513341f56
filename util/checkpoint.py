"""Weights on disk: bare state_dicts, written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from pathlib import Path

import torch
from torch import nn

from util.errors import UserError


def save_weights(net: nn.Module, path: Path) -> None:
    """Write a network's state_dict, on the CPU, so that `path` is never half a file."""
    state = {key: value.detach().cpu() for key, value in net.state_dict().items()}
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error}; free space or fix rights") from error


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state_dict in a file, on the CPU.

    Keys that a DataParallel or compile wrapper has prefixed are cleaned. Raises UserError for a
    missing or damaged file, or one that is anything but tensors (it is never executed).
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint{available(path)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a foreign pickle makes torch say, we say below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and was not loaded, since it could run code; save a "
            "bare state_dict instead"
        ) from error
    except Exception as error:  # torch's unpickler raises any type on bytes that are no checkpoint
        raise UserError(f"{path} is damaged or no checkpoint ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UserError(f"{path} is not a bare state_dict of one network")
    for prefix in ("module.", "_orig_mod."):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


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


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def remove_run(folder: Path) -> None:
    """Delete what a run has written: its checkpoints, logs and page, and nothing else."""
    for pattern in ("*_net_*.pth", "loss_log.txt", "metrics.jsonl"):
        for file in folder.glob(pattern):
            file.unlink()
    shutil.rmtree(folder / "web", ignore_errors=True)
