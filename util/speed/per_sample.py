"""Make networks treat each picture of a batch separately, so test.py can use larger batches."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def normalize_each_alone(net: nn.Module) -> None:
    """Make batch norm compute its statistics for each picture instead of for the batch.

    pix2pix is tested with the statistics of the tested picture, that is, with batches of one
    (arXiv:1611.07004, section 3.2). This gives the same results for larger batches, up to rounding.
    """
    for norm in net.modules():
        if isinstance(norm, _BatchNorm):
            # Replaces the method of this norm only, not of the class.
            norm.forward = partial(  # type: ignore[method-assign]
                F.instance_norm, weight=norm.weight, bias=norm.bias, eps=norm.eps
            )
