"""Which checkpoints a run's folder holds, by label, and which of them it keeps."""

from __future__ import annotations

import os
from pathlib import Path

from util.errors import command_line


def weights_path(folder: Path, label: str | int, name: str) -> Path:
    return folder / f"{label}_net_{name}.pth"


def state_path(folder: Path, label: str | int) -> Path:
    return folder / f"{label}_state.pth"


def with_weights(folder: Path) -> list[str]:
    """The labels that have weights, of any network."""
    return sorted({file.name.partition("_net_")[0] for file in folder.glob("*_net_*.pth")})


def with_state(folder: Path) -> list[str]:
    """The labels that have a state, the newest first; of one save, `latest` is the first."""
    files = sorted(folder.glob("*_state.pth"), key=lambda f: (os.path.getmtime(f), f.name))
    return [file.name.removesuffix("_state.pth") for file in reversed(files)]


def prune(folder: Path, epoch: int, *, keep: int, keep_states: int) -> None:
    """Delete what newer checkpoints have replaced, of the numbered ones up to `epoch`.

    Later ones remain: the run has gone back to an older checkpoint since it wrote them.

    Args:
        keep: how many of them to keep; 0: all.
        keep_states: how many of them keep their state, besides the last one.
    """
    labels = {*with_weights(folder), *with_state(folder)}
    numbers = {int(label) for label in labels if label.isdecimal()}
    passed = sorted(number for number in numbers if number <= epoch)
    dropped = passed[:-keep] if keep else []
    # States first: one that is left over from a kill would belong to weights that are gone.
    for number in max(dropped, passed[: -1 - keep_states], key=len):
        state_path(folder, number).unlink(missing_ok=True)
    for number in dropped:
        for file in folder.glob(f"{number}_net_*.pth"):
            file.unlink()


def last_good(folder: Path) -> str:
    """Which checkpoint a run can resume from, as the end of a message."""
    labels = with_state(folder)
    if not labels:
        return "no checkpoint was saved yet"
    return f"the last good checkpoint is {labels[0]}; --continue_train resumes from it"


def stateless(folder: Path, label: str) -> str:
    """The error for resuming from a label that has kept only its weights."""
    pretrain = command_line(["--load_pretrain", str(folder)])
    flag = f"--load_iter {label[5:]}" if label.startswith("iter_") else f"--epoch {label}"
    return (
        f"{flag}: {state_path(folder, label)} does not exist, so only the weights of this "
        f"checkpoint are left; to resume, pass --epoch {' or '.join(with_state(folder))}; to start "
        f"a new run from its weights, pass {pretrain} {flag} under another --name"
    )


def weights_only(folder: Path) -> str:
    """How to do without states that cannot be used, as the end of a message."""
    return f"to start from the weights only, remove {folder / '*_state.pth'}"


def available(path: Path) -> str:
    """Which labels exist in the folder of a missing checkpoint, for an error message."""
    network = path.name.rpartition("_net_")[2]
    found = sorted(path.parent.glob(f"*_net_{network}"), key=os.path.getmtime, reverse=True)
    if found:
        labels = ", ".join(f.name.rpartition("_net_")[0] for f in found[:8])
        return f"; --epoch can be {labels}"
    others = sorted({f.name.partition("_net_")[2] for f in path.parent.glob("*_net_*.pth")})
    if others:
        return f"; {path.parent} has weights of other networks: {', '.join(others)}"
    return f"; {path.parent} has no checkpoints"
