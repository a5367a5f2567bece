"""What the judge measures of details, and whether a classifier apart tells blur."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from ddncodec.evaluation.judge import Judge
from ddncodec.evaluation.told_apart import told_apart
from ddncodec.metrics.distortion import Pixels
from ddncodec.metrics.kernel import kernel_distance
from ddncodec.metrics.texture import texture_features
from ddncodec.pixels import rounded, to_tensor


@pytest.fixture(scope="module")
def originals() -> Pixels:
    """Forty soft pictures with grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(40, 3, 4, 4, generator=generator) - 0.5
    soft = functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return rounded(soft + 0.1 * torch.randn(40, 3, 32, 32, generator=generator)).numpy()


def blurred(pixels: Pixels) -> Pixels:
    return rounded(functional.avg_pool2d(to_tensor(pixels), 3, 1, 1, count_include_pad=False)).numpy()


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the classifier."""
    monkeypatch.setattr("ddncodec.evaluation.told_apart.STEPS", 40)


def test_a_classifier_apart_tells_blur_and_not_what_is_the_same(originals: Pixels) -> None:
    found = told_apart(originals, blurred(originals))
    assert (found.accuracy, found.precision, found.recall) == (1, 1, 1)
    assert found.log_odds > 2
    same = told_apart(originals, originals)
    assert same.accuracy == 0.5


def test_the_judge_sees_that_details_are_missing(originals: Pixels) -> None:
    judge = Judge(originals, told_apart=True)
    same, soft = judge.figures(originals), judge.figures(blurred(originals))
    powers = [name for name in same if name.startswith("power_")]
    assert powers == ["power_25", "power_31", "power_37", "power_43"]
    assert all(same[name]["value"] == 1 for name in powers)
    assert all(soft[name]["value"] < 0.5 for name in powers)  # type: ignore[operator]
    assert same["sliced"]["value"] == 0
    assert same["told_apart_accuracy"]["value"] == 0.5
    for name in ("sliced", "fd_texture", "kd_texture", "told_apart_accuracy"):
        assert soft[name]["value"] > same[name]["value"]  # type: ignore[operator]
    assert "told_apart_accuracy" not in Judge(originals).figures(originals)
    assert "told_apart_accuracy" not in judge.figures(originals[:9], range(9))  # too few


def test_texture_is_what_stays_when_images_are_shuffled_or_shifted(originals: Pixels) -> None:
    features = texture_features(to_tensor(originals))
    assert features.shape == (40, 64)
    shifted = texture_features(to_tensor(originals).roll((3, 5), (2, 3)))
    soft = texture_features(to_tensor(blurred(originals)))
    assert (shifted - features).norm() < (soft - features).norm() / 3  # a shift has a seam where borders meet
    assert torch.allclose(texture_features(to_tensor(originals)[[5]])[0], features[5], atol=1e-5)


def test_the_kernel_distance_is_that_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=generator), torch.randn(4, 3, generator=generator) + 1
    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a.double() @ b.double()) / 3 + 1) ** 3
    wanted = (np.mean([kernel(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
              + np.mean([kernel(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
              - 2 * np.mean([kernel(a, b) for a in x for b in y]))
    assert kernel_distance(x, y) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="two sets"):
        kernel_distance(x, y[:, :2])


def test_the_kernel_distance_of_one_kind_is_nought_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [kernel_distance(torch.randn(20, 4, generator=generator), torch.randn(30, 4, generator=generator))
             for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5
    other = torch.randn(30, 4, generator=generator) + 2
    assert kernel_distance(torch.randn(20, 4, generator=generator), other) > 10 * max(found)
