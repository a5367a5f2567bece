"""How evenly a network's nodes are picked."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor


def counts_of(picks: Tensor, k: int) -> Tensor:
    """How often each node was picked: latents (N, L) → (L, K)."""
    return torch.stack([torch.bincount(level, minlength=k) for level in picks.T])


def bits_a_pick(counts: Tensor) -> Tensor:
    """Entropy of the picks of each level, in bits: (L, K) → (L,); log2 K where all nodes are used alike."""
    bits: Tensor = torch.special.entr(counts / counts.sum(1, keepdim=True)).sum(1) / log(2)
    return bits


def dead_nodes(counts: Tensor) -> int:
    """How many nodes were never picked."""
    return int((counts == 0).sum())
