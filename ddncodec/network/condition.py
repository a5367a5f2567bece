"""The condition of a conditional network: what it is given of an image besides the picks (Sec. 4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ddncodec.errors import DataMissing
from ddncodec.network.config import CLASS, GREY, Condition
from ddncodec.pixels import edges_of, grey_of


def condition_of(condition: Condition | None, images: Tensor, labels: Tensor | None) -> Tensor | None:
    """The condition of images, as a network takes it.

    Args:
        condition: The network's; None for an unconditional one.
        images: (B, 3, R, R) in [−1, 1].
        labels: (B,) int64, the class of each image, where it is known.

    Returns:
        (B, C, r, r); None for an unconditional network.

    Raises:
        DataMissing: The labels are needed and unknown, or not below the number of classes.
    """
    if condition is None:
        return None
    if condition.kind == CLASS:
        if labels is None:
            raise DataMissing("the class of each image is not known: IDX files have labels beside them, folders a "
                              "folder for each class")
        return one_hot(labels, condition.channels).to(images.device)  # checked before a device is waited for
    grey = grey_of(images)
    return grey if condition.kind == GREY else edges_of(grey)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (B,) as (B, classes, 1, 1). Raises DataMissing where one is not below the number of classes."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataMissing(f"classes are 0 to {classes - 1}, not {int(labels.min())} to {int(labels.max())}")
    return functional.one_hot(labels, classes).float()[:, :, None, None]
