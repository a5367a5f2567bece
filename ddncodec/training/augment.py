"""Training images made less alike, so that a network meets photographs that are not framed and lit like its faces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHIFT, ANGLE, ZOOM = 0.12, 0.25, 0.25  # of the side, in radians, as a logarithm
GAIN, COLOUR, OFFSET = 0.4, 0.15, 0.25  # logarithms of contrast and of each colour's; brightness in [−1, 1]
BACKGROUND = 0.25  # probability of another background
GREY = 0.1  # probability of no colour at all


def augment(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Mirror half of the images (B, 3, R, R); of a share of them also change framing, light and background."""
    count = len(images)
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    chosen = (torch.rand(count, generator=generator) < share).nonzero()[:, 0]
    if len(chosen):
        images = images.index_copy(0, chosen, _relight(_reframe(images[chosen], generator), generator))
    return images


def _reframe(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, zoom and shift; borders are mirrored."""
    angle = _spread(len(images), ANGLE, generator).flatten()
    zoom = _spread(len(images), ZOOM, generator).flatten().exp()
    shift = _spread(len(images), 2 * SHIFT, generator, 2).flatten(1)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    affine = torch.cat([rotation * zoom[:, None, None], shift[:, :, None]], 2)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _relight(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change background, contrast, colours and brightness."""
    count = len(images)
    side = images.shape[-1]
    line = torch.linspace(-1, 1, side)
    slope = [_spread(count, 0.5, generator) for _ in range(2)]
    tint = _spread(count, 0.3, generator, 3)
    other = (_spread(count, 1.0, generator) + tint + slope[0] * line[:, None] + slope[1] * line).clamp(-1, 1)
    # A face fills an ellipse about the centre; the background shows through towards the border.
    distance = ((line / 0.85).square() + ((line[:, None] - 0.1) / 1.1).square()).sqrt()
    chosen = (torch.rand(count, 1, 1, 1, generator=generator) < BACKGROUND).float()
    blend = chosen * ((distance - 0.85) / 0.3).clamp(0, 1)
    images = images + blend * (other - images)
    grey = torch.rand(count, 1, 1, 1, generator=generator) < GREY
    images = torch.where(grey, images.mean(1, keepdim=True).expand_as(images), images)
    colour = _spread(count, COLOUR, generator, 3)
    gain = (_spread(count, GAIN, generator) + colour).exp()
    middle = images.mean((1, 2, 3), keepdim=True)
    return (middle + gain * (images - middle) + _spread(count, OFFSET, generator)).clamp(-1, 1)


def _spread(count: int, reach: float, generator: torch.Generator, channels: int = 1) -> Tensor:
    """Uniform in ±reach: (count, channels, 1, 1)."""
    draws = torch.stack([torch.rand(count, generator=generator) for _ in range(channels)], 1)
    return ((2 * draws - 1) * reach)[:, :, None, None]
