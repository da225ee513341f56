"""The training page web/index.html and its pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from util.run.clock import Clock
from util.run.command import resume_command
from util.show.html import TrainingPage
from util.show.loggers.base import Logger, Losses, Outcome
from util.util import mkdirs, save_image, tensor2im


class PageLogger(Logger):
    """Adds every loss line to the page, and the pictures of the steps at which `page_is_due`."""

    name = "the training page"

    def __init__(
        self,
        opt: argparse.Namespace,
        options_text: str,
        folder: Path,
        clock: Clock,
        captions: Mapping[str, str],
        compare: list[tuple[str, str]],
        warning: str,
    ):
        self.images_folder = folder / "web" / "images"
        mkdirs(self.images_folder)
        self.page = TrainingPage(
            folder / "web",
            title=opt.name,
            winsize_px=opt.display_winsize,
            captions=dict(captions),
            compare=compare,
            options=options_text,
            resume_hint=resume_command(opt),
            last_epoch=clock.last_epoch,
            warning=warning,
        )
        self.page.rewind(clock.total_images)

    def losses(self, losses: Losses) -> None:
        self.page.add_losses(
            epoch=losses.epoch,
            total_images=losses.total_images,
            losses=dict(losses.values),
            lr=losses.learning_rate,
        )

    def images(self, clock: Clock, visuals: Mapping[str, torch.Tensor]) -> None:
        files = {}
        for label, tensor in visuals.items():
            files[label] = f"epoch{clock.epoch:03d}_{label}.png"
            save_image(tensor2im(tensor), self.images_folder / files[label])
        self.page.add_pictures(epoch=clock.epoch, total_images=clock.total_images, files=files)

    def close(self, outcome: Outcome) -> None:
        self.page.end(outcome.kind)


def page_is_due(clock: Clock, frequency_images: int) -> bool:
    """Whether the page gets pictures of this step: every `frequency_images` images, and at the end
    of the first and last epochs.
    """
    ends = clock.epoch_done and clock.epoch in (1, clock.last_epoch)
    return ends or clock.due(frequency_images)
