"""Write losses, learning rate and pictures for TensorBoard, in NAME/tensorboard."""

from __future__ import annotations

from pathlib import Path

from util.metrics.scores import Scores
from util.packages import needed
from util.run.clock import Clock
from util.show.loggers.base import Example, Logger, Losses, Outcome
from util.util import tensor2im


class TensorBoardLogger(Logger):
    """Writes event files; steps are images. A resumed run hides the entries beyond its start."""

    name = "TensorBoard"

    def __init__(self, folder: Path, total_images: int):
        tensorboard = needed("torch.utils.tensorboard", "--use_tensorboard")
        self.writer = tensorboard.SummaryWriter(
            str(folder / "tensorboard"), purge_step=total_images + 1
        )

    def losses(self, losses: Losses) -> None:
        for name, value in losses.values.items():
            self.writer.add_scalar(f"loss/{name}", value, losses.total_images)
        self.writer.add_scalar("learning_rate", losses.learning_rate, losses.total_images)

    def images(self, clock: Clock, examples: list[Example], batch: Example | None) -> None:
        for example in examples:
            for label, tensor in example.pictures.items():
                tag, picture = f"{example.name}/{label}".lstrip("/"), tensor2im(tensor)
                self.writer.add_image(tag, picture, clock.total_images, dataformats="HWC")

    def validation(self, scores: Scores) -> None:
        for name, value in scores.figures.items():
            self.writer.add_scalar(f"validation/{name}", value, scores.total_images)
        for name, value in scores.nothing.items():
            self.writer.add_scalar(f"validation/{name} of nothing", value, scores.total_images)

    def close(self, outcome: Outcome) -> None:
        self.writer.close()
