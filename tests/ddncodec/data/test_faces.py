from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddncodec.data import faces
from ddncodec.data.faces import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, FaceGenerator, Faces
from ddncodec.errors import DataMissing
from ddncodec.pixels import to_pixels

EXAMPLE = Path(__file__).parents[3] / "examples/face.png"


def test_a_seed_is_the_same_face_everywhere() -> None:
    """examples/face.png is the face of a test seed, drawn on another machine."""
    drawn = to_pixels(Faces(64).draw([2_000_028]))[0]
    with Image.open(EXAMPLE) as example:
        assert np.abs(drawn.astype(int) - np.asarray(example)).max() <= 1


def test_a_face_is_the_generators_image_of_the_seeds_latent() -> None:
    latent = torch.randn(100, generator=torch.Generator().manual_seed(7))
    image = FaceGenerator.load()(latent[None, :, None, None])
    torch.testing.assert_close(Faces(64).draw([7]), image, rtol=0, atol=1 / 255)


def test_training_validation_and_test_seeds_are_apart_and_used_in_order() -> None:
    faces = Faces(16)
    assert TRAIN_SEEDS.stop <= VALIDATION_SEEDS.start
    assert VALIDATION_SEEDS.stop <= TEST_SEEDS.start
    torch.testing.assert_close(faces.images(range(6, 8)), faces.draw([6, 7]))
    # Round again after a million.
    torch.testing.assert_close(faces.images(range(1_000_000, 1_000_002)), faces.draw([0, 1]))
    torch.testing.assert_close(faces.validation(2), faces.draw([1_000_000, 1_000_001]))


def test_faces_are_8_bit_pictures_at_any_resolution_up_to_64() -> None:
    for side in (8, 64):
        image = Faces(side).draw([1])
        assert image.shape == (1, 3, side, side)
        steps = (image + 1) * 127.5
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    with pytest.raises(DataMissing):
        Faces(128)


def test_a_generator_that_was_tampered_with_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "FACES_SHA256", "0" * 64)
    with pytest.raises(DataMissing, match="not the face generator"):
        FaceGenerator.load()
