"""What sees details: the radial power spectrum and the sliced distance."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ddncodec.metrics.sliced import sliced_distance
from ddncodec.metrics.spectrum import BANDS, band_ratios, radial_power

NOISE = torch.randn(32, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("across", "down"), [(9, 0), (0, 21), (12, 16)])
def test_a_waves_power_is_in_the_ring_of_its_frequency(across: int, down: int) -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wave = (2 * math.pi * (across * x + down * y) / 64).cos()[None, None]
    power = radial_power(0.3 + wave)[0]
    assert power.shape == (33,)
    assert int(power.argmax()) == round(math.hypot(across, down))


def test_white_noise_has_the_same_power_at_all_frequencies() -> None:
    power = radial_power(NOISE).mean(0)[2:]
    assert float(power.max() / power.min()) < 1.3


def test_a_windows_power_is_what_a_plain_transform_finds() -> None:
    image = NOISE[:1]
    windowed = (image - image.mean((2, 3), keepdim=True)).double() * torch.hann_window(64).double().outer(
        torch.hann_window(64).double())
    spectrum = torch.fft.fftshift(torch.fft.fft2(windowed)).abs().square()[0].mean(0)
    ring = [spectrum[y, x] for y in range(64) for x in range(64) if round(math.hypot(y - 32, x - 32)) == 7]
    assert float(radial_power(image)[0, 7]) == pytest.approx(float(torch.stack(ring).mean()), rel=1e-4)


def test_bands_are_shares_of_the_originals_power() -> None:
    assert band_ratios(NOISE, NOISE) == [1.0] * BANDS
    assert band_ratios(0.5 * NOISE, NOISE) == pytest.approx([0.25] * BANDS)
    blurred = band_ratios(functional.avg_pool2d(NOISE, 3, 1, 1), NOISE)
    assert all(share < 0.3 for share in blurred)
    assert len(band_ratios(NOISE[..., :16, :16], NOISE[..., :16, :16])) == BANDS


def test_the_sliced_distance_sees_blur_and_noise_and_not_other_images_of_a_kind() -> None:
    assert sliced_distance(NOISE, NOISE) == 0
    alike = sliced_distance(NOISE[:16], NOISE[16:])
    for changed in (functional.avg_pool2d(NOISE, 3, 1, 1), 1.2 * NOISE):
        assert sliced_distance(changed[:16], NOISE[16:]) > 2 * alike
