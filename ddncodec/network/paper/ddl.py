"""The Discrete Distribution Layer (DDL): K output nodes as 1×1 convolutions over features (Sec. 3.1, Fig. 3a).

A DDL does not know where its features come from. All it needs of them are four operations, in which no
K×3×H×W tensor ever exists: distances are computed in Gram space and only the picked node is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE_CHANNELS = 3


class Features(Protocol):
    """C feature planes f of P pixels for each of B images, as linear operations on node weights.

    A node with weights w (…, C) outputs `w @ f`. Inner products are sums over pixels, in float32.
    """

    def project(self, image: Tensor) -> Tensor:
        """G = r fᵀ: image (B, O, H, W) → (B, O, C)."""
        ...

    def gram(self, weights: Tensor) -> Tensor:
        """w F with F = f fᵀ: weights (B, …, C) → (B, …, C)."""
        ...

    def energy(self, nodes: Tensor) -> Tensor:
        """⟨w F, w⟩ of the same nodes for every image: (M, O, C) → (B, M)."""
        ...

    def render(self, weights: Tensor) -> Tensor:
        """w f: weights (B, O, C) → (B, O, H, W)."""
        ...


class ConvFeatures:
    """Features that convolutions computed: a map (B, C, H, W)."""

    def __init__(self, feature_map: Tensor) -> None:
        self._side = feature_map.shape[2:]
        self._planes = feature_map.float().flatten(2)  # (B, C, P)
        self._gram = self._planes @ self._planes.mT  # (B, C, C), the F of the class's formulas

    def project(self, image: Tensor) -> Tensor:
        return image.float().flatten(2) @ self._planes.mT

    def gram(self, weights: Tensor) -> Tensor:
        return (weights.flatten(1, -2) @ self._gram).view_as(weights)

    def energy(self, nodes: Tensor) -> Tensor:
        squares = nodes.mT @ nodes  # (M, C, C)
        return self._gram.flatten(1) @ squares.flatten(1).T

    def render(self, weights: Tensor) -> Tensor:
        return (weights @ self._planes).view(*weights.shape[:2], *self._side)


class PlaneFeatures:
    """Fixed orthonormal planes (C, P), each times a gain (B, C) that depends on the path: F is diagonal."""

    def __init__(self, planes: Tensor, gain: Tensor) -> None:
        self._planes = planes.float()
        self._gain = gain.float()

    def project(self, image: Tensor) -> Tensor:
        # One matrix product over images and channels: many times faster than a batched one on a slice.
        flat = image.float().reshape(-1, self._planes.shape[1]) @ self._planes.T
        return flat.view(*image.shape[:2], -1) * self._gain[:, None]

    def gram(self, weights: Tensor) -> Tensor:
        gain = self._gain.view(len(self._gain), *[1] * (weights.dim() - 2), -1)
        return weights * gain.square()

    def energy(self, nodes: Tensor) -> Tensor:
        return self._gain.square() @ nodes.square().sum(1).T

    def render(self, weights: Tensor) -> Tensor:
        side = round(self._planes.shape[1] ** 0.5)
        flat = (weights * self._gain[:, None]).flatten(0, 1) @ self._planes
        return flat.view(*weights.shape[:2], side, side)


@dataclass(frozen=True, slots=True)
class Proposals:
    """What the n levels of a block propose: node k of level j adds `scale[:, j] · nodes[j, k] f` to the prediction.

    nodes: image weights (n, K, 3, C). scale: (B, n), how far this image's path so far makes each level step.
    """

    features: Features
    nodes: Tensor
    scale: Tensor

    def first(self, levels: int) -> Proposals:
        """The proposals of the first levels alone."""
        return Proposals(self.features, self.nodes[:levels], self.scale[:, :levels])


class Shape(NamedTuple):
    """Of what a block offers: B images, n levels, K proposals at each."""

    batch: int
    levels: int
    k: int


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """The proposals of a block, on top of the prediction (B, 3, r, r); an `Offer` to samplers.

    odds: how likely each node is, (B, n, K); None where all are alike.
    """

    proposals: Proposals
    prediction: Tensor
    odds: Tensor | None = None

    @property
    def shape(self) -> Shape:
        return Shape(len(self.prediction), *self.proposals.nodes.shape[:2])

    def images(self, picks: Tensor) -> Tensor:
        nodes, scale = self.proposals.nodes, self.proposals.scale
        weights = nodes.new_zeros(*picks.shape[:2], *nodes.shape[2:])  # (B, C, 3, features)
        for level, pick in enumerate(picks.unbind(2)):
            weights += nodes[level][pick] * scale[:, level, None, None, None]
        drawn = self.proposals.features.render(weights.flatten(1, 2))
        return self.prediction[:, None] + drawn.view(*picks.shape[:2], IMAGE_CHANNELS, *drawn.shape[2:])

    def reach(self, picks: Tensor) -> Tensor:
        level = picks.shape[1]
        return self.proposals.features.energy(self.proposals.nodes[level]) * self.proposals.scale[:, level, None] ** 2


class DiscreteDistributionLayers(nn.Module):
    """The n DDLs of one block: n levels of K nodes over the same features.

    Each node has 3 image channels and `leak` channels more. *Learning residual*: a node's output is added to
    the prediction it is given. *Leak choice*: the extra outputs of the picked node condition what follows and
    take no part in distance or loss (Sec. 3.2).

    `nodes` is (n, K, 3 + leak, C); `usage` (n, K, classes) counts how often each node was picked for images of each
    class: for split-and-prune, and for `odds`. A resumed run does not forget it, as it is part of the state dict.
    """

    nodes: nn.Parameter
    usage: Tensor

    def __init__(self, levels: int, k: int, leak: int, features: int, classes: int = 1) -> None:
        super().__init__()
        bound = (3 / (features * max(levels, 1))) ** 0.5  # the levels of a block add up
        self.nodes = nn.Parameter(torch.empty(levels, k, IMAGE_CHANNELS + leak, features))
        nn.init.uniform_(self.nodes, -bound, bound)
        self.register_buffer("usage", torch.zeros(levels, k, classes))

    @property
    def levels(self) -> int:
        return self.nodes.shape[0]

    @property
    def image_nodes(self) -> Tensor:
        """The weights of the image channels alone: (n, K, 3, C)."""
        return self.nodes[:, :, :IMAGE_CHANNELS]

    def odds(self, classes: Tensor) -> Tensor:
        """How likely each node is to be picked for images of classes (B, classes), one-hot: (B, n, K).

        As often as in training; the same for all nodes where nothing was counted.
        """
        usage = torch.einsum("nkc,bc->bnk", self.usage, classes)
        total = usage.sum(2, keepdim=True)
        return torch.where(total > 0, usage / total, 1 / usage.shape[2])

    def picked(self, indices: Tensor) -> Tensor:
        """The weights of the picked nodes: indices (B, m), m ≤ n → (B, m, 3 + leak, C)."""
        _, k, channels, features = self.nodes.shape
        offsets = torch.arange(indices.shape[1], device=indices.device) * k
        rows = functional.embedding(indices + offsets, self.nodes.flatten(0, 1).flatten(1))
        return rows.view(*indices.shape, channels, features)


def path_errors(features: Features, residual: Tensor, picked: Tensor) -> Tensor:
    """Squared distance to the target after each of a block's levels, in Gram space and differentiable.

    residual: target minus the prediction before the block, (B, 3, H, W); picked: image weights of the nodes
    picked, times their scale, (B, n, 3, C). Returns (B, n): ‖r − Σ_{i≤j} w_i f‖² for every j, without a loop.
    """
    cross = (picked * features.project(residual)[:, None]).sum((2, 3))  # (B, n): ⟨w_j f, r⟩
    pairs = features.gram(picked).flatten(2) @ picked.flatten(2).mT  # (B, n, n): ⟨w_i f, w_j f⟩
    step = 2 * pairs.tril().sum(2) - pairs.diagonal(dim1=1, dim2=2)
    start = residual.float().square().sum((1, 2, 3))
    return start[:, None] + (step - 2 * cross).cumsum(1)
