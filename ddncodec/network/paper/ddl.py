"""The Discrete Distribution Layer (DDL, Sec. 3.1, Fig. 3a): K output nodes, of which a sampler picks one.

              features f (B, C, H, W)
                   │
         K output nodes: 1×1 convolutions W_k
                   │
    prediction ──► + ──► K proposals: prediction + W_k f     (learning residual; none is rendered to be compared)
                   │
                sampler ◄── target                           (guided in training and encoding; replay in decoding)
                   │
                pick k, 0 ≤ k < K ─────────────────────────► latent
                   │
         prediction + W_k f ──► the next level's prediction
                   └──────────► leak: extra outputs of the picked node, which condition what follows (leak choice)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.paper.features import Features
from ddncodec.network.paper.selection import nearest_path, path_errors
from ddncodec.pixels import downsample
from ddncodec.samplers.protocol import Choice, Sampler, Shape

IMAGE_CHANNELS = 3


def in_float32(tensor: Tensor) -> torch.autocast:
    """Where mixed precision ends: proposals differ by less than a half-precision number can tell apart."""
    return torch.autocast(tensor.device.type, enabled=False)


@dataclass(frozen=True, slots=True)
class NodeProposals:
    """The proposals of a block of n levels; node k of level j adds `scale[:, j] · nodes[j, k] f` to the prediction.

    Args:
        features: f, shared by the block's levels.
        nodes: Image weights (n, K, 3, C).
        scale: (B, n), how far this image's path so far makes each level step.
        prediction: (B, 3, r, r), before the block.
        numbers: (B, n), of the levels among all cells, each level being one.
    """

    features: Features
    nodes: Tensor
    scale: Tensor
    prediction: Tensor
    numbers: Tensor

    @property
    def shape(self) -> Shape:
        return Shape(len(self.prediction), *self.nodes.shape[:2])

    @property
    def cells(self) -> Tensor:
        return self.numbers[:, :, None]

    def nearest(self, target: Tensor, effort: int | Tensor, forced: Tensor | None = None) -> Tensor:
        """The nearest node level by level; effort does not matter, as there is one way to search."""
        residual = downsample(target, self.prediction.shape[-1]) - self.prediction
        return nearest_path(self.features, self.nodes, self.scale, residual, forced)

    def images(self, picks: Tensor) -> Tensor:
        weights = self.nodes.new_zeros(*picks.shape[:2], *self.nodes.shape[2:])  # (B, alternatives, 3, C)
        for level, pick in enumerate(picks.unbind(2)):
            weights += self.nodes[level][pick] * self.scale[:, level, None, None, None]
        drawn = self.features.render(weights.flatten(1, 2))
        return self.prediction[:, None] + drawn.view(*picks.shape[:2], IMAGE_CHANNELS, *drawn.shape[2:])

    def reach(self, picks: Tensor) -> Tensor:
        level = picks.shape[1]
        return self.features.energy(self.nodes[level]) * self.scale[:, level, None] ** 2


@dataclass(frozen=True, slots=True)
class Picks:
    """What a sampler picked of a block's proposals.

    choice: the indices, and where chain dropout picked them. weights: image weights of the picked nodes times their
    scale, (B, n, 3, C). prediction: (B, 3, r, r), with all of them. leak: (B, leak, r, r), the extra outputs of the
    picked nodes (of n levels their sum).
    """

    proposals: NodeProposals
    choice: Choice
    weights: Tensor
    prediction: Tensor
    leak: Tensor

    def errors(self, target: Tensor) -> Tensor:
        """Mean squared error after each level, (B, n), against the target at the block's resolution."""
        if self.weights.shape[1] == 1:  # nothing is to be drawn again
            return (target - self.prediction).square().mean((1, 2, 3))[:, None]
        residual = target - self.proposals.prediction
        with in_float32(target):
            return path_errors(self.proposals.features, residual, self.weights) / target[0].numel()


class DiscreteDistributionLayers(nn.Module):
    """The n DDLs of one block: n levels of K output nodes over the same features. The paper has n = 1.

    *Learning residual* (Sec. 3.4): a node's output is added to the prediction it is given. *Leak choice* (Sec. 3.4):
    each node has `leak` extra convolutions; those of the picked node condition what follows, and take no part in
    distance or loss.

    `nodes` is (n, K, 3 + leak, C); `usage` (n, K, classes) counts how often each node was picked for images of each
    class: for split-and-prune, and for the odds of samples. A resumed run does not forget it, as it is part of the
    state dict.

    Args:
        levels: n.
        k: K.
        leak: Extra channels of a node.
        features: C.
        classes: How many classes picks are counted by.
        learning_residual: Whether nodes add to the prediction; else they replace it, which takes n = 1.
    """

    nodes: nn.Parameter
    usage: Tensor

    def __init__(self, levels: int, k: int, leak: int, features: int, classes: int = 1, learning_residual: bool = True
                 ) -> None:
        super().__init__()
        bound = (3 / (features * max(levels, 1))) ** 0.5  # the levels of a block add up
        self.nodes = nn.Parameter(torch.empty(levels, k, IMAGE_CHANNELS + leak, features))
        nn.init.uniform_(self.nodes, -bound, bound)
        self.register_buffer("usage", torch.zeros(levels, k, classes))
        self.learning_residual = learning_residual

    @property
    def levels(self) -> int:
        return self.nodes.shape[0]

    def forward(self, features: Features, prediction: Tensor, sampler: Sampler, *, scale: Tensor | None = None,
                levels: int | None = None, cells: Tensor | None = None) -> tuple[Tensor, Picks]:
        """Let the sampler pick a node at each level, and add what the picked nodes output.

        Args:
            features: f, of B images.
            prediction: (B, 3, r, r), after the levels before.
            sampler: What picks.
            scale: (B, n), what each level's outputs are multiplied by; by default 1.
            levels: How many of the n levels to run; by default all.
            cells: (B, n), what a prior knows these levels by; by default their numbers in the block.

        Returns:
            The prediction after the levels, and the picks.
        """
        with in_float32(prediction):
            n = self.levels if levels is None else levels
            scale = prediction.new_ones(prediction.shape[0], n) if scale is None else scale[:, :n]
            base = prediction if self.learning_residual else torch.zeros_like(prediction)
            cells = torch.arange(n, device=base.device).expand(base.shape[0], -1) if cells is None else cells[:, :n]
            proposals = NodeProposals(features, self.nodes[:n, :, :IMAGE_CHANNELS], scale, base, cells)
            choice = sampler.choose(proposals)
            picked = self.picked(choice.indices) * scale[:, :, None, None]  # (B, n, 3 + leak, C)
            drawn = features.render(picked.sum(1))  # (B, 3 + leak, r, r)
            prediction = base + drawn[:, :IMAGE_CHANNELS]
            weights, leak = picked[:, :, :IMAGE_CHANNELS], drawn[:, IMAGE_CHANNELS:]
            return prediction, Picks(proposals, choice, weights, prediction, leak)

    def picked(self, indices: Tensor) -> Tensor:
        """The weights of the picked nodes: indices (B, m), m ≤ n → (B, m, 3 + leak, C)."""
        _, k, channels, features = self.nodes.shape
        offsets = torch.arange(indices.shape[1], device=indices.device) * k
        rows = functional.embedding(indices + offsets, self.nodes.flatten(0, 1).flatten(1))
        return rows.view(*indices.shape, channels, features)
