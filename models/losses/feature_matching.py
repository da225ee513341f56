"""Feature matching: a result should look to the discriminator as its target does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def feature_matching(
    of_fake: Sequence[torch.Tensor], of_real: Sequence[torch.Tensor]
) -> torch.Tensor:
    """sum over layers i of mean |D_i(x, G(x)) - D_i(x, y)|.

    Args: of_fake, of_real: a discriminator's features after each activation, (N, C_i, H_i, W_i).
    Returns: scalar. Gradients flow through `of_fake` alone.
    Source: arXiv:1711.11585, eq. 4, where the layers weigh alike, and 1/N_i makes a mean of each.
    """
    layers = zip(of_fake, of_real, strict=True)
    return torch.stack([F.l1_loss(fake, real.detach()) for fake, real in layers]).sum()
