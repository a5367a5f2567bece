"""The guided sampler: at each level the proposal nearest to the target (Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.effort import GREEDY
from ddncodec.samplers.protocol import Choice, Proposals, Shape
from ddncodec.samplers.streams import BatchStreams


class GuidedSampler:
    """Picks the proposal with the smallest L2 distance to the target, except where chain dropout has picked.

    Args:
        target: What the generator's `target` made of the images.
        effort: How hard to search; see `ddncodec.effort`.
        forced: What `chain_dropout` picked, of all L levels; None where there is none.
    """

    def __init__(self, target: Tensor, effort: int | Tensor = GREEDY, forced: Tensor | None = None) -> None:
        self._target, self._effort, self._forced = target, effort, forced
        self._done = 0  # levels

    def choose(self, proposals: Proposals) -> Choice:
        forced = None
        if self._forced is not None:
            forced = self._forced[:, self._done : self._done + proposals.shape.levels]
            self._done += proposals.shape.levels
        indices = proposals.nearest(self._target, self._effort, forced)
        return Choice(indices, torch.ones_like(indices, dtype=torch.bool) if forced is None else forced < 0)


def chain_dropout(probability: float, shape: Shape, streams: BatchStreams, device: torch.device) -> Tensor | None:
    """Random picks in training (Sec. 3.4), drawn for all levels at once: a GPU then waits for them once a step.

    Args:
        probability: Of a random pick, for each image and level.
        shape: B images, L levels and K.
        streams: Where the random numbers come from.
        device: Where the picks are to be.

    Returns:
        (B, L) int64: a random index where chain dropout picks, −1 elsewhere. None if the probability is 0.
    """
    if not probability:
        return None
    guided = streams.uniform(shape.batch, shape.levels) >= probability
    random = (streams.uniform(shape.batch, shape.levels) * shape.k).long()
    return random.masked_fill(guided, -1).to(device)
