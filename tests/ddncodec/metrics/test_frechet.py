import math

import pytest
import torch
from torch.nn import functional

from ddncodec.metrics.features import FEATURES, load_features
from ddncodec.metrics.frechet import frechet_distance


def test_a_set_is_at_no_distance_from_itself() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features.flip(0)) == pytest.approx(0, abs=1e-9)


def test_the_distance_of_one_dimensional_sets_is_that_of_their_means_and_deviations() -> None:
    first, second = torch.randn(2, 40, 1, generator=torch.Generator().manual_seed(0)).double() * 3
    expected = (first.mean() - second.mean()) ** 2 + (first.std() - second.std()) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected.item())


def test_the_distance_agrees_with_the_square_root_of_the_covariances_product() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(60, 5, generator=generator).double() @ torch.randn(5, 5, generator=generator).double()
                     for _ in range(2))
    one, other = torch.cov(first.T), torch.cov(second.T)
    cross = torch.linalg.eigvals(one @ other).sqrt().sum().real  # of a product of positive matrices: all positive
    expected = (first.mean(0) - second.mean(0)).square().sum() + one.trace() + other.trace() - 2 * cross
    assert frechet_distance(first, second) == pytest.approx(expected.item())


def test_fewer_images_than_features_still_have_a_distance() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(7, 9, generator=generator).split((3, 4))
    assert math.isfinite(frechet_distance(first, second))


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (5, 4))])
def test_sets_that_have_no_covariance_or_other_features_are_refused(shapes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="features"):
        frechet_distance(*(torch.zeros(shape) for shape in shapes))


def test_the_features_tell_worse_images_by_a_larger_distance() -> None:
    from ddncodec.data.faces import VALIDATION_SEEDS, Faces

    faces = Faces(64).draw(VALIDATION_SEEDS[:100])
    features = load_features()
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    blurred = functional.interpolate(functional.avg_pool2d(faces, 4), scale_factor=4)
    for worse in (noise / 4, blurred - faces):
        distances = [frechet_distance(features(faces), features((faces + much * worse).clamp(-1, 1)))
                     for much in (0.0, 0.3, 0.6, 1.0)]
        assert distances == sorted(distances)


def test_images_of_any_size_have_the_same_number_of_features() -> None:
    assert load_features()(torch.zeros(2, 3, 32, 32)).shape == (2, FEATURES)
    assert [len(maps.shape) for maps in load_features().maps(torch.zeros(2, 3, 100, 64))] == [4] * 4
