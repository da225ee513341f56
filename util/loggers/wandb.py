"""Weights & Biases: losses, learning rate and pictures; imported only when asked for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from util.clock import Clock
from util.loggers.base import Logger, Losses
from util.util import tensor2im


class WandbLogger(Logger):
    """One run of project --wandb_project_name; WANDB_MODE=offline works without an account."""

    name = "Weights & Biases"

    def __init__(self, opt: argparse.Namespace, folder: Path):
        import wandb

        self.wandb = wandb
        self.frequency = opt.display_freq
        self.run = wandb.init(
            project=opt.wandb_project_name, name=opt.name, config=vars(opt), dir=str(folder)
        )

    def losses(self, losses: Losses) -> None:
        values = {**losses.values, "learning_rate": losses.learning_rate, "epoch": losses.epoch}
        self.run.log(values, step=losses.total_images)

    def images_due(self, clock: Clock) -> bool:
        return clock.due(self.frequency)

    def images(self, clock: Clock, visuals: Mapping[str, torch.Tensor]) -> None:
        pictures = {n: self.wandb.Image(tensor2im(t)) for n, t in visuals.items()}
        self.run.log(pictures, step=clock.total_images)

    def close(self, message: str) -> None:
        self.run.finish()
