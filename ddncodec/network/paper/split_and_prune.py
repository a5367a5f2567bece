"""Split-and-Prune (Algorithm 1 of the paper): nodes that are picked too often split, unused ones give way.

Algorithm 1 judges after every sample and swaps one node at a time. Here a batch is judged at once, and many nodes of a
level may be swapped: with one swap a batch, nodes that are never picked stay so for thousands of steps. All of it stays
on the device: where nothing is due, a swap changes nothing.
"""

from __future__ import annotations

import torch

from ddncodec.network.base import NodeSplits
from ddncodec.network.paper.ddl import DiscreteDistributionLayers

SPLIT, PRUNE = 2.0, 0.5  # thresholds of a node's share of the picks, times 1/K
MEMORY = 4  # gates after which counts are halved: nodes move, and a share must speak of them as they are
FEWEST = 4  # nodes that are split and pruned: of two the rarer one is worth a bit, and a copy of the other none
JITTER = 0.01  # of the node's own size: two equal nodes would tie for ever, and the first would win


@torch.no_grad()
def split_and_prune(ddl: DiscreteDistributionLayers, gate: float, swaps: int, generator: torch.Generator | None = None
                    ) -> NodeSplits:
    """Split the most used nodes of each level onto its least used ones, where their shares ask for it.

    The i-th most used node splits onto the i-th least used one where the first has more than 2/K of the picks or the
    second less than 0.5/K. Both halves then carry half of the split node's count. Changes `ddl.nodes` and `ddl.usage`;
    what else follows the nodes is the caller's, by `NodeSplits.apply`.

    Args:
        ddl: n levels of K nodes, whose `usage` is up to date.
        gate: Picks a node, on average, before a level is judged: fewer are noise. From `MEMORY` times as many on,
            counts are halved.
        swaps: At most so many nodes of a level at once; 1 is Algorithm 1's. None where K < `FEWEST`.
        generator: Of the jitter, on the nodes' device.

    Returns:
        What became a copy of what.
    """
    usage = ddl.usage.sum(2)  # (n, K), of all classes
    levels, k = usage.shape
    total = usage.sum(1, keepdim=True)
    swaps = min(swaps, k // 2) if k >= FEWEST else 0
    most, split = usage.topk(swaps, 1)
    least, pruned = usage.topk(swaps, 1, largest=False)
    due = (total >= gate * k) & ((most > SPLIT / k * total) | (least < PRUNE / k * total)) & (most > 2 * least)
    level = torch.arange(levels, device=usage.device)[:, None].expand(-1, swaps)
    splits = NodeSplits(ddl.nodes, *(part.flatten() for part in (level, split, pruned, due)))
    ddl.usage[splits.level, splits.split] *= torch.where(splits.due, 0.5, 1.0)[:, None]
    splits.apply(ddl.usage)
    splits.apply(ddl.nodes)
    copies = ddl.nodes[splits.level, splits.pruned]
    size = copies.square().mean((1, 2), keepdim=True).sqrt() * splits.due[:, None, None]
    noise = torch.randn(copies.shape, generator=generator, device=copies.device)
    ddl.nodes[splits.level, splits.pruned] += JITTER * size * noise
    ddl.usage *= torch.where(total >= MEMORY * gate * k, 0.5, 1.0)[:, :, None]
    return splits
