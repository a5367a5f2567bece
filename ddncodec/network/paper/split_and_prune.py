"""Split-and-Prune (Algorithm 1 of the paper): nodes that are picked too often split, unused ones give way."""

from __future__ import annotations

import torch

from ddncodec.network.base import NodeSplits
from ddncodec.network.paper.ddl import DiscreteDistributionLayers

SPLIT, PRUNE = 2.0, 0.5  # thresholds of a node's share of the picks, times 1/K
MIN_PICKS = 50  # a share is judged only after this many picks a node, on average: fewer are noise
JITTER = 0.01  # of the node's own size: two equal nodes would tie for ever, and the first would win


@torch.no_grad()
def split_and_prune(ddl: DiscreteDistributionLayers, generator: torch.Generator | None = None) -> NodeSplits:
    """Split the most used node of each level onto its least used one, where their shares ask for it.

    A level splits when its most used node has more than 2/K of the picks or its least used less than 0.5/K.
    Both halves then carry half of the split node's count. Changes `ddl.nodes` and `ddl.usage`; what else
    follows the nodes is the caller's, by `NodeSplits.apply`.
    """
    usage = ddl.usage.sum(2)  # of all classes
    total, k = usage.sum(1), usage.shape[1]
    share_max, split = (usage / total.clamp(min=1)[:, None]).max(1)
    share_min, pruned = (usage / total.clamp(min=1)[:, None]).min(1)
    due = (total >= MIN_PICKS * k) & ((share_max > SPLIT / k) | (share_min < PRUNE / k))
    level = due.nonzero()[:, 0]
    splits = NodeSplits(ddl.nodes, level, split[level], pruned[level])
    if len(level):
        splits.apply(ddl.nodes)
        copies = ddl.nodes[level, splits.pruned]
        size = copies.square().mean((1, 2), keepdim=True).sqrt()
        noise = torch.randn(copies.shape, generator=generator, device=generator.device if generator else copies.device)
        ddl.nodes[level, splits.pruned] += JITTER * size * noise.to(copies)
        ddl.usage[level, splits.split] /= 2
        splits.apply(ddl.usage)
    # Nodes move: forget slowly, so that a share speaks of the nodes as they are.
    ddl.usage[total >= 4 * MIN_PICKS * k] /= 2
    return splits
