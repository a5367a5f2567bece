"""Guides: what may stand in the place of the distance to a target image (Sec. 3.3 of the paper).

A guide is one method, `transform`, from images to the domain in which a wish is told: grey, small, edges, classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Guide(Protocol):
    """From images to what is wished of them."""

    def transform(self, images: Tensor) -> Tensor:
        """(N, 3, R, R) in [−1, 1] or slightly beyond → (N, …)."""
        ...


@dataclass(frozen=True, eq=False)
class Wish:
    """That images look to a guide like a target, (1 or B, …), in its domain: the smaller the squared L2, the better.

    weight: against other wishes, above 0. mask: (1, 1, R, R), 1 where the guide looks and 0 where images are neutral
    to it, grey. noise: standard deviation of the noise in the image that the target was made of, in [−1, 1].
    """

    guide: Guide
    target: Tensor
    weight: float = 1.0
    mask: Tensor | None = None
    noise: float = 0.0

    @classmethod
    def like(cls, guide: Guide, images: Tensor, weight: float = 1.0, mask: Tensor | None = None, noise: float = 0.0
             ) -> Wish:
        """The wish to look to the guide as these images (1 or B, 3, R, R) do."""
        return cls(guide, guide.transform(images if mask is None else images * mask), weight, mask, noise)

    def seen(self, images: Tensor) -> Tensor:
        """Images (N, 3, R, R) in the guide's domain, flat: (N, D)."""
        return self.guide.transform(images if self.mask is None else images * self.mask).flatten(1)

    def distances(self, images: Tensor) -> Tensor:
        """Of images (B, C, 3, R, R) to the target: (B, C)."""
        found = self.seen(images.flatten(0, 1)).view(*images.shape[:2], -1)
        return (found - self.target.flatten(1)[:, None]).square().sum(2)


def ranks(distances: Tensor) -> Tensor:
    """How many of the others are nearer, as a share: (B, C) → (B, C) in [0, 1]; the equally near rank alike."""
    nearer = torch.searchsorted(distances.sort(1).values, distances)
    return nearer / max(1, distances.shape[1] - 1)
