"""Stop a run whose losses or weights are not finite, before they get into a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from util.errors import UserError
from util.image_pool import ImagePool
from util.run.checkpoint import last_good
from util.util import all_finite, listed

READ_EVERY = 32  # steps between two checks on a GPU, since each check waits for the GPU


class FiniteGuard:
    """Checks the losses of each step, and the weights before each save.

    Notices a bad loss at once on the CPU and within READ_EVERY steps on a GPU, and always before a
    save. A gradient that is not finite shows in the weights and in the losses of the next step.

    Args:
        networks: the networks whose weights are checked.
        tolerated: how many steps with gradients that are not finite to skip; above 0, the guard
            waits for the device at every step.
        save_dir: the folder of checkpoints; the error message names the last of them.
        pools: image pools from which to remove the images of skipped steps.

    Attributes:
        step_is_bad: whether this step was skipped.
    """

    def __init__(
        self,
        networks: Iterable[nn.Module],
        tolerated: int,
        save_dir: Path,
        pools: Iterable[ImagePool] = (),
    ):
        self.networks, self.pools = list(networks), list(pools)
        self.tolerated, self.save_dir = tolerated, save_dir
        self.skipped, self.step_is_bad = 0, False
        self._images: list[Sequence[str]] = []  # of the last step checked, and those since
        self._names: list[str] = []
        self._losses: list[torch.Tensor] = []  # (number of losses,) for each of these steps

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped = state["skipped"]

    def begin(self, images: Sequence[str]) -> None:
        """Note the files of the batch at the beginning of its step."""
        self._images.append(images)
        self.step_is_bad = False
        if self.tolerated:
            self._buffers = [(b, b.clone()) for net in self.networks for b in net.buffers()]

    def end(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Note the losses of the step; returns them as one tensor, on their device."""
        if self.step_is_bad:  # remove its traces from running statistics and image pools
            for buffer, before in self._buffers:
                buffer.copy_(before)
            for pool in self.pools:
                pool.images = [image for image in pool.images if image.isfinite().all()]
        self._names = list(losses)
        scalars = [loss.detach().float() for loss in losses.values()]
        values = torch.stack(scalars) if scalars else torch.empty(0)
        self._losses.append(values)
        if values.device.type == "cpu" or len(self._losses) >= READ_EVERY:
            self.check_losses()
        return values

    def check_losses(self) -> None:
        """Check the noted losses; UserError with losses and images of the first bad step."""
        steps = torch.stack(self._losses).tolist() if self._losses else []
        images, self._images = self._images, self._images[-1:]
        self._losses = []
        for i, values in enumerate(steps):
            if not all(map(math.isfinite, values)) and not self.tolerated:
                text = ", ".join(f"{n} {v:g}" for n, v in zip(self._names, values, strict=True))
                first = len(images) - len(steps) + i
                self._stop(f"the losses are {text}", images[max(0, first - 1) : first + 1])

    def check_weights(self) -> None:
        """Check before a save: UserError if a loss so far or a weight now is not finite."""
        self.check_losses()
        for net in self.networks:
            if not all_finite(float_state(net)):
                self._stop("a weight or statistic is not finite", self._images)

    def accepts(self, gradients: list[torch.Tensor]) -> bool:
        """Whether an update may use these gradients; UserError after too many bad steps."""
        if not self.tolerated or not gradients or all_finite(gradients):
            return True
        if not self.step_is_bad:  # a step may have several optimizers
            self.step_is_bad = True
            self.skipped += 1
        if self.skipped > self.tolerated:
            self._stop(f"a gradient is not finite, time {self.skipped}", self._images[-1:])
        return False

    def _stop(self, what: str, batches: Sequence[Sequence[str]]) -> None:
        images = ", ".join(dict.fromkeys(path for batch in batches for path in batch))
        raise UserError(
            f"{what}, with the images {images} or the ones before; {last_good(self.save_dir)}; "
            "look at the images, lower --lr, or pass --skip_nonfinite N to skip up to N such steps"
        )


def why_not_finite(networks: Mapping[str, nn.Module], precision: str) -> str:
    """Why networks have produced pictures that are not finite, and what to do about it."""
    broken = [name for name, net in networks.items() if not all_finite(float_state(net))]
    if broken:
        cause = f"weights of the network{'s' * (len(broken) > 1)} {listed(broken)} are not finite"
        remedy = "use an earlier checkpoint (--epoch, --load_iter): training had diverged"
    else:
        names = [*networks]
        cause = f"the weights of the network{'s' * (len(names) > 1)} {listed(names)} are finite"
        remedy = "look at the picture, or use an earlier checkpoint (--epoch, --load_iter)"
    if precision != "fp32":
        remedy = f"pass --precision fp32, not {precision}; if that does not help, {remedy}"
    return f"{cause}; {remedy}"


def float_state(net: nn.Module) -> list[torch.Tensor]:
    """The weights and statistics of a network, without integer counters."""
    return [value for value in net.state_dict().values() if value.is_floating_point()]
