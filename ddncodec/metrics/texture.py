"""Features of texture: what fixed random convolutions see in an image's fine details, averaged over the image.

No network learned them, and so none learned with a refiner, or to see or not to see blur. Random filters tell textures
apart (Ustyuzhaninov et al. 2017).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

FILTERS, FEATURES = 32, 64
SIDES = (5, 5)  # pixels of the two layers' filters
GAIN = 10.0  # of details, and so of distances
BATCH = 100  # images at once


@torch.no_grad()
def texture_features(images: Tensor) -> Tensor:
    """Features of images (N, 3, R, R) in [−1, 1], R at least 16: (N, FEATURES)."""
    first, second = (weights.to(images.device) for weights in _filters())
    found = []
    for part in torch.split(images, BATCH):
        detail = GAIN * (part - functional.avg_pool2d(part, 3, 1, 1, count_include_pad=False))
        seen = functional.conv2d(functional.conv2d(detail, first).relu(), second, stride=2).relu()
        found.append(seen.mean((2, 3)))
    return torch.cat(found)


@cache
def _filters() -> tuple[Tensor, Tensor]:
    """(FILTERS, 3, 5, 5) and (FEATURES, FILTERS, 5, 5), each filter of mean 0 and length 1."""
    random = np.random.Generator(np.random.PCG64(0))
    weights = []
    for shape in ((FILTERS, 3, SIDES[0], SIDES[0]), (FEATURES, FILTERS, SIDES[1], SIDES[1])):
        drawn = random.standard_normal(shape)
        drawn -= drawn.mean((1, 2, 3), keepdims=True)
        drawn /= np.sqrt(np.square(drawn).sum((1, 2, 3), keepdims=True))
        weights.append(torch.from_numpy(drawn).float())
    return weights[0], weights[1]
