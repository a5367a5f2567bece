"""The kernel distance between two sets of images, by any features of them (Bińkowski et al., 2018)."""

from __future__ import annotations

from torch import Tensor


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """The squared maximum mean discrepancy of features (N, D) and (M, D) by the kernel (x·y/D + 1)³, in float64.

    Unbiased: of two sets of one kind it is 0 on average, whatever their sizes, and so may be below 0. ValueError unless
    both have two images or more of one number of features.
    """
    if first.shape[1:] != second.shape[1:] or min(len(first), len(second)) < 2:
        raise ValueError(f"two sets of features are (N, D) and (M, D), N and M at least 2, not {tuple(first.shape)} "
                         f"and {tuple(second.shape)}")
    first, second = first.double(), second.double()
    return float(_within(first) + _within(second) - 2 * _kernel(first, second).mean())


def _within(features: Tensor) -> Tensor:
    """The mean kernel of two different images of a set."""
    kernel, count = _kernel(features, features), len(features)
    mean: Tensor = (kernel.sum() - kernel.trace()) / (count * (count - 1))
    return mean


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    kernel: Tensor = (first @ second.T / first.shape[1] + 1) ** 3
    return kernel
