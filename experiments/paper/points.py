"""Points in place of images: what the toy densities of the paper share.

A point of d ≤ 3 coordinates in [−1, 1] is an image of one pixel, whose first d channels it is. A DDL of one level over
one constant feature then has K points for nodes, and picking, loss and Split-and-Prune are those of any network here.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ddncodec.images import Pixels
from ddncodec.network.paper.ddl import IMAGE_CHANNELS, DiscreteDistributionLayers
from ddncodec.network.paper.features import ConvFeatures
from ddncodec.network.paper.split_and_prune import split_and_prune
from ddncodec.samplers.guided import GuidedSampler


class PointNodes:
    """K nodes that are points, at first spread evenly at random.

    Args:
        k: K.
        dimensions: d, 1 to 3.
        seed: Of where they start, and of the jitter of splits.
    """

    def __init__(self, k: int, dimensions: int, seed: int) -> None:
        self._dimensions = dimensions
        self._generator = torch.Generator().manual_seed(seed)
        self.ddl = DiscreteDistributionLayers(1, k, leak=0, features=1)
        with torch.no_grad():
            start = torch.rand(k, dimensions, generator=self._generator) * 2 - 1
            self.ddl.nodes.copy_(_channels(start)[None, :, :, None])

    @property
    def points(self) -> Tensor:
        """Where the nodes are, (K, d)."""
        return self.ddl.nodes.detach()[0, :, : self._dimensions, 0].clone()

    def learn(self, points: Tensor, rate: float, gate: float, swaps: int) -> int:
        """One step of gradient descent, then Split-and-Prune.

        Args:
            points: A batch, (B, d).
            rate: What share of its way to a point the node goes that is nearest to it, below 1.
            gate: Picks a node, on average, before nodes are judged.
            swaps: At most so many nodes split; 0 is gradient descent alone.

        Returns:
            How many nodes split.
        """
        target = _channels(points)[:, :, None, None]
        features = ConvFeatures(torch.ones(len(points), 1, 1, 1))
        _, picks = self.ddl(features, torch.zeros_like(target), GuidedSampler(target))
        indices = picks.choice.indices[:, 0]
        counts = torch.bincount(indices, minlength=self.ddl.nodes.shape[1])
        halved = picks.errors(target)[:, 0] * IMAGE_CHANNELS / 2
        # A node's gradient is its way from the mean of its points, and its rate that of taking them one by one.
        (gradient,) = torch.autograd.grad((halved / counts[indices]).sum(), self.ddl.nodes)
        with torch.no_grad():
            self.ddl.nodes.sub_(gradient * (1 - (1 - rate) ** counts)[None, :, None, None])
            self.ddl.usage += counts[None, :, None]
        return int(split_and_prune(self.ddl, gate, swaps, self._generator).due.sum())


def _channels(points: Tensor) -> Tensor:
    return functional.pad(points, (0, IMAGE_CHANNELS - points.shape[1]))


def draw(density: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Points of a density: (count, d) in [−1, 1]; even within a bin.

    Args:
        density: d-dimensional, the mass of each bin.
        count: How many.
        generator: Of the random numbers.
    """
    bins = torch.multinomial(density.flatten(), count, replacement=True, generator=generator)
    corner = torch.stack(torch.unravel_index(bins, density.shape), 1)
    return (corner + torch.rand(corner.shape, generator=generator)) * 2 / torch.tensor(density.shape) - 1


def drawn(figure: Figure) -> Pixels:
    """What a figure shows, (H, W, 3)."""
    file = BytesIO()
    figure.savefig(file, format="png")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
