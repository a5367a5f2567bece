"""What augmentation keeps, what it changes, and that it is decided by its generator alone."""

import torch
from torch import Tensor

from ddncodec.training.augment import augment


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_a_share_half_are_mirrored_and_the_rest_untouched() -> None:
    before = images(400)
    after = augment(before, 0.0, seeded())
    kept = (after == before).flatten(1).all(1)
    mirrored = (after == before.flip(3)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 150 < kept.sum() < 250


def test_a_share_is_changed_and_stays_an_image() -> None:
    before = images(400)
    after = augment(before, 0.25, seeded())
    same = (after == before).flatten(1).all(1) | (after == before.flip(3)).flatten(1).all(1)
    assert 60 < (~same).sum() < 140
    assert after.shape == before.shape
    assert after.abs().max() <= 1
    assert after.isfinite().all()


def test_the_generator_decides() -> None:
    before = images(20)
    assert torch.equal(augment(before, 0.5, seeded()), augment(before, 0.5, seeded()))
    assert not torch.equal(augment(before, 0.5, seeded()), augment(before, 0.5, seeded(1)))
