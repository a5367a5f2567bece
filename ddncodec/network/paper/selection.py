"""The guided sampler: at each level the node nearest to the target, found in Gram space (exact).

    ‖W_k f − r‖² = ‖r‖² − 2·⟨W_k, G⟩ + ⟨W_k F, W_k⟩      F = f fᵀ,  G = r fᵀ

so a level costs K·C² multiplications instead of K·C·P, and no proposal is rendered to be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.network.layer import Proposals


@torch.no_grad()
def nearest_path(proposals: Proposals, residual: Tensor, random_pick: Tensor | None = None) -> Tensor:
    """Greedy picks through the levels of one block.

    residual: target minus prediction, (B, 3, H, W). random_pick: (B, n), an index where a level is to take that
    node instead (chain dropout), −1 elsewhere. Returns the picks (B, n), int64.
    """
    features, nodes, scale = proposals.features, proposals.nodes, proposals.scale
    n, k = nodes.shape[:2]
    projection = features.project(residual)  # (B, 3, C): G, kept up to date as picks are subtracted
    # All scores are divided by the scale, which is positive: it moves no maximum.
    penalty = features.energy(nodes.flatten(0, 1)).view(-1, n, k) * scale[:, :, None] / 2
    picks = torch.empty(len(residual), n, dtype=torch.int64, device=residual.device)
    for level, level_nodes in enumerate(nodes):
        score = projection.flatten(1) @ level_nodes.flatten(1).T - penalty[:, level]  # (B, K)
        pick = score.argmax(1)
        if random_pick is not None:
            pick = torch.where(random_pick[:, level] < 0, pick, random_pick[:, level])
        picks[:, level] = pick
        projection = projection - features.gram(level_nodes[pick]) * scale[:, level, None, None]
    return picks
