"""Samplers: what decides, at every level, which of the K proposals is taken.

The generator asks a sampler once for each block; the guided sampler of the paper is one of them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.network.layer import Proposals
from ddncodec.network.selection import nearest_path


class Choice(NamedTuple):
    """indices: (B, n) picks. guided: (B, n) bool, false where a pick was random; None where nothing guided."""

    indices: Tensor
    guided: Tensor | None = None


class Sampler(Protocol):
    """What the generator asks for its picks."""

    def choose(self, proposals: Proposals, prediction: Tensor) -> Choice:
        """Picks for the next n levels, whose proposals add to the prediction (B, 3, r, r)."""
        ...


class Chance:
    """The random numbers of some images of a batch: an image's are the same however a batch is cut into parts.

    seed: of the whole batch. total: its images. first: the part's first one.
    """

    def __init__(self, seed: int, total: int, first: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._total, self._first = total, first

    def below(self, limit: int) -> int:
        """The next whole number below a limit, one for the whole batch."""
        return int(torch.randint(limit, (), generator=self._generator))

    def uniform(self, count: int, each: int) -> Tensor:
        """The next `each` numbers in [0, 1) of each of `count` images: (count, each), on the CPU."""
        return torch.rand(self._total, each, generator=self._generator)[self._first : self._first + count]


class Guided:
    """The guided sampler: the node nearest to the target in L2 (Sec. 3.1), or with chain dropout a random one.

    target: (B, 3, R, R) in [−1, 1]; coarse levels compare with its area average. chain_dropout: probability
    of a random pick at each level, drawn from `chance`.
    """

    def __init__(self, target: Tensor, chain_dropout: float = 0.0, chance: Chance | None = None) -> None:
        self._targets = {target.shape[-1]: target}
        self._chain_dropout = chain_dropout
        self._chance = chance

    def target(self, side: int) -> Tensor:
        """The target at a block's resolution: (B, 3, side, side)."""
        if side not in self._targets:
            self._targets[side] = downsample(self._targets[max(self._targets)], side)
        return self._targets[side]

    def choose(self, proposals: Proposals, prediction: Tensor) -> Choice:
        residual = self.target(prediction.shape[-1]) - prediction
        n, k = proposals.nodes.shape[:2]
        if self._chance is None or not self._chain_dropout:
            indices = nearest_path(proposals, residual)
            return Choice(indices, torch.ones_like(indices, dtype=torch.bool))
        guided = self._chance.uniform(len(residual), n) >= self._chain_dropout
        random = (self._chance.uniform(len(residual), n) * k).long()
        random, guided = random.masked_fill(guided, -1).to(residual.device), guided.to(residual.device)
        return Choice(nearest_path(proposals, residual, random), guided)


class Replay:
    """Takes the recorded picks: indices (B, N), in the order of the levels."""

    def __init__(self, indices: Tensor) -> None:
        self._indices = indices
        self._next = 0

    def choose(self, proposals: Proposals, prediction: Tensor) -> Choice:
        start = self._next
        self._next += proposals.nodes.shape[0]
        return Choice(self._indices[:, start : self._next])


def downsample(image: Tensor, side: int) -> Tensor:
    """Area average of (B, C, R, R) to (B, C, side, side)."""
    return image if image.shape[-1] == side else functional.interpolate(image, size=side, mode="area")
