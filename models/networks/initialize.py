"""Normalization layers and initial weights of all networks."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from util.errors import unknown_choice

NormLayer = Callable[[int], nn.Module]
Network = TypeVar("Network", bound=nn.Module)


class SumOverProcesses(torch.autograd.Function):
    """The sum of the processes' tensors in each of them; gradients are summed in the same way.

    PyTorch's own, in torch.distributed.nn, is deprecated in favour of a private one.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return SumOverProcesses.apply(gradient)  # differentiable again, as a gradient penalty needs


class SyncBatchNorm(nn.SyncBatchNorm):
    """nn.SyncBatchNorm that also works between processes on CPUs; PyTorch's requires GPUs."""

    # PyTorch allows None for each; layers made by `get_norm_layer` have them all.
    momentum: float
    num_batches_tracked: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        if not (self.training and x.device.type == "cpu" and dist.is_initialized()):
            return super().forward(x)
        in_all = SumOverProcesses.apply
        count = in_all(torch.tensor(x.numel() / x.shape[1]))
        mean = in_all(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = in_all(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self.num_batches_tracked += 1
            unbiased = variance.detach() * count / (count - 1)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


# Identity accepts and ignores the channel count, so that a network has the same layer indices, and
# thus state_dict keys, with each of these.
NORM_LAYERS: dict[str, NormLayer] = {
    "instance": nn.InstanceNorm2d,  # neither weights nor running statistics
    "batch": nn.BatchNorm2d,  # both
    "none": nn.Identity,
    "syncbatch": SyncBatchNorm,  # batch norm over the batches of all processes
}

# Each takes (tensor, gain). kaiming derives its standard deviation from the layer alone.
INIT_FUNCTIONS: dict[str, Callable[[torch.Tensor, float], Any]] = {
    "normal": lambda weight, gain: nn.init.normal_(weight, 0.0, gain),
    "xavier": nn.init.xavier_normal_,
    "kaiming": lambda weight, _: nn.init.kaiming_normal_(weight, a=0, mode="fan_in"),
    "orthogonal": nn.init.orthogonal_,
}


def get_norm_layer(norm_type: str = "instance") -> NormLayer:
    """The class of normalization layer that --norm names; call it with the number of channels."""
    if norm_type not in NORM_LAYERS:
        raise unknown_choice("--norm", norm_type, NORM_LAYERS)
    return NORM_LAYERS[norm_type]


def conv_needs_bias(norm_layer: NormLayer) -> bool:
    """Whether a convolution in front of this normalization has a bias: with instance norm only.

    Batch norm adds its own. Instance norm and none could both use one, but in existing weight files
    only instance norm has it.
    """
    return getattr(norm_layer, "func", norm_layer) is nn.InstanceNorm2d  # .func: of a partial


def init_weights(net: nn.Module, init_type: str = "normal", init_gain: float = 0.02) -> None:
    """Redraw the weights of all convolutions, linear layers and affine batch norms, in place.

    Args:
        init_type: distribution of convolution and linear weights. normal: N(0, init_gain), by
            standard deviation; xavier: N(0, init_gain * sqrt(2 / (fan_in + fan_out))); kaiming:
            N(0, sqrt(2 / fan_in)), init_gain unused; orthogonal: scaled by init_gain.
        init_gain: scale, as above; also the standard deviation of norm weights, N(1, init_gain).
            Biases become 0.

    The same state of torch's generator gives the same weights: layers draw in the order of
    `net.apply`, which is the order of their state_dict keys.

    Source: arXiv:1611.07004, section 6.2; arXiv:1703.10593, section 7.1 (normal, 0.02).
    """
    if init_type not in INIT_FUNCTIONS:
        raise unknown_choice("--init_type", init_type, INIT_FUNCTIONS)

    def init_layer(layer: nn.Module) -> None:
        if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            INIT_FUNCTIONS[init_type](layer.weight, init_gain)
        elif isinstance(layer, (nn.BatchNorm2d, nn.SyncBatchNorm)) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, init_gain)
        else:
            return
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    net.apply(init_layer)


@contextlib.contextmanager
def without_default_weights() -> Iterator[None]:
    """Create convolutions without PyTorch's default initialisation, which takes time.

    For networks that are then passed to `init_net`, which draws all weights.
    """
    convolution: Any = nn.modules.conv._ConvNd  # Any, since mypy lets no method be replaced
    reset = convolution.reset_parameters
    convolution.reset_parameters = lambda self: None
    try:
        yield
    finally:
        convolution.reset_parameters = reset


def init_net(
    net: Network,
    init_type: str = "normal",
    init_gain: float = 0.02,
    gpu_ids: Sequence[int] = (),
) -> Network:
    """Initialise a network (see `init_weights`) and return it, on cuda:gpu_ids[0] if one is given.

    Weights are drawn before the move, so that a seed gives the same ones on every device.
    """
    init_weights(net, init_type, init_gain)
    return net.to(f"cuda:{gpu_ids[0]}") if gpu_ids else net


def update_norm_buffers(net: nn.Module, state_dict: dict[str, Any]) -> dict[str, Any]:
    """A copy of state_dict with the buffers that the norms of net have in current PyTorch.

    Files from before 0.4 contain means and variances for instance norms that keep none, which
    load_state_dict refuses. Files from before 0.4.1 do not say how many batches a norm with running
    statistics has seen; it keeps its current count, as with load_state_dict.
    """
    kept = copy.copy(state_dict)  # unlike a new dict, keeps the _metadata that torch.save wrote
    for prefix, layer in net.named_modules():
        tracks = getattr(layer, "track_running_stats", None)  # None: not a norm of PyTorch
        if isinstance(layer, nn.InstanceNorm2d) and not tracks:
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                kept.pop(f"{prefix}.{buffer}", None)
        elif tracks and f"{prefix}.running_mean" in kept:
            kept.setdefault(f"{prefix}.num_batches_tracked", layer.num_batches_tracked)
    return kept
