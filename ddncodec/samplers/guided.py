"""The guided sampler: at each level the proposal nearest to the target (Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.effort import GREEDY
from ddncodec.samplers.protocol import Choice, Proposals
from ddncodec.samplers.streams import BatchStreams


class GuidedSampler:
    """Picks the proposal with the smallest L2 distance to the target, or with chain dropout a random one (Sec. 3.4).

    Args:
        target: What the generator's `target` made of the images.
        effort: How hard to search; see `ddncodec.effort`.
        chain_dropout: Probability of a random pick at each level, in training.
        streams: Where chain dropout's random numbers come from; None where there is no chain dropout.
    """

    def __init__(self, target: Tensor, effort: int = GREEDY, chain_dropout: float = 0.0,
                 streams: BatchStreams | None = None) -> None:
        self._target, self._effort = target, effort
        self._chain_dropout, self._streams = chain_dropout, streams

    def choose(self, proposals: Proposals) -> Choice:
        batch, levels, k = proposals.shape
        if self._streams is None or not self._chain_dropout:
            indices = proposals.nearest(self._target, self._effort)
            return Choice(indices, torch.ones_like(indices, dtype=torch.bool))
        guided = self._streams.uniform(batch, levels) >= self._chain_dropout
        random = (self._streams.uniform(batch, levels) * k).long()
        device = self._target.device
        forced, guided = random.masked_fill(guided, -1).to(device), guided.to(device)
        return Choice(proposals.nearest(self._target, self._effort, forced), guided)
