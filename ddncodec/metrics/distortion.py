"""Distances between pictures, always of 8-bit RGB values after clipping and rounding, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

RESAMPLES = 1_000
CONFIDENCE = 0.95
SSIM_WINDOW = 11
_MS_SSIM_HALVINGS = 4
_BATCH = 250


def squared_errors(original: Pixels, decoded: Pixels) -> Values:
    """Mean squared error of each picture, in squared 8-bit steps: uint8 (B, H, W, 3) twice → (B,)."""
    difference = original.astype(np.float64) - decoded
    errors: Values = np.square(difference).reshape(len(difference), -1).mean(1)
    return errors


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for a mean squared error of 8-bit values; infinite for none."""
    return 10 * math.log10(255**2 / squared_error) if squared_error > 0 else math.inf


def mean_psnr(original: Pixels, decoded: Pixels) -> float:
    """The mean of the pictures' PSNRs, in dB; not the PSNR of their mean error, which is lower."""
    return float(np.mean([psnr(error) for error in squared_errors(original, decoded)]))


def ssim(original: Pixels, decoded: Pixels) -> Values:
    """Structural similarity of each picture (Wang et al. 2004), uint8 (B, H, W, 3) twice → (B,), 1 for the same.

    By pytorch-msssim: on RGB, Gaussian windows of 11×11, or as large as fit into smaller pictures.
    """
    from pytorch_msssim import ssim as similarity

    side = min(original.shape[1:3])
    window = min(SSIM_WINDOW, side - 1 + side % 2)
    return _similarity(lambda a, b: similarity(a, b, size_average=False, win_size=window), original, decoded)


def ms_ssim_window(side: int) -> int | None:
    """The window that MS-SSIM's five scales leave room for in pictures of this side: 11 from 176 pixels on; 3 at 64.

    None where there is room for no window at all.
    """
    window = (side - 1) // 2**_MS_SSIM_HALVINGS + 1
    window = min(SSIM_WINDOW, window - 1 + window % 2)
    return window if window >= 3 else None


def ms_ssim(original: Pixels, decoded: Pixels, window: int) -> Values:
    """Multi-scale structural similarity (Wang et al. 2003) in windows of `ms_ssim_window`, as `ssim`.

    Figures of different windows cannot be compared, which is why the window belongs to the metric's name.
    """
    from pytorch_msssim import ms_ssim as similarity

    return _similarity(lambda a, b: similarity(a, b, size_average=False, win_size=window), original, decoded)


def _similarity(similarity: Callable[..., object], original: Pixels, decoded: Pixels) -> Values:
    import torch

    parts = []
    for first in range(0, len(original), _BATCH):
        pair = [torch.from_numpy(pixels[first : first + _BATCH]).permute(0, 3, 1, 2).float()
                for pixels in (original, decoded)]
        parts.append(torch.as_tensor(similarity(*pair)).double().numpy())
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95% bootstrap confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Values, of_mean: Callable[[float], float] = float, seed: int = 0) -> Estimate:
    """The mean of a figure of each image, or what `of_mean`, monotone, makes of it, with its interval.

    The percentile method (Efron 1979): images are drawn anew, with replacement, RESAMPLES times.
    """
    random = np.random.default_rng(seed)
    means = [of_mean(float(values[random.integers(len(values), size=len(values))].mean())) for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(of_mean(float(values.mean())), float(low), float(high))
