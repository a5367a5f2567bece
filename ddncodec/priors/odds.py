"""Odds: how often each node of each cell was picked, whatever else is on the path."""

from __future__ import annotations

import torch
from torch import Tensor

UNSEEN = 0.5  # of a pick, what each node has besides (Krichevsky and Trofimov): one that was not picked still may be


class Odds:
    """Nodes as likely as they were picked, cell by cell. A `Prior`, and its own `Walk`: the path does not matter.

    Args:
        counts: (cells, nodes), at least 0, in any unit. Where nothing was counted, all nodes are equally likely.
        unseen: What is added to each count.
    """

    def __init__(self, counts: Tensor, unseen: float = UNSEEN) -> None:
        self.counts = counts
        counted = counts.double()
        empty = counted.sum(1, keepdim=True) == 0
        self._log_odds = torch.where(empty, 1, counted + unseen).log()

    def walk(self, batch: int) -> Odds:
        """The odds themselves."""
        return self

    def log_odds(self, cells: Tensor) -> Tensor:
        """Log odds of the nodes of all these cells: (B, c) → (B, c, nodes)."""
        return self._log_odds[cells]

    def take(self, cells: Tensor, nodes: Tensor) -> None:
        """Nothing: what was taken changes no odds."""
