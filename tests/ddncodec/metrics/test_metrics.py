import math

import numpy as np
import pytest
from pytorch_msssim import ms_ssim as reference

from ddncodec.evaluation.rate_distortion import delta
from ddncodec.metrics.distortion import bootstrap, ms_ssim, ms_ssim_window, psnr, ssim


def test_constant_data_have_an_interval_of_no_width() -> None:
    found = bootstrap(np.full(20, 7.0), psnr)
    assert found.low == found.value == found.high == psnr(7.0)


def test_an_interval_is_as_wide_as_the_standard_error_says_and_always_the_same() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = bootstrap(values)
    assert found == bootstrap(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / math.sqrt(400), rel=0.15)


def test_similarities_are_one_for_the_same_and_fall_with_noise() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 64, 64, 3), np.uint8)
    noisy = np.clip(images + random.normal(0, 20, images.shape), 0, 255).astype(np.uint8)
    for found in (ssim, lambda a, b: ms_ssim(a, b, 3)):
        assert found(images, images) == pytest.approx(np.ones(3), abs=1e-5)
        assert (found(images, noisy) < 0.999).all()


@pytest.mark.parametrize("side", [16, 32, 33, 64, 100, 176, 256])
def test_ms_ssim_takes_the_largest_window_that_the_library_takes(side: int) -> None:
    import torch

    image, window = torch.rand(1, 3, side, side), ms_ssim_window(side)
    if window is not None:
        reference(image, image, data_range=1, win_size=window)
    if window != 11:
        with pytest.raises(AssertionError):
            reference(image, image, data_range=1, win_size=(window or 1) + 2)


def test_a_curve_that_needs_a_tenth_less_has_a_bd_rate_of_minus_ten_percent() -> None:
    theirs = [(float(rate), 6 * math.log2(rate)) for rate in (80, 120, 160, 240, 320)]
    ours = [(0.9 * rate, quality) for rate, quality in theirs]
    found = delta(ours, theirs)
    assert found.rate == pytest.approx(-10, abs=0.1)
    assert found.psnr == pytest.approx(-6 * math.log2(0.9), abs=0.01)


def test_curves_that_do_not_overlap_have_no_deltas() -> None:
    found = delta([(10, 20), (20, 25)], [(100, 30), (200, 35)])
    assert (found.rate, found.psnr) == (None, None)
    assert delta([(10, 20)], [(5, 10), (20, 30)]).rate is None
