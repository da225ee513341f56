"""What a validation found, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Figures = dict[str, float]  # by metric, with the generator's suffix if a model has two: SWD_A

LOWER_IS_BETTER = ("L1", "LPIPS", "SWD", "KID")
HIGHER_IS_BETTER = ("PSNR", "SSIM")
CHOICES = (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)  # to choose the best checkpoint by
BEST = ", the best"  # in a line, after the best value so far
AUTOMATIC = ("LPIPS", "SSIM", "KID", "SWD", "L1")  # the first of these that there is


@dataclass(frozen=True)
class Scores:
    """The metrics of one validation.

    Attributes:
        by_weights: by set of weights, `last` or also `EMA`; test.py would use the last one.
        nothing: the same metrics of the untouched inputs, as far as they can be compared.
        by_picture: those of each picture, by file, for the weights that test.py would use.
        judged_by: the metric that decides which validation is the best.
        is_best: whether this is the best one so far.
        nothing_by_picture: those of each untouched input, by file.
    """

    epoch: int
    total_images: int
    by_weights: Mapping[str, Figures]
    nothing: Figures
    by_picture: Mapping[str, Figures] = field(default_factory=dict)
    judged_by: str = ""
    is_best: bool = False
    nothing_by_picture: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def figures(self) -> Figures:
        """Those of the weights that test.py would use."""
        return list(self.by_weights.values())[-1]

    def line(self) -> str:
        """validation, epoch 12: L1 3.5 (+0.16), SSIM 0.931 (+0.009): the best SSIM so far

        In brackets stands the gain over doing nothing.
        """
        gains = self.gains()
        parts = [
            f"{name} {value:.4g}" + (f" ({gains[name]:+.3g})" if name in gains else "")
            for name, value in self.figures.items()
        ]
        best = f": the best {self.judged_by} so far" if self.is_best else ""
        return f"validation, epoch {self.epoch}: {', '.join(parts)}{best}"

    def short(self) -> str:
        """The metric that decides: SSIM 0.931 (+0.009), the best"""
        name = self.judged_by
        gains = {k: v for k, v in self.gains().items() if kind_of(k) == name}
        brackets = f" ({mean_of(name, gains):+.3g})" if gains else ""
        return f"{name} {mean_of(name, self.figures):.4g}{brackets}{BEST * self.is_best}"

    def gains(self) -> Figures:
        """By how much each metric is better than that of doing nothing; negative if worse."""
        return {n: gain(n, self.figures[n], base) for n, base in self.nothing.items()}


def kind_of(name: str) -> str:
    """The metric without the suffix of a generator: SWD for SWD_A."""
    return next((k for k in CHOICES if name == k or name in (f"{k}_A", f"{k}_B")), name)


def gain(name: str, value: float, base: float) -> float:
    """By how much a metric is better than a base, in its own units."""
    if value == base:  # both may be infinite
        return 0.0
    return base - value if kind_of(name) in LOWER_IS_BETTER else value - base


def cost(name: str, value: float) -> float:
    """A number that is lower for better pictures, and zero for perfect ones; NaN stays NaN."""
    if name == "SSIM":
        return 1 - value
    return 10 ** (-value / 10) if name == "PSNR" else max(value, 0.0)  # KID may be below 0


def mean_of(name: str, figures: Mapping[str, float]) -> float:
    """The mean of a metric over the generators; NaN if it was not measured."""
    values = [value for key, value in figures.items() if kind_of(key) == name]
    return sum(values) / len(values) if values else math.nan


def explained(figures: Mapping[str, float]) -> str:
    """'L1 3.66 (lower is better), PSNR 25.8 (higher), SSIM 0.922 (higher)'."""
    parts, more = [], " is better"
    for name, value in figures.items():
        known = kind_of(name) in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)
        way = "lower" if kind_of(name) in LOWER_IS_BETTER else "higher"
        parts.append(f"{name} {value:.4g}" + (f" ({way}{more})" if known else ""))
        more = "" if known else more
    return ", ".join(parts)
