"""The radially averaged power spectrum: how much of an image lies in details of each fineness."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

BANDS = 4  # of equal width, from a quarter of the sampling rate to a half of it


def radial_power(images: Tensor) -> Tensor:
    """The power spectrum of each image, averaged over its channels and over rings of equal frequency.

    Under a Hann window, without which the jump from each border to the opposite one looks like detail.

    Args:
        images: (B, C, R, R), of which each channel's mean is left out.

    Returns:
        (B, R/2 + 1): the mean power at r cycles an image, r from 0 up to the Nyquist frequency, half the sampling
        rate. Float32, in no unit: ratios count.
    """
    side = images.shape[-1]
    window = torch.hann_window(side, device=images.device)
    centred = images.float() - images.float().mean((2, 3), keepdim=True)
    power: Tensor = torch.fft.fft2(centred * window * window[:, None]).abs().square().mean(1)
    return torch.matmul(power.flatten(1), _rings(side).to(images.device))


def band_ratios(decoded: Tensor, original: Tensor) -> list[float]:
    """The mean power of images in each of the BANDS, in shares of the originals': (B, C, R, R) twice."""
    power, wanted = (radial_power(images).mean(0)[original.shape[-1] // 4 :].tensor_split(BANDS)
                     for images in (decoded, original))
    return [float(ours.sum() / theirs.sum()) for ours, theirs in zip(power, wanted, strict=True)]


@cache
def _rings(side: int) -> Tensor:
    """What averages a spectrum's places over rings: (side · side, side/2 + 1). The corners are in none."""
    places = torch.fft.fftfreq(side, 1 / side)
    radius = torch.hypot(places, places[:, None]).round().long().flatten()
    rings = (radius[:, None] == torch.arange(side // 2 + 1)).float()
    return rings / rings.sum(0)
