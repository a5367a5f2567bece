"""The sliced Wasserstein distance between the details of two sets of images: no network has a part in it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PATCH = 7  # pixels a side
PATCHES = 64  # of an image, at random places
SLICES = 256


def sliced_distance(first: Tensor, second: Tensor, seed: int = 0) -> float:
    """How differently the fine details of two sets of images are distributed (Karras et al. 2018, Sec. 5).

    Of each image, patches at random places, less what a 2×2 average keeps of it; of all patches, their products with
    random directions, sorted; and of the sorted numbers the mean absolute difference.

    Args:
        first: (N, 3, R, R) in [−1, 1].
        second: As many.
        seed: Of places and directions, which are the same for both sets.

    Returns:
        The distance, in thousandths of the range from −1 to 1; 0 for equal sets.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = functional.normalize(torch.randn(3 * PATCH**2, SLICES, generator=generator), dim=0)
    places = torch.randint((first.shape[-1] - PATCH + 1) ** 2, (len(first), PATCHES), generator=generator)
    one, other = (_patches(images, places) @ directions for images in (first, second))
    return float((one.sort(0).values - other.sort(0).values).abs().mean()) * 500


def _patches(images: Tensor, places: Tensor) -> Tensor:
    """The patches of an image's detail at places (N, n), in the order of rows: (N · n, 3 · PATCH²)."""
    coarse = functional.interpolate(functional.avg_pool2d(images, 2), images.shape[-2:], mode="bilinear")
    rows = [functional.unfold(detail[None], PATCH)[0].T[where] for detail, where in
            zip(images - coarse, places, strict=True)]
    return torch.cat(rows)
