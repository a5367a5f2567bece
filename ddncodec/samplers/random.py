"""The random sampler: picks by chance, which generate images (Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.samplers.protocol import Prior, Proposals, Walk
from ddncodec.samplers.streams import PerImageStreams


class RandomSampler:
    """A random proposal at every level: any, as the paper generates, or by a prior's odds.

    Temperature T: odds count to the power of 1/T. Where there is no prior, proposal k counts
    exp(−(1/T − 1) · d_k / mean d), with d_k = ‖proposal − prediction‖²: at 1 all K are equally likely, below 1 smaller
    steps are favoured, above 1 larger ones.

    Args:
        streams: Where each image's random numbers come from.
        temperature: Above 0.
        prior: How likely paths are; None: all alike.
    """

    def __init__(self, streams: PerImageStreams, temperature: float = 1.0, prior: Prior | None = None) -> None:
        self._streams, self._temperature, self._prior = streams, temperature, prior
        self._walk: Walk | None = None

    def draw(self, proposals: Proposals, picks: Tensor) -> Tensor:
        batch, levels, k = proposals.shape
        if self._prior is not None:
            self._walk = self._walk or self._prior.walk(batch)
            return self._follow(self._walk, proposals.cells, k, picks)
        numbers = self._streams.uniform(levels - picks.shape[1]).to(picks.device)
        if self._temperature == 1:
            return torch.cat([picks, (numbers * k).long()], 1)
        for number in numbers.unbind(1):
            reach = proposals.reach(picks).double()
            log_odds = (1 - 1 / self._temperature) * reach / reach.mean(1, keepdim=True).clamp(min=1e-30)
            picks = torch.cat([picks, _lot(log_odds[:, None], number[:, None])], 1)
        return picks

    def _follow(self, walk: Walk, cells: Tensor, k: int, picks: Tensor) -> Tensor:
        """Go on over nodes of the cells (B, n, b) by their odds, after the levels that are picked."""
        made = nodes_of(picks, cells.shape[2], k)
        known, rest = cells.flatten(1).tensor_split([made.shape[1]], 1)
        walk.take(known, made)
        numbers = self._streams.uniform(rest.shape[1]).to(picks.device)
        while rest.shape[1]:
            log_odds = walk.log_odds(rest).double() / self._temperature
            now, rest = rest.tensor_split([log_odds.shape[1]], 1)
            lots, numbers = numbers.tensor_split([log_odds.shape[1]], 1)
            nodes = _lot(log_odds, lots)
            walk.take(now, nodes)
            made = torch.cat([made, nodes], 1)
        return indices_of(made, cells.shape[2], k)


def _lot(log_odds: Tensor, numbers: Tensor) -> Tensor:
    """The choices (B, c) that numbers in [0, 1) (B, c) make by log odds (B, c, n)."""
    below = log_odds.softmax(2).cumsum(2)[:, :, :-1].contiguous()
    return torch.searchsorted(below, numbers[:, :, None].contiguous(), right=True)[:, :, 0]


def nodes_of(picks: Tensor, cells: int, k: int) -> Tensor:
    """The nodes of each cell that proposals take, a level having so many cells: picks (B, m) → (B, m · cells)."""
    nodes: Tensor = picks[:, :, None] // _powers(cells, k, picks) % round(k ** (1 / cells))
    return nodes.flatten(1)


def indices_of(nodes: Tensor, cells: int, k: int) -> Tensor:
    """Inverse of `nodes_of`: nodes (B, m · cells) → picks (B, m)."""
    return (nodes.view(len(nodes), -1, cells) * _powers(cells, k, nodes)).sum(2)


def _powers(cells: int, k: int, like: Tensor) -> Tensor:
    powers: Tensor = round(k ** (1 / cells)) ** torch.arange(cells - 1, -1, -1, device=like.device)
    return powers
