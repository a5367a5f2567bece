"""The replay sampler: recorded picks, which is what a decoder has."""

from __future__ import annotations

from torch import Tensor

from ddncodec.samplers.protocol import Choice, Continuation, Proposals


class ReplaySampler:
    """Takes recorded picks; after them, if given, what a continuation draws.

    Args:
        indices: (B, N) int64, in the order of the levels.
        then: What draws the levels after the N recorded ones; without it, N levels are all that is run.
    """

    def __init__(self, indices: Tensor, then: Continuation | None = None) -> None:
        self._indices, self._then = indices, then
        self._next = 0

    def choose(self, proposals: Proposals) -> Choice:
        start, levels = self._next, proposals.shape.levels
        self._next = start + levels  # not in place: in a trace a size is a tensor
        picks = self._indices[:, start : self._next]
        return Choice(picks if self._then is None else self._then.draw(proposals, picks))
