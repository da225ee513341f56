"""Write losses, learning rate and pictures for TensorBoard, in NAME/tensorboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from util.run.clock import Clock
from util.show.loggers.base import Logger, Losses, Outcome
from util.util import tensor2im


class TensorBoardLogger(Logger):
    """Writes event files; steps are images. A resumed run hides the entries beyond its start."""

    name = "TensorBoard"

    def __init__(self, folder: Path, total_images: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=total_images + 1)

    def losses(self, losses: Losses) -> None:
        for name, value in losses.values.items():
            self.writer.add_scalar(f"loss/{name}", value, losses.total_images)
        self.writer.add_scalar("learning_rate", losses.learning_rate, losses.total_images)

    def images(self, clock: Clock, visuals: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in visuals.items():
            self.writer.add_image(name, tensor2im(tensor), clock.total_images, dataformats="HWC")

    def close(self, outcome: Outcome) -> None:
        self.writer.close()
