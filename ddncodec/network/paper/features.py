"""Features that output nodes are 1×1 convolutions over, as the operations that selection needs of them.

A node with weights w outputs `w f`. With a residual r its squared distance is, in Gram space,

    ‖w f − r‖² = ‖r‖² − 2·⟨w, G⟩ + ⟨w F, w⟩      F = f fᵀ (C×C),  G = r fᵀ (3×C)

so that K nodes are compared in K·C² multiplications instead of K·C·P, and no K×3×H×W tensor ever exists.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


class Features(Protocol):
    """C feature planes f of P pixels for each of B images. Inner products are sums over pixels, in float32."""

    def renders(self, nodes: int) -> bool:
        """Whether rendering so many nodes costs less than comparing them in Gram space."""
        ...

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
        """w f: weights (B or 1, O, C) → (B, O, H, W)."""
        ...


class ConvFeatures:
    """Features that convolutions computed: a map (B, C, H, W).

    All products are with pixels as rows: where the map is channels-last, nothing is copied then, nor its gradient.
    """

    def __init__(self, feature_map: Tensor) -> None:
        self._side = feature_map.shape[2:]
        self._pixels = feature_map.float().permute(0, 2, 3, 1).flatten(1, 2)  # (B, P, C)

    @cached_property
    def _gram(self) -> Tensor:
        with torch.enable_grad():  # selection, which needs no gradient, asks first; the loss shares what it made
            return self._pixels.mT @ self._pixels  # (B, C, C), the F of the module's formula

    def renders(self, nodes: int) -> bool:
        # Multiplications, each divided by C: those of the images, those of F, those of the energies.
        pixels, channels = self._pixels.shape[1:]
        return 3 * nodes * pixels < channels * pixels + nodes * channels

    def project(self, image: Tensor) -> Tensor:
        return image.float().flatten(2) @ self._pixels

    def gram(self, weights: Tensor) -> Tensor:
        return (weights.flatten(1, -2) @ self._gram).view_as(weights)

    def energy(self, nodes: Tensor) -> Tensor:
        nodes = nodes.contiguous()  # products of slices are many times slower
        squares = nodes.mT @ nodes  # (M, C, C)
        return self._gram.flatten(1) @ squares.flatten(1).T

    def render(self, weights: Tensor) -> Tensor:
        # Expanded: a product that broadcasts copies the pixels, at several times the cost.
        weights = weights.expand(self._pixels.shape[0], -1, -1)
        drawn = (self._pixels @ weights.transpose(1, 2)).view(weights.shape[0], *self._side, weights.shape[1])
        return drawn.permute(0, 3, 1, 2)


class PlaneFeatures:
    """Fixed orthonormal planes (C, P), each times a gain (B, C) that depends on the path: F is diagonal."""

    def __init__(self, planes: Tensor, gain: Tensor) -> None:
        self._planes = planes.float()
        self._gain = gain.float()

    def renders(self, nodes: int) -> bool:
        return False

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
        return flat.view(-1, weights.shape[1], side, side)
