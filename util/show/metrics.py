"""Measures of how close a generated picture is to its target."""

from __future__ import annotations

import math

import numpy as np


def image_metrics(
    result: np.ndarray, target: np.ndarray, data_range: float = 255
) -> dict[str, float]:
    """L1 (mean absolute difference), PSNR (dB) and SSIM of two (H, W, C) pictures.

    `data_range` is the distance from black to white, in the units of L1.

    SSIM is that of Wang et al. 2004 (10.1109/TIP.2003.819861), by scikit-image, over 7x7 windows;
    NaN for smaller pictures. It is computed in float32, which is exact to at least four digits and
    takes half the time. The PSNR of equal pictures is infinite.
    """
    from skimage.metrics import structural_similarity  # slow to import and only needed here

    difference = result.astype(np.float64) - target.astype(np.float64)
    mse = float(np.mean(difference**2))
    psnr = 10 * math.log10(data_range**2 / mse) if mse > 0 else math.inf
    ssim = math.nan
    if min(result.shape[:2]) >= 7:
        pictures = result.astype(np.float32), target.astype(np.float32)
        ssim = float(structural_similarity(*pictures, channel_axis=2, data_range=data_range))
    return {"L1": float(np.mean(np.abs(difference))), "PSNR": psnr, "SSIM": ssim}
