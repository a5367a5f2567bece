"""Images as coefficients along principal axes, found among the low frequencies of principal colours.

The map is linear and orthonormal: squared distances between coefficients are squared distances between images,
but for what lies outside of the axes. It costs one product with a small matrix, and the axes of 64×64 images
fit into a few megabytes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.cosines import cosine_matrix, rising_frequencies

COLOURS = 3


class PrincipalAxes(nn.Module):
    """`axes` orthonormal images, and the mean image that they start from.

    frequencies: how many of the lowest frequencies of a two-dimensional DCT are kept for each principal colour.
    Buffers: mean (3, R, R); colours (3, 3), one a row; basis (sum of frequencies, axes), orthonormal columns.
    """

    mean: Tensor
    colours: Tensor
    basis: Tensor
    cosines: Tensor
    order: Tensor
    place: Tensor

    def __init__(self, resolution: int, axes: int, frequencies: tuple[int, ...]) -> None:
        super().__init__()
        self.resolution, self.frequencies = resolution, frequencies
        self.register_buffer("mean", torch.zeros(COLOURS, resolution, resolution))
        self.register_buffer("colours", torch.eye(COLOURS))
        self.register_buffer("basis", torch.eye(sum(frequencies), axes))
        self.register_buffer("cosines", torch.from_numpy(cosine_matrix(resolution)).float(), persistent=False)
        order = torch.from_numpy(rising_frequencies(resolution))
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", order.argsort(), persistent=False)  # of each frequency in that order

    def analyse(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) → coefficients (B, axes), float32."""
        return self.waves(images) @ self.basis

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Inverse of `analyse` for images that the axes span: (B, axes) → (B, 3, R, R)."""
        return self.image(functional.linear(coefficients, self.basis))

    def image(self, waves: Tensor) -> Tensor:
        """Inverse of `waves`: (B, sum of frequencies) → (B, 3, R, R)."""
        rows = [functional.pad(kept, (0, self.resolution**2 - kept.shape[1]))[:, self.place]
                for kept in torch.split(waves, list(self.frequencies), 1)]
        planes = torch.stack(rows, 1).view(-1, COLOURS, self.resolution, self.resolution)
        planes = self.cosines.T @ planes @ self.cosines
        image: Tensor = self.mean + torch.einsum("dc,bdhw->bchw", self.colours, planes)
        return image

    def waves(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) → the kept frequencies of the three colours, (B, sum of frequencies)."""
        planes: Tensor = torch.einsum("dc,bchw->bdhw", self.colours, images.float() - self.mean)
        planes = (self.cosines @ planes @ self.cosines.T).flatten(2)
        return torch.cat([planes[:, colour, self.order[:count]] for colour, count in enumerate(self.frequencies)], 1)
