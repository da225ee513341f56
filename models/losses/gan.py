"""Adversarial losses: vanilla, least squares, Wasserstein; and penalties on a critic's slope."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from util.errors import unknown_choice

GAN_MODES = ("vanilla", "lsgan", "wgangp")


class GANLoss(nn.Module):
    """How far a discriminator's output is from calling its input real, or fake.

    Args:
        gan_mode: vanilla, binary cross entropy of sigmoid(prediction) (arXiv:1406.2661, eq. 1, in
            the non-saturating form for the generator); lsgan, squared distance from the
            label (arXiv:1611.04076, eq. 2 without its factor 1/2); wgangp, minus or plus the
            prediction (arXiv:1704.00028, eq. 3 without the penalty, see `cal_gradient_penalty`).
        target_real_label, target_fake_label: targets of lsgan and vanilla, in [0, 1] for vanilla;
            wgangp has no labels.
    """

    real_label: torch.Tensor
    fake_label: torch.Tensor

    def __init__(
        self, gan_mode: str, target_real_label: float = 1.0, target_fake_label: float = 0.0
    ):
        super().__init__()
        if gan_mode not in GAN_MODES:
            raise unknown_choice("--gan_mode", gan_mode, GAN_MODES)
        self.gan_mode = gan_mode
        self.register_buffer("real_label", torch.tensor(target_real_label), persistent=False)
        self.register_buffer("fake_label", torch.tensor(target_fake_label), persistent=False)

    def forward(self, prediction: torch.Tensor, target_is_real: bool) -> torch.Tensor:
        """Scalar: the mean over a prediction of any shape, logits or, for wgangp, critic values."""
        if self.gan_mode == "wgangp":
            return -prediction.mean() if target_is_real else prediction.mean()
        label = self.real_label if target_is_real else self.fake_label
        target = label.expand_as(prediction)  # a view: nothing is filled in
        if self.gan_mode == "lsgan":
            return F.mse_loss(prediction, target)
        return F.binary_cross_entropy_with_logits(prediction, target)


def cal_gradient_penalty(
    netD: Callable[[torch.Tensor], torch.Tensor],
    real_data: torch.Tensor,
    fake_data: torch.Tensor,
    device: torch.device | str | None = None,
    type: str = "mixed",
    constant: float = 1.0,
    lambda_gp: float = 10.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """lambda_gp * mean over the batch of (||grad_x D(x)||_2 - constant)^2, for training a critic D.

    Args:
        netD: the critic, (N, C, H, W) to (N, ...). D(x) is the sum of its values for a sample. For
            a PatchGAN whose loss takes the mean of its map, as GANLoss does, therefore pass
            `lambda x: netD(x).mean(dim=(1, 2, 3))`. Otherwise the slope of that mean is held to
            1/(h * w) of what the Wasserstein distance requires.
        real_data, fake_data: (N, C, H, W); treated as constants.
        device: where the mixing ratios are drawn; by default on torch's default device.
        type: where the gradient is taken. mixed: at eps * real + (1 - eps) * fake, with one eps
            per sample, uniform in [0, 1); real or fake: at those samples themselves.
    Returns:
        the penalty, a scalar through which gradients flow to the critic's weights, and the
        gradients, (N, C * H * W).
    Source: arXiv:1704.00028, eq. 3 and algorithm 1.
    """
    if type == "mixed":
        shape = (len(real_data),) + (1,) * (real_data.dim() - 1)  # one ratio per sample
        where = real_data.device if device is None else device
        eps = torch.rand(shape, device=where, dtype=real_data.dtype).to(real_data.device)
        x = eps * real_data + (1 - eps) * fake_data
    elif type in ("real", "fake"):
        x = real_data if type == "real" else fake_data
    else:
        raise ValueError(f"type is one of mixed, real, fake, not {type!r}")
    x = x.detach().requires_grad_(True)
    (gradients,) = torch.autograd.grad(netD(x).sum(), x, create_graph=True)
    gradients = gradients.flatten(start_dim=1)
    norms = torch.linalg.vector_norm(gradients, dim=1)  # (N,)
    return lambda_gp * ((norms - constant) ** 2).mean(), gradients


def r1_penalty(
    netD: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, num_given: int = 0
) -> torch.Tensor:
    """1/2 mean over the batch of ||grad_y D(x, y)||_2^2, for real pairs of x and y.

    Args:
        netD: the discriminator, (N, C, H, W) to (N, ...); as for `cal_gradient_penalty`, D(x, y) is
            the sum of its values for a sample, so for a PatchGAN pass the mean of its map.
        real: the pairs, (N, C, H, W); treated as constants.
        num_given: how many of their channels are x, the condition; the others are y.
    Returns:
        a scalar through which gradients flow to the weights of the discriminator.
    Source: arXiv:1801.04406, eq. 9, without its weight gamma.
    """
    x, y = real.detach().tensor_split([num_given], dim=1)
    y = y.clone().requires_grad_(True)
    (slopes,) = torch.autograd.grad(netD(torch.cat((x, y), 1)).sum(), y, create_graph=True)
    return slopes.square().sum(dim=(1, 2, 3)).mean() / 2
