"""Networks that treat each picture of a batch alone, so that test.py may run several at once."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def normalize_each_alone(net: nn.Module) -> None:
    """Let batch norm take its statistics from each picture instead of from the batch.

    pix2pix is tested with the statistics of the picture at hand, so with batches of one (sec. 3.2
    of arXiv:1611.07004). This gives the same for larger ones, to rounding.
    """
    for norm in net.modules():
        if isinstance(norm, _BatchNorm):
            # The class keeps its method; only this norm gets another.
            norm.forward = partial(  # type: ignore[method-assign]
                F.instance_norm, weight=norm.weight, bias=norm.bias, eps=norm.eps
            )
