"""Small training runs of every model, step by step."""

from __future__ import annotations

import torch

import train

# What a training step may consist of, as flags.
ROWS = {
    "plain": "",
    "pool": "--pool_size 2",
    "ema": "--ema 0.9",
    "wgangp": "--gan_mode wgangp --norm instance",
    "plateau": "--lr_policy plateau",
    "accumulation": "--grad_accum 2 --grad_checkpoint",
    "spectral norm": "--spectral_norm",
    "two sizes": "--num_D 2 --r1 10 --norm instance --netD n_layers --n_layers_D 2",
    "augmented": "--d_augment translation,cutout",
    "features": "--lambda_feat 10 --d_augment color",
    "perceptual": "--lambda_lpips 10",
    "residual": "--residual",
    "channels_last": "--channels_last on",
}
MODELS = ["pix2pix", "pix2pix_with_perceptual", "cycle_gan", "colorization"]


def take_steps(run: train.Run, number: int) -> list[dict[str, torch.Tensor]]:
    """Take training steps as train.py does, and return the losses of each, on the device."""
    losses = []
    while len(losses) < number:
        run.dataset.set_epoch(len(losses) + 1)
        for batch in run.dataset:
            run.model.set_input(batch)
            with run.steps.step(batch.share):
                run.model.optimize_parameters()
            losses.append({n: loss.detach().clone() for n, loss in run.model.losses().items()})
            if len(losses) == number:
                break
    return losses
