"""Samplers: what decides, at every level, which of the K proposals is taken.

The generator asks a sampler once for each block; the guided sampler of the paper is one of them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.network.layer import NodeOffer, Shape
from ddncodec.network.selection import nearest_path

OfferT = TypeVar("OfferT", contravariant=True)


class Choice(NamedTuple):
    """indices: (B, n) picks. guided: (B, n) bool, false where a pick was random; None where nothing guided."""

    indices: Tensor
    guided: Tensor | None = None


class Offer(Protocol):
    """The n levels of a block, of K proposals each, on top of what B images are so far."""

    @property
    def shape(self) -> Shape:
        """B, n and K."""
        ...

    @property
    def odds(self) -> Tensor | None:
        """How likely each proposal is by itself, (B, n, K); None where all are alike."""
        ...

    def images(self, picks: Tensor) -> Tensor:
        """What C ways through the first m levels show, before any refining: picks (B, C, m) → (B, C, 3, r, r)."""
        ...

    def reach(self, picks: Tensor) -> Tensor:
        """‖proposal − prediction‖² of each proposal of the level after these picks: (B, m) → (B, K)."""
        ...


class Sampler(Protocol[OfferT]):
    """What the generator asks for its picks."""

    def choose(self, offer: OfferT) -> Choice:
        """Picks for all n levels of a block."""
        ...


class Draw(Protocol):
    """What goes on where picks were made already: after a prefix, or after none."""

    def draw(self, offer: Offer, picks: Tensor) -> Tensor:
        """The picks of all n levels (B, n), given those of the first m, (B, m)."""
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

    def choose(self, offer: NodeOffer) -> Choice:
        residual = self.target(offer.prediction.shape[-1]) - offer.prediction
        proposals = offer.proposals
        n, k = proposals.nodes.shape[:2]
        if self._chance is None or not self._chain_dropout:
            indices = nearest_path(proposals, residual)
            return Choice(indices, torch.ones_like(indices, dtype=torch.bool))
        guided = self._chance.uniform(len(residual), n) >= self._chain_dropout
        random = (self._chance.uniform(len(residual), n) * k).long()
        random, guided = random.masked_fill(guided, -1).to(residual.device), guided.to(residual.device)
        return Choice(nearest_path(proposals, residual, random), guided)


class Replay:
    """Takes the recorded picks: indices (B, N), in the order of the levels; after them, if given, what `then` draws."""

    def __init__(self, indices: Tensor, then: Draw | None = None) -> None:
        self._indices = indices
        self._then = then
        self._next = 0

    def choose(self, offer: Offer) -> Choice:
        start, levels = self._next, offer.shape.levels
        self._next += levels
        picks = self._indices[:, start : self._next]
        return Choice(picks if self._then is None or picks.shape[1] == levels else self._then.draw(offer, picks))


def downsample(image: Tensor, side: int) -> Tensor:
    """Area average of (B, C, R, R) to (B, C, side, side)."""
    return image if image.shape[-1] == side else functional.interpolate(image, size=side, mode="area")
