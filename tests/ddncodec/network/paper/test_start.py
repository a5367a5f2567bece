from itertools import product

import pytest
import torch

from ddncodec.metrics.distortion import mean_psnr
from ddncodec.network.paper.blockwise import BlockwiseGenerator
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.paper.start import (
    _first,
    _principal_planes,
    fit_levels,
    lloyd,
    prime_factors,
    start,
)
from ddncodec.pixels import to_pixels


def smooth_images(count: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")


def test_prime_factors() -> None:
    assert [prime_factors(n) for n in (2, 12, 97, 512)] == [[2], [2, 2, 3], [97], [2] * 9]


def test_lloyd_finds_the_best_centroids() -> None:
    values = torch.tensor([-5.0, -4.9, -5.1, 0.1, -0.1, 0.0, 7.0, 7.2, 6.8])
    torch.testing.assert_close(lloyd(values, 3), torch.tensor([-5.0, 0.0, 7.0]))
    normal = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([-1.51, -0.4528, 0.4528, 1.51])  # Lloyd and Max's quantiser of a Gaussian
    torch.testing.assert_close(lloyd(normal, 4), expected, rtol=0, atol=0.03)


def test_a_binary_level_splits_the_axis_of_largest_variance_at_its_mean() -> None:
    samples = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 2.0]) + 3
    nodes = fit_levels(samples, 1, 2)
    step = 5 * (2 / torch.pi) ** 0.5
    expected = torch.tensor([[3.0, 3 - step, 3.0], [3.0, 3 + step, 3.0]])
    torch.testing.assert_close(nodes[0][nodes[0][:, 1].argsort()], expected, rtol=0, atol=0.15)


def test_k_of_several_factors_is_as_good_as_its_factors_in_a_row() -> None:
    samples = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(1.0, 7)
    joint, single = fit_levels(samples, 1, 8)[0], fit_levels(samples, 3, 2)
    sums = torch.stack([sum((single[i, j] for i, j in enumerate(path)), torch.zeros(6))
                        for path in product(range(2), repeat=3)])
    errors = [torch.cdist(samples, nodes).square().min(1).values.mean() for nodes in (joint, sums)]
    torch.testing.assert_close(*errors, rtol=1e-3, atol=0)


def test_a_network_started_from_data_is_a_codec_before_its_first_step() -> None:
    images = smooth_images(600, 16)
    torch.manual_seed(0)
    network = BlockwiseGenerator(BlockwiseConfig.default(2, 96, 16, channels=8, planes=32))
    quality = []
    for _ in range(2):
        decoded = network.reconstruct(images[500:]).image
        quality.append(mean_psnr(to_pixels(images[500:]), to_pixels(decoded)))
        start(network, iter(images[:500].split(250)))
    assert quality[1] > quality[0] + 5
    assert quality[1] > 20
    stage = network.config.stages[-1]
    planes = network.state_dict()[f"stages.{len(network.config.stages) - 1}.planes"]
    torch.testing.assert_close(planes @ planes.T, torch.eye(stage.planes), rtol=0, atol=1e-4)


def test_a_randomised_search_finds_the_planes_of_large_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    residual = smooth_images(200, 16)
    exact = _principal_planes(residual, 10)
    monkeypatch.setattr("ddncodec.network.paper.start.EXACT_PLANES", 0)
    found = _principal_planes(residual, 10)
    torch.testing.assert_close(found @ found.T, torch.eye(10), rtol=0, atol=1e-4)
    torch.testing.assert_close((found @ exact.T).square().sum(), torch.tensor(10.0), rtol=0.02, atol=0)
    few = _principal_planes(residual[:1], 10)  # three planes are all that one image has
    torch.testing.assert_close(few @ few.T, torch.eye(10), rtol=0, atol=1e-4)


def test_no_more_images_are_taken_than_fit_in_memory() -> None:
    taken = iter(torch.arange(12.0).split(5))
    assert _first(taken, 7).tolist() == list(range(7))
    assert len(next(taken)) == 2  # what is not needed is not drawn
    assert len(_first(iter(torch.arange(12.0).split(5)), 100)) == 12
