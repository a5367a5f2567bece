"""Guides: what may stand in the place of the distance to a target image (Sec. 3.3 of the paper).

A guide is one method, `transform`, from images to the domain of the comparison: grey, small, edges, classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Guide(Protocol):
    """A map from images to the domain in which they are compared with a target.

    Examples:
        >>> class Halves:
        ...     def transform(self, images):
        ...         return images.unflatten(2, (2, -1)).mean((1, 3, 4))
    """

    def transform(self, images: Tensor) -> Tensor:
        """Map images to the domain.

        Args:
            images: (N, 3, R, R) in [−1, 1] or slightly beyond.

        Returns:
            (N, …).
        """
        ...


@dataclass(frozen=True, eq=False)
class Objective:
    """Objective to minimise: the squared L2 distance between transform(images) and a target.

    Args:
        guide: The transform.
        target: (1 or B, …), in the guide's domain.
        weight: Against other objectives, above 0.
        mask: (1, 1, R, R), 1 where the guide looks, and 0 where it sees grey instead of the image.
        noise: Standard deviation of the noise in the image that the target was made of, in units of [−1, 1].

    Examples:
        >>> import torch
        >>> from ddncodec.guides import Objective
        >>> from ddncodec.guides.kinds import Grey
        >>> objective = Objective.like(Grey(), torch.zeros(1, 3, 64, 64), weight=2)
        >>> objective.target.shape
        torch.Size([1, 1, 64, 64])
    """

    guide: Guide
    target: Tensor
    weight: float = 1.0
    mask: Tensor | None = None
    noise: float = 0.0

    @classmethod
    def like(cls, guide: Guide, images: Tensor, weight: float = 1.0, mask: Tensor | None = None, noise: float = 0.0
             ) -> Objective:
        """The objective whose target is what the guide sees in images.

        Args:
            guide: The transform.
            images: (1 or B, 3, R, R) in [−1, 1].
            weight: As in `Objective`.
            mask: As in `Objective`.
            noise: As in `Objective`.

        Returns:
            The objective.
        """
        return cls(guide, guide.transform(images if mask is None else images * mask), weight, mask, noise)

    def seen(self, images: Tensor) -> Tensor:
        """Images (N, 3, R, R) in the guide's domain, flat: (N, D)."""
        return self.guide.transform(images if self.mask is None else images * self.mask).flatten(1)

    def distances(self, images: Tensor) -> Tensor:
        """Squared distances of images (B, C, 3, R, R) to the target: (B, C)."""
        found = self.seen(images.flatten(0, 1)).view(*images.shape[:2], -1)
        return (found - self.target.flatten(1)[:, None]).square().sum(2)
