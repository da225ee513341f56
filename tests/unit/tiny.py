"""Small models for tests of what they minimise."""

from __future__ import annotations

from pathlib import Path

import torch

import data
import models
from options.train_options import TrainOptions
from util.runtime import seed_everything

LINE = "--name run --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --netG resnet_6blocks --seed 1"
LINE += " --norm instance --no_dropout --init_gain 0.2 --device cpu --num_threads 0"


def build(
    folder: Path, model: str, *flags: str, dtype: torch.dtype = torch.float64
) -> models.BaseModel:
    """A model without dropout, always of the same weights, with the same two pairs of noise."""
    line = [*LINE.split(), "--dataroot", str(folder), "--checkpoints_dir", str(folder)]
    opt = TrainOptions(models.registry, data.registry).parse([*line, "--model", model, *flags])
    seed_everything(opt.seed)
    built = models.create_model(opt)
    built.setup(opt)
    for net in built.networks().values():
        net.to(dtype)
    built.criterionGAN.to(dtype)
    random = torch.Generator().manual_seed(2)
    A, B = (
        torch.rand((2, channels, 32, 32), generator=random, dtype=dtype) * 2 - 1
        for channels in (opt.input_nc, opt.output_nc)
    )
    built.set_input({"A": A, "B": B, "A_paths": ["a", "b"], "B_paths": ["a", "b"]})
    return built
