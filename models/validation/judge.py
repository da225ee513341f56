"""How good results are: the metrics of one thing that a model does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from models.base_model import Translation
from models.losses.lpips import LPIPS, SMALLEST_PX
from models.networks.inception import InceptionFeatures
from util.metrics.distributions import kernel_distance, patches, sliced_wasserstein
from util.metrics.pixels import image_metrics, luma_ssim
from util.packages import has_ssim
from util.show.full_depth import Depth
from util.util import to_array, to_bytes

KEPT_BYTES = 1 << 30  # of the features of targets, on the CPU

Figures = dict[str, float]  # by metric


class PairedJudge:
    """L1 (0..255), PSNR, SSIM and LPIPS of results against their targets.

    Args:
        depths: by visual name, how the files hold more than 8 bits; see `depths_of`.
        lpips: None where its weights are not at hand.
    """

    def __init__(self, task: Translation, depths: Mapping[str, Depth], lpips: LPIPS | None):
        self.task, self.lpips = task, lpips
        self.depth = depths.get(task.target)
        self._features: dict[int, list[torch.Tensor]] = {}
        self._kept_bytes = 0

    @property
    def names(self) -> list[str]:
        by_package = {"SSIM": has_ssim(), "LPIPS": self.lpips is not None}
        return ["L1", "PSNR", *(name for name, has in by_package.items() if has)]

    def look(self, pictures: Mapping[str, torch.Tensor], number: int, label: str) -> Figures:
        """The metrics of one picture, `label`, (C, H, W) in [-1, 1], against its target."""
        result, target = pictures[label], pictures[self.task.target]
        figures = self._of_pixels(result, target)
        if self.lpips is not None:
            figures["LPIPS"] = math.nan
            if len(target) in (1, 3) and min(target.shape[1:]) >= SMALLEST_PX:
                ours = self.lpips.features(result[None])
                theirs = self._of_target(target, number)
                figures["LPIPS"] = float(self.lpips.distance(ours, theirs))
        return figures

    def _of_pixels(self, result: torch.Tensor, target: torch.Tensor) -> Figures:
        if self.depth is None or not self.depth.is_needed(target[None]):
            return image_metrics(to_array(to_bytes(result)), to_array(to_bytes(target)))
        figures = image_metrics(
            self.depth.values(result), self.depth.values(target), self.depth.span
        )
        return {**figures, "L1": figures["L1"] * 255 / self.depth.span}

    def _of_target(self, target: torch.Tensor, number: int) -> list[torch.Tensor]:
        assert self.lpips is not None
        if number not in self._features:
            features = self.lpips.features(target[None])
            size = sum(f.numel() * f.element_size() for f in features)
            if self._kept_bytes + size > KEPT_BYTES:
                return features
            self._features[number] = [f.cpu() for f in features]
            self._kept_bytes += size
        return [f.to(target.device) for f in self._features[number]]

    def means(self, looks: Mapping[str, Figures], of_targets: Mapping[str, Any]) -> Figures:
        """The mean of each metric over all pictures that have it, by file; NaN if none has.

        Pictures may be too small for some: see SSIM and LPIPS.
        """
        found = {}
        for name in self.names:
            values = [look[name] for look in looks.values() if not math.isnan(look[name])]
            found[name] = math.fsum(values) / len(values) if values else math.nan
        return found


SEED = 0  # of the projections of SWD: the same in all runs, so that they can be compared


class UnpairedJudge:
    """How far the looks of results are from those of the other side, and how much of the inputs
    they keep.

    SWD is the sliced Wasserstein distance (arXiv:1710.10196), KID that of arXiv:1801.01401, and
    SSIM_input the SSIM of the brightness of result and input.

    Args:
        inception: None without --inception_weights.
    """

    def __init__(self, task: Translation, inception: InceptionFeatures | None):
        self.task, self.inception = task, inception

    @property
    def names(self) -> list[str]:
        return ["SWD", *(["KID"] if self.inception else [])]

    def look(self, pictures: Mapping[str, torch.Tensor], number: int, label: str) -> dict[str, Any]:
        """What the distances need of one picture, (C, H, W) in [-1, 1], and how alike it is."""
        picture, given = pictures[label], pictures[self.task.input]
        found: dict[str, Any] = {"patches": patches(picture.cpu(), number)}
        if self.inception is not None and len(picture) in (1, 3):
            found["features"] = self.inception(picture[None])[0].cpu().numpy()
        shows = label == self.task.result and {len(picture), len(given)} <= {1, 3}
        if shows and has_ssim():
            same_size = picture.shape[1:] == given.shape[1:]
            one, other = (to_array(to_bytes(x)) for x in (picture, given))
            found["SSIM_input"] = luma_ssim(one, other) if same_size else math.nan
        return found

    def means(self, looks: Mapping[str, dict[str, Any]], of_targets: Mapping[str, Any]) -> Figures:
        """The distances between all of these and all targets."""

        def columns(name: str) -> tuple[list[Any], list[Any]]:
            sets = looks.values(), of_targets.values()
            ours, theirs = ([look[name] for look in each if name in look] for each in sets)
            return ours, theirs

        ours, theirs = columns("patches")
        figures = {"SWD": sliced_wasserstein(ours, theirs, SEED)}
        ours, theirs = columns("features")
        if ours and theirs:
            figures["KID"] = kernel_distance(np.stack(ours), np.stack(theirs))
        alike, _ = columns("SSIM_input")
        if alike:
            figures["SSIM_input"] = math.fsum(alike) / len(alike)
        return figures


Judge = PairedJudge | UnpairedJudge
