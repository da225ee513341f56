"""Training objectives."""

from .gan import GANLoss, cal_gradient_penalty

__all__ = ["GANLoss", "cal_gradient_penalty"]
