"""Distances between pictures, always of 8-bit RGB values after clipping and rounding."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def squared_errors(original: Pixels, decoded: Pixels) -> npt.NDArray[np.float64]:
    """Mean squared error of each picture, in squared 8-bit steps: uint8 (B, H, W, 3) twice → (B,)."""
    difference = original.astype(np.float64) - decoded
    errors: npt.NDArray[np.float64] = np.square(difference).reshape(len(difference), -1).mean(1)
    return errors


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for a mean squared error of 8-bit values; infinite for none."""
    return 10 * math.log10(255**2 / squared_error) if squared_error > 0 else math.inf


def mean_psnr(original: Pixels, decoded: Pixels) -> float:
    """The mean of the pictures' PSNRs, in dB; not the PSNR of their mean error, which is lower."""
    return float(np.mean([psnr(error) for error in squared_errors(original, decoded)]))
