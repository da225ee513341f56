"""Inception v3: what is in a picture, as 2048 numbers, for the distance of two sets of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from models.pretrained import unfit
from util.errors import UserError
from util.run.checkpoint import load_weights
from util.torchvision_compat import import_torchvision

SIDE_PX = 299
KINDS = (
    "pass torchvision's inception_v3 (inception_v3_google-0cc3c7bd.pth) or the port of the network "
    "of the original FID (pt_inception-2015-12-05-6726825d.pth)"
)

# How the network of the original FID pools in its blocks of several branches.
_mean = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
POOLS_OF_FID: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{f"Mixed_{block}": _mean for block in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b")},
    "Mixed_7c": _maximum,
}


class InceptionFeatures(nn.Module):
    """(N, 3 or 1, H, W) in [-1, 1] -> (N, 2048), the mean over places of the last block.

    Pictures are resized to 299x299 pixels, with antialiasing: without it, what shrinking leaves
    depends on the phase of fine texture (arXiv:2104.11222). Enlarged pictures are the same either
    way. Grey counts as RGB. There are no gradients.

    Args:
        weights_file: the state_dict of torchvision's inception_v3, with 1000 classes, or the port
            of the network of the original FID, with 1008. Figures of one cannot be compared with
            those of the other.
    Errors: UserError if the file is missing, damaged or of another network.
    Source: arXiv:1512.00567.
    """

    def __init__(self, weights_file: str | Path):
        super().__init__()
        self.network = _architecture()
        state = _read(Path(weights_file), self.network)
        wanted = self.network.to_empty(device="cpu").state_dict()
        # Older files lack the counts of batches, which nothing here reads.
        counts = {k: torch.zeros_like(v) for k, v in wanted.items() if not v.ndim}
        self.network.load_state_dict({**counts, **{k: state[k] for k in wanted.keys() - counts}})
        if len(state["fc.weight"]) == 1008:
            for name, pool in POOLS_OF_FID.items():
                block = self.network.get_submodule(name)
                self.network.set_submodule(name, _OtherPool(block, pool))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> InceptionFeatures:
        """Stay in eval mode, whatever mode the owner is put in."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        sides = (SIDE_PX, SIDE_PX)
        resized = F.interpolate(picture.float(), sides, mode="bilinear", antialias=True)
        return self.network(resized.expand(-1, 3, -1, -1))


class _OtherPool(nn.Module):
    """A block of torchvision's Inception whose pooling branch, its last, pools in another way."""

    def __init__(self, block: nn.Module, pool: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.block, self.pool, self.branch = block, pool, block.get_submodule("branch_pool")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.branch(self.pool(x))
        return torch.cat([self.block(x)[:, : -pooled.shape[1]], pooled], 1)


def _architecture() -> nn.Module:
    """torchvision's network up to the pooled features, empty."""
    with torch.device("meta"):  # draws no random numbers and allocates no memory
        module = import_torchvision("torchvision.models.inception")
        network = module.Inception3(aux_logits=False, init_weights=False)
        network.fc = nn.Identity()
    return network


def _read(file: Path, network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights in a file; UserError if it is not one of the two networks."""
    if not file.is_file():
        raise UserError(f"--inception_weights {file}: there is no such file; {KINDS}")
    try:
        state = load_weights(file)
    except UserError as error:
        raise UserError(f"--inception_weights: {error}; {KINDS}") from error
    wanted = {k: v for k, v in network.state_dict().items() if v.ndim}
    classes = torch.empty(1008 if len(state.get("fc.weight", ())) == 1008 else 1000, 2048)
    if missing := unfit(state, {**wanted, "fc.weight": classes}):
        raise UserError(
            f"--inception_weights {file}: {missing[0]} is missing or of another shape; {KINDS}"
        )
    return state
