"""Where training images come from. A source is a function of position alone: a resumed run, and another process of
the same job, see exactly what they should.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ddncodec.data.faces import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, Faces
from ddncodec.data.packed import Packed, pack

__all__ = ["TEST_SEEDS", "TRAIN_SEEDS", "VALIDATION_SEEDS", "Faces", "Packed", "Source", "pack"]


class Source(Protocol):
    """Images (B, 3, R, R) in [−1, 1] at the 256 values of 8-bit pictures, on the CPU."""

    def images(self, positions: range) -> Tensor:
        """The training images at these positions of an endless stream."""
        ...

    def validation(self, count: int) -> Tensor:
        """Up to `count` images that no training position has, always the same ones."""
        ...

    def labels(self, positions: range) -> Tensor | None:
        """The classes (B,) of `images`, int64, where they are known."""
        ...

    def validation_labels(self, count: int) -> Tensor | None:
        """The classes of `validation`, where they are known."""
        ...
