"""The nearest node of each level of a block, found in Gram space or by rendering, whichever costs less; both exact."""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.network.paper.features import Features


@torch.no_grad()
def nearest_path(features: Features, nodes: Tensor, scale: Tensor, residual: Tensor, forced: Tensor | None = None
                 ) -> Tensor:
    """Greedy picks through the levels of one block.

    Args:
        features: What the nodes are convolutions over.
        nodes: Image weights (n, K, 3, C).
        scale: (B, n), what each level's outputs are multiplied by, above 0.
        residual: Target minus prediction, (B, 3, H, W).
        forced: (B, n), the index to take where chain dropout picks, −1 elsewhere.

    Returns:
        (B, n) int64.
    """
    search = _by_rendering if features.renders(nodes.shape[0] * nodes.shape[1]) else _in_gram_space
    return search(features, nodes, scale, residual, forced)


def _in_gram_space(features: Features, nodes: Tensor, scale: Tensor, residual: Tensor, forced: Tensor | None) -> Tensor:
    n, k = nodes.shape[:2]
    projection = features.project(residual)  # (B, 3, C): G, kept up to date as picks are subtracted
    # All scores are divided by the scale, which is positive: it moves no maximum.
    penalty = features.energy(nodes.flatten(0, 1)).view(-1, n, k) * scale[:, :, None] / 2
    picks = torch.empty(len(residual), n, dtype=torch.int64, device=residual.device)
    for level, level_nodes in enumerate(nodes):
        score = projection.flatten(1) @ level_nodes.flatten(1).T - penalty[:, level]  # (B, K)
        picks[:, level] = pick = _unless_forced(score.argmax(1), forced, level)
        if level < n - 1:
            projection = projection - features.gram(level_nodes[pick]) * scale[:, level, None, None]
    return picks


def _by_rendering(features: Features, nodes: Tensor, scale: Tensor, residual: Tensor, forced: Tensor | None) -> Tensor:
    n, k = nodes.shape[:2]
    images = features.render(nodes.flatten(0, 2)[None])  # (B, n·K·3, H, W)
    images = images.view(-1, n, k, *residual.shape[1:]) * scale[:, :, None, None, None, None]
    picks = torch.empty(len(residual), n, dtype=torch.int64, device=residual.device)
    for level in range(n):
        distance = (images[:, level] - residual[:, None]).square().sum((2, 3, 4))  # (B, K)
        picks[:, level] = pick = _unless_forced(distance.argmin(1), forced, level)
        if level < n - 1:
            residual = residual - images[torch.arange(len(pick), device=pick.device), level, pick]
    return picks


def _unless_forced(pick: Tensor, forced: Tensor | None, level: int) -> Tensor:
    return pick if forced is None else torch.where(forced[:, level] < 0, pick, forced[:, level])


def path_errors(features: Features, residual: Tensor, picked: Tensor) -> Tensor:
    """Squared distance to the target after each of a block's levels, differentiable and without a loop.

    Args:
        features: What the nodes are convolutions over.
        residual: Target minus the prediction before the block, (B, 3, H, W).
        picked: Image weights of the nodes picked, times their scale, (B, n, 3, C).

    Returns:
        (B, n): ‖r − Σ_{i≤j} w_i f‖² for every j.
    """
    levels = picked.shape[1]
    if features.renders(levels):
        drawn = features.render(picked.flatten(1, 2)).view(-1, levels, *residual.shape[1:])
        return (residual.float()[:, None] - drawn.cumsum(1)).square().sum((2, 3, 4))
    cross = (picked * features.project(residual)[:, None]).sum((2, 3))  # (B, n): ⟨w_j f, r⟩
    pairs = features.gram(picked).flatten(2) @ picked.flatten(2).mT  # (B, n, n): ⟨w_i f, w_j f⟩
    step = 2 * pairs.tril().sum(2) - pairs.diagonal(dim1=1, dim2=2)
    start = residual.float().square().sum((1, 2, 3))
    return start[:, None] + (step - 2 * cross).cumsum(1)
