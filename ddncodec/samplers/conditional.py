"""The conditional sampler: picks that lower any objectives, without gradients, in one pass (Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.guides import Objective
from ddncodec.samplers.protocol import Proposals
from ddncodec.samplers.streams import PerImageStreams

TOP = 2  # of the proposals, as in the paper
LOOKAHEAD = 9  # bits: as many proposals as a level of K = 512 has
TYPICAL = 1.0  # without it images follow a guide away from what is likely
AT_ONCE = 512  # images drawn at once, 25 MB at 64×64: more are slower


class Expectation(Protocol):
    """What affine objectives let a generator expect of the finished image: one distance in place of theirs.

    rest: the objectives that are not affine. weight: of the distance, in the sum of ranks.
    """

    rest: list[Objective]
    weight: float

    def distances(self, proposals: Any, picks: Tensor) -> Tensor:
        """Squared distance of C alternatives (B, C, m) to the expected image: (B, C).

        proposals: of the generator that made this expectation.
        """
        ...


class ConditionalSampler:
    """One of the `top` proposals that the objectives rank best, at random; mixed by rank as in supplement 6.

    Args:
        resolution: Side R of the generator's images, in pixels.
        objectives: What to lower; their targets and masks are on the generator's device.
        streams: Where each image's random numbers come from.
        expectation: What the generator's `expectation` made of the objectives; None where all are ranked by images.
        top: How many of the best to draw among, at least 1.
        lookahead: In bits. Where K is small, so many levels of a block are decided at once, over all alternatives.
    """

    def __init__(self, resolution: int, objectives: Sequence[Objective], streams: PerImageStreams,
                 expectation: Expectation | None = None, top: int = TOP, lookahead: int = LOOKAHEAD) -> None:
        self._resolution, self._streams = resolution, streams
        self._objectives = list(objectives) if expectation is None else expectation.rest
        self._expectation, self._top, self._lookahead = expectation, top, lookahead

    def draw(self, proposals: Proposals, picks: Tensor) -> Tensor:
        batch, levels, k = proposals.shape
        while (left := levels - picks.shape[1]) > 0:
            ahead = min(left, max(1, int(self._lookahead / log2(k))))
            every = torch.cartesian_prod(*[torch.arange(k, device=picks.device)] * ahead).view(-1, ahead)
            ways = torch.cat([part.expand(batch, len(every), -1) for part in (picks[:, None], every[None])], 2)
            best = self._ranks(proposals, ways).topk(min(self._top, len(every)), largest=False).indices
            lot = (self._streams.uniform(1) * best.shape[1]).long().to(picks.device)
            picks = ways[torch.arange(batch, device=picks.device), best.gather(1, lot)[:, 0]]
        return picks

    def _ranks(self, proposals: Proposals, picks: Tensor) -> Tensor:
        """The weighted sum of the ranks of each alternative (B, C, m): (B, C), the smallest the best."""
        total = torch.zeros(picks.shape[:2], device=picks.device)
        if self._expectation is not None:
            total = total + self._expectation.weight * ranks(self._expectation.distances(proposals, picks))
        if not self._objectives:
            return total
        parts = []
        for part in torch.split(picks, max(1, AT_ONCE // len(picks)), 1):
            images = proposals.images(part)
            if images.shape[-1] != self._resolution:
                full = functional.interpolate(images.flatten(0, 1), size=self._resolution, mode="bicubic")
                images = full.view(*part.shape[:2], *full.shape[1:])
            parts.append(torch.stack([objective.distances(images) for objective in self._objectives]))
        for objective, distances in zip(self._objectives, torch.cat(parts, 2), strict=True):
            total = total + objective.weight * ranks(distances)
        return total


def ranks(distances: Tensor) -> Tensor:
    """How many of the others are nearer, as a share: (B, C) → (B, C) in [0, 1]; equal distances rank alike."""
    nearer = torch.searchsorted(distances.sort(1).values, distances)
    return nearer / max(1, distances.shape[1] - 1)
