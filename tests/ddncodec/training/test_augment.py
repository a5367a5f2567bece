"""What augmentation keeps, what it changes, and that an image's seed alone decides it."""

import torch
from torch import Tensor

from ddncodec.training.augment import DRAWS, Draws, _reframe, _relight, augment, close_ups


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_without_a_share_half_are_mirrored_and_the_rest_untouched() -> None:
    before = images(400)
    after = augment(before, 0.0, range(400))
    kept = (after == before).flatten(1).all(1)
    mirrored = (after == before.flip(3)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 150 < kept.sum() < 250


def test_a_share_is_changed_and_stays_an_image() -> None:
    before = images(400)
    after = augment(before, 0.25, range(400))
    same = (after == before).flatten(1).all(1) | (after == before.flip(3)).flatten(1).all(1)
    assert 60 < (~same).sum() < 140
    assert after.shape == before.shape
    assert after.abs().max() <= 1
    assert after.isfinite().all()


def test_a_seed_decides_what_becomes_of_its_image_whatever_else_is_in_the_batch() -> None:
    before = images(20)
    whole = augment(before, 0.5, range(20))
    parts = torch.cat([augment(before[:7], 0.5, range(7)), augment(before[7:], 0.5, range(7, 20))])
    torch.testing.assert_close(parts, whole)
    assert not torch.equal(augment(before, 0.5, range(20, 40)), whole)


def test_every_draw_is_used_once() -> None:
    """A number that is drawn and not used would be waste; one that is missing an error."""
    draws = Draws(torch.zeros(1, DRAWS))
    for _ in range(2):
        draws.chance(0.5)
    _relight(_reframe(images(1), draws), draws)
    assert draws._used == DRAWS


def test_a_close_up_is_a_few_pixels_of_its_image_and_nearly_flat() -> None:
    before = images(100)
    after = close_ups(before, range(100))
    assert after.shape == before.shape
    assert after.abs().max() <= 1
    assert after.diff(dim=3).abs().mean() < before.diff(dim=3).abs().mean() / 4
    torch.testing.assert_close(close_ups(before[50:], range(50, 100)), after[50:])
