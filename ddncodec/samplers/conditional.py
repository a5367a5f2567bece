"""The guided choice by any guides: without gradients, in one pass over the levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.guides import Wish, ranks
from ddncodec.guides.expectation import Expectation, is_affine
from ddncodec.network.generator import Generator
from ddncodec.network.principal import PrincipalGenerator, SplitOffer
from ddncodec.samplers import Offer
from ddncodec.samplers.chance import Dice

TOP = 2  # of the proposals, as in the paper
LOOKAHEAD = 9  # bits: as many proposals as a level of K = 512 has
TYPICAL = 1.0  # without it images follow a guide away from what is likely
AT_ONCE = 512  # images drawn at once, 25 MB at 64×64: more are slower


class Ranked:
    """One of the `top` proposals that the wishes rank best, at random (Sec. 3.3; mixed by rank as in supplement 6).

    Of a principal generator, affine wishes rank together: by the distance to what they let expect. Without any that is
    the prediction itself, and so the smaller step the better, with the weight `typical` against all wishes together.
    lookahead: in bits. Where K is small, so many levels of a block are decided at once, by all that they can make.
    """

    def __init__(self, network: Generator, wishes: Sequence[Wish], dice: Dice, top: int = TOP,
                 lookahead: int = LOOKAHEAD, typical: float = TYPICAL) -> None:
        self._dice = dice
        self._resolution = network.config.resolution
        self._top = top
        self._lookahead = lookahead
        self._wishes, self._weight = list(wishes), 0.0
        self._expectation: Expectation | None = None
        self._segment, self._target = -1, torch.empty(0)
        if isinstance(network, PrincipalGenerator):
            affine = [wish for wish in wishes if is_affine(wish, self._resolution)]
            self._wishes = [wish for wish in wishes if wish not in affine]
            self._weight = sum(wish.weight for wish in affine) or typical * sum(wish.weight for wish in wishes)
            self._expectation = Expectation(network, affine) if self._weight else None

    def draw(self, offer: Offer, picks: Tensor) -> Tensor:
        batch, levels, k = offer.shape
        while (left := levels - picks.shape[1]) > 0:
            ahead = min(left, max(1, int(self._lookahead / log2(k))))
            every = torch.cartesian_prod(*[torch.arange(k, device=picks.device)] * ahead).view(-1, ahead)
            ways = torch.cat([part.expand(batch, len(every), -1) for part in (picks[:, None], every[None])], 2)
            best = self._ranks(offer, ways).topk(min(self._top, len(every)), largest=False).indices
            lot = (self._dice.uniform(1) * best.shape[1]).long().to(picks.device)
            picks = ways[torch.arange(batch, device=picks.device), best.gather(1, lot)[:, 0]]
        return picks

    def _ranks(self, offer: Offer, ways: Tensor) -> Tensor:
        """The weighted sum of the ranks of each way through the levels (B, C, m): (B, C), the smallest the best."""
        total = torch.zeros(ways.shape[:2], device=ways.device)
        if self._expectation is not None:
            assert isinstance(offer, SplitOffer)
            if offer.segment != self._segment:
                self._segment = offer.segment
                self._target = self._expectation.given(offer.prediction, offer.segment)
            total = total + self._weight * ranks(offer.distances(self._target, ways))
        if not self._wishes:
            return total
        parts = []
        for part in torch.split(ways, max(1, AT_ONCE // len(ways)), 1):
            images = offer.images(part)
            if images.shape[-1] != self._resolution:
                full = functional.interpolate(images.flatten(0, 1), size=self._resolution, mode="bicubic")
                images = full.view(*part.shape[:2], *full.shape[1:])
            parts.append(torch.stack([wish.distances(images) for wish in self._wishes]))
        for wish, distances in zip(self._wishes, torch.cat(parts, 2), strict=True):
            total = total + wish.weight * ranks(distances)
        return total
