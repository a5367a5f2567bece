"""The Fréchet distance between two sets of images, by any features of them (Heusel et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) of features (N, D) and (M, D), in float64; at least 0.

    The fewer images, the larger it comes out: compare distances of sets of equal size alone. ValueError unless both
    have two images or more of one number of features.
    """
    if first.shape[1:] != second.shape[1:] or min(len(first), len(second)) < 2:
        raise ValueError(f"two sets of features are (N, D) and (M, D), N and M at least 2, not {tuple(first.shape)} "
                         f"and {tuple(second.shape)}")
    first, second = first.double(), second.double()
    one, other = _covariance(first), _covariance(second)
    # tr (Σ₁Σ₂)^½ = tr (R Σ₂ R)^½ with R = Σ₁^½: symmetric, so its eigenvalues are real, and stable where Σ is singular.
    root = _root(one)
    cross: Tensor = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    distance = (first.mean(0) - second.mean(0)).square().sum() + one.trace() + other.trace() - 2 * cross
    return max(float(distance), 0.0)


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
