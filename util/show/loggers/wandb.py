"""Weights & Biases: options, losses, learning rate and pictures; imported only when asked for."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from util.run.clock import Clock
from util.show.loggers.base import Logger, Losses, Outcome
from util.util import tensor2im


class WandbLogger(Logger):
    """One run of project --wandb_project_name; WANDB_MODE=offline works without an account.

    The run's id is kept in NAME/wandb_id.txt, so that a run that goes on is the same run there.
    """

    name = "Weights & Biases"

    def __init__(self, opt: argparse.Namespace, folder: Path):
        id_file = folder / "wandb_id.txt"
        known = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
        self.run = start_run(opt, folder, opt.name, id=known, resume="allow")
        id_file.write_text(self.run.id + "\n", encoding="utf-8")

    def losses(self, losses: Losses) -> None:
        values = {**losses.values, "learning_rate": losses.learning_rate, "epoch": losses.epoch}
        self.run.log(values, step=losses.total_images)

    def images(self, clock: Clock, visuals: Mapping[str, torch.Tensor]) -> None:
        pictures = {name: tensor2im(tensor) for name, tensor in visuals.items()}
        self.run.log({"pictures": picture_grid(pictures)}, step=clock.total_images)

    def close(self, outcome: Outcome) -> None:
        self.run.summary["outcome"] = outcome.line
        self.run.finish()


class WandbResults:
    """The pictures and metrics of test.py as a run of their own, named NAME (test)."""

    def __init__(self, opt: argparse.Namespace, folder: Path):
        self.run = start_run(opt, folder, f"{opt.name} (test)")

    def add(self, pictures: Mapping[str, np.ndarray], metrics: Mapping[str, float]) -> None:
        """Log the pictures of one input, label to (H, W, 3) uint8, and their metrics."""
        self.run.log({"pictures": picture_grid(pictures), **metrics})

    def close(self, means: Mapping[str, float]) -> None:
        self.run.summary.update({f"mean_{name}": mean for name, mean in means.items()})
        self.run.finish()


def log_in() -> None:
    """Ask for the API key on the terminal, if there is none yet, before progress bars hide it.

    Without a connection none is needed, and there is nobody to ask whether it is right.
    """
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return
    with contextlib.suppress(Exception):  # WandbLogger will meet it too, and tell
        import wandb

        wandb.login()


def start_run(opt: argparse.Namespace, folder: Path, name: str, **resume: Any) -> Any:
    import wandb

    return wandb.init(
        project=opt.wandb_project_name, name=name, config=vars(opt), dir=str(folder), **resume
    )


def picture_grid(pictures: Mapping[str, np.ndarray]) -> list[Any]:
    import wandb

    return [wandb.Image(picture, caption=name) for name, picture in pictures.items()]
