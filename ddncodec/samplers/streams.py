"""Random numbers that belong to an image, so that they do not depend on what else is in its batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class PerImageStreams:
    """A random stream for each image: image i of a seed has the same numbers in whatever batch it is.

    Args:
        seed: At least 0.
        images: The numbers of the batch's images.
    """

    def __init__(self, seed: int, images: Sequence[int]) -> None:
        self._streams = [np.random.Generator(np.random.PCG64([seed, image])) for image in images]

    def uniform(self, each: int) -> Tensor:
        """The next `each` numbers in [0, 1) of each image: (images, each), float64, on the CPU."""
        return torch.from_numpy(np.stack([stream.random(each) for stream in self._streams]))


class BatchStreams:
    """Random numbers of a training batch: an image's are the same however the batch is cut into parts.

    Args:
        seed: Of the whole batch.
        total: Images of the whole batch.
        first: Position of the part's first image in the batch.
    """

    def __init__(self, seed: int, total: int, first: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._total, self._first = total, first

    def below(self, limit: int) -> int:
        """The next whole number below a limit, one for the whole batch."""
        return int(torch.randint(limit, (), generator=self._generator))

    def uniform(self, count: int, each: int) -> Tensor:
        """The next `each` numbers in [0, 1) of each of the part's `count` images: (count, each), on the CPU."""
        return torch.rand(self._total, each, generator=self._generator)[self._first : self._first + count]
