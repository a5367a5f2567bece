"""The guided choice by any guides: without gradients, in one pass over the levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.guides import Wish, ranks
from ddncodec.samplers import Offer
from ddncodec.samplers.chance import Dice

AT_ONCE = 512  # images drawn at once, 25 MB at 64×64: more are slower


class Ranked:
    """One of the `top` proposals that the wishes rank best, at random (Sec. 3.3; mixed by rank as in supplement 6).

    resolution: of the images that guides see. lookahead: in bits. Where K is small, so many levels of a block are
    decided at once, by all that they can make together. prior: weight of the rank by ‖proposal − prediction‖².
    """

    def __init__(self, wishes: Sequence[Wish], dice: Dice, resolution: int, top: int = 2, lookahead: int = 6,
                 prior: float = 0.0) -> None:
        self._wishes = wishes
        self._dice = dice
        self._resolution = resolution
        self._top = top
        self._lookahead = lookahead
        self._prior = prior

    def draw(self, offer: Offer, picks: Tensor) -> Tensor:
        batch, levels, k = offer.shape
        before = offer.images(picks[:, None])
        while (left := levels - picks.shape[1]) > 0:
            ahead = min(left, max(1, int(self._lookahead / log2(k))))
            every = torch.cartesian_prod(*[torch.arange(k, device=picks.device)] * ahead).view(-1, ahead)
            ways = torch.cat([part.expand(batch, len(every), -1) for part in (picks[:, None], every[None])], 2)
            best = self._ranks(offer, ways, before).topk(min(self._top, len(every)), largest=False).indices
            lot = (self._dice.uniform(1) * best.shape[1]).long().to(picks.device)
            picks = ways[torch.arange(batch, device=picks.device), best.gather(1, lot)[:, 0]]
        return picks

    def _ranks(self, offer: Offer, ways: Tensor, before: Tensor) -> Tensor:
        """The mean rank of each way through the levels (B, C, m): (B, C), the smallest the best."""
        parts = []
        for part in ways.split(max(1, AT_ONCE // len(ways)), 1):
            images = offer.images(part)
            step = (images - before).square().sum((2, 3, 4)) if self._prior else images.new_zeros(images.shape[:2])
            full = images.flatten(0, 1)
            if full.shape[-1] != self._resolution:
                full = functional.interpolate(full, size=self._resolution, mode="bicubic")
            full = full.view(*part.shape[:2], *full.shape[1:])
            parts.append(torch.stack([step, *(wish.distances(full) for wish in self._wishes)]))
        weights = [self._prior, *(wish.weight for wish in self._wishes)]
        return sum(weight * ranks(distances) for weight, distances in zip(weights, torch.cat(parts, 2), strict=True))
