"""Conditional networks: what they are told of an image besides the picks, at the beginning of each stage (Sec. 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ddncodec.errors import DataMissing
from ddncodec.network.config import CLASS, GREY, Condition

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def condition_of(condition: Condition | None, images: Tensor, labels: Tensor | None) -> Tensor | None:
    """What a network with such a condition is told of images (B, 3, R, R) in [−1, 1] and labels (B,): (B, C, r, r).

    Raises DataMissing where the labels are needed and unknown, or not below the number of classes.
    """
    if condition is None:
        return None
    if condition.kind == CLASS:
        if labels is None:
            raise DataMissing("the class of each image is not known: IDX files have labels beside them, folders a "
                              "folder for each class")
        return one_hot(labels.to(images.device), condition.channels)
    grey = grey_of(images)
    return grey if condition.kind == GREY else edges_of(grey)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (B,) as (B, classes, 1, 1). Raises DataMissing where one is not below the number of classes."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataMissing(f"classes are 0 to {classes - 1}, not {int(labels.min())} to {int(labels.max())}")
    return functional.one_hot(labels, classes).float()[:, :, None, None]


def grey_of(images: Tensor) -> Tensor:
    """Luminance: (B, 3, R, R) → (B, 1, R, R), both in [−1, 1]."""
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def edges_of(grey: Tensor) -> Tensor:
    """The size of Sobel's gradient, at most 1: (B, 1, R, R) in [−1, 1] → (B, 1, R, R) in [0, 1]."""
    slope = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    kernels = torch.stack([slope, slope.T])[:, None]
    gradient = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), "replicate"), kernels)
    return gradient.square().sum(1, keepdim=True).sqrt().clamp(max=1)
