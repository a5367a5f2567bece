"""Training images made less alike, so that a network meets photographs that are not framed and lit like its faces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

SHIFT, ANGLE, ZOOM = 0.12, 0.25, 0.25  # of the side, in radians, as a logarithm
GAIN, COLOUR, OFFSET = 0.4, 0.15, 0.25  # logarithms of contrast and of each colour's; brightness in [−1, 1]
BACKGROUND = 0.25  # probability of another background
GREY = 0.1  # probability of no colour at all
CLOSE, ABOUT = 1 / 6, 0.4  # the share of a side that a close-up shows, and how far from the middle, of the side
DRAWS = 19  # random numbers an image


def augment(images: Tensor, share: float, seeds: Sequence[int]) -> Tensor:
    """Mirror half of the images (B, 3, R, R); of a share of them also change framing, light and background.

    seeds: (B,), of each image's random numbers, so that they do not depend on what else is in the batch.
    """
    draws = Draws.of_seeds(seeds)
    images = torch.where(draws.chance(0.5), images.flip(3), images)
    chosen = draws.chance(share).flatten().nonzero()[:, 0]
    if len(chosen):
        draws = draws.of(chosen)
        images = images.index_copy(0, chosen, _relight(_reframe(images[chosen], draws), draws))
    return images


def close_ups(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Of each image (B, 3, R, R) a small part, enlarged, in another light: nearly flat, as faces are nowhere.

    seeds: as for `augment`.
    """
    draws = Draws.of_seeds(seeds)
    return _relight(_reframe(images, draws, CLOSE, ABOUT), draws)


class Draws:
    """Numbers of B images, uniform in [0, 1): (B, DRAWS), each used once."""

    def __init__(self, uniform: Tensor, used: int = 0) -> None:
        self._uniform, self._used = uniform, used

    @classmethod
    def of_seeds(cls, seeds: Sequence[int]) -> Draws:
        """The numbers of images with these seeds."""
        return cls(torch.stack([torch.rand(DRAWS, generator=torch.Generator().manual_seed(seed)) for seed in seeds]))

    def of(self, chosen: Tensor) -> Draws:
        """What is left of some of the images."""
        return Draws(self._uniform[chosen], self._used)

    def chance(self, probability: float) -> Tensor:
        """True with this probability: (B, 1, 1, 1)."""
        return self._take(1) < probability

    def spread(self, reach: float, channels: int = 1) -> Tensor:
        """Uniform in ±reach: (B, channels, 1, 1)."""
        return (2 * self._take(channels) - 1) * reach

    def _take(self, count: int) -> Tensor:
        first = self._used
        self._used += count
        return self._uniform[:, first : self._used, None, None]


def _reframe(images: Tensor, draws: Draws, shown: float = 1.0, reach: float = SHIFT) -> Tensor:
    """Rotate, zoom and shift; borders are mirrored. shown: about which share of a side. reach: of shifts."""
    angle = draws.spread(ANGLE).flatten()
    zoom = shown * draws.spread(ZOOM).flatten().exp()
    shift = draws.spread(2 * reach, 2).flatten(1)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    affine = torch.cat([rotation * zoom[:, None, None], shift[:, :, None]], 2)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _relight(images: Tensor, draws: Draws) -> Tensor:
    """Change background, contrast, colours and brightness."""
    line = torch.linspace(-1, 1, images.shape[-1])
    slopes = torch.split(draws.spread(0.5, 2), 1, 1)
    shade = draws.spread(1.0) + draws.spread(0.3, 3)
    other = (shade + slopes[0] * line[:, None] + slopes[1] * line).clamp(-1, 1)
    # A face fills an ellipse about the centre; the background shows through towards the border.
    distance = ((line / 0.85).square() + ((line[:, None] - 0.1) / 1.1).square()).sqrt()
    blend = draws.chance(BACKGROUND) * ((distance - 0.85) / 0.3).clamp(0, 1)
    images = images + blend * (other - images)
    images = torch.where(draws.chance(GREY), images.mean(1, keepdim=True).expand_as(images), images)
    gain = (draws.spread(GAIN) + draws.spread(COLOUR, 3)).exp()
    middle = images.mean((1, 2, 3), keepdim=True)
    return (middle + gain * (images - middle) + draws.spread(OFFSET)).clamp(-1, 1)
