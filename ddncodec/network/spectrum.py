"""Images as coefficients along principal axes, found among the low frequencies of principal colours.

The map is linear and orthonormal: squared distances between coefficients are squared distances between images,
but for what lies outside of the axes. It costs one product with a small matrix, and the axes of 64×64 images
fit into a few megabytes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COLOURS = 3


class Spectrum(nn.Module):
    """`axes` orthonormal images, and the mean image that they start from.

    frequencies: how many of the lowest frequencies of a two-dimensional DCT are kept for each principal colour.
    Buffers: mean (3, R, R); colours (3, 3), one a row; basis (sum of frequencies, axes), orthonormal columns.
    """

    mean: Tensor
    colours: Tensor
    basis: Tensor

    def __init__(self, resolution: int, axes: int, frequencies: tuple[int, ...]) -> None:
        super().__init__()
        self.resolution, self.frequencies = resolution, frequencies
        self.register_buffer("mean", torch.zeros(COLOURS, resolution, resolution))
        self.register_buffer("colours", torch.eye(COLOURS))
        self.register_buffer("basis", torch.eye(sum(frequencies), axes))

    def analyse(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) → coefficients (B, axes), float32."""
        return self.waves(images) @ self.basis

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Inverse of `analyse` for images that the axes span: (B, axes) → (B, 3, R, R)."""
        return self.image(coefficients @ self.basis.T)

    def image(self, waves: Tensor) -> Tensor:
        """Inverse of `waves`: (B, sum of frequencies) → (B, 3, R, R)."""
        cosines = cosine_matrix(self.resolution, waves.device)
        planes = waves.new_zeros(len(waves), COLOURS, self.resolution**2)
        for colour, (values, order) in enumerate(zip(torch.split(waves, list(self.frequencies), 1),
                                                     self._orders(waves.device), strict=True)):
            planes[:, colour, order] = values
        planes = cosines.T @ planes.view(-1, COLOURS, self.resolution, self.resolution) @ cosines
        image: Tensor = self.mean + torch.einsum("dc,bdhw->bchw", self.colours, planes)
        return image

    def waves(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) → the kept frequencies of the three colours, (B, sum of frequencies)."""
        cosines = cosine_matrix(self.resolution, images.device)
        planes: Tensor = torch.einsum("dc,bchw->bdhw", self.colours, images.float() - self.mean)
        planes = (cosines @ planes @ cosines.T).flatten(2)
        orders = self._orders(images.device)
        return torch.cat([planes[:, colour, order] for colour, order in enumerate(orders)], 1)

    def _orders(self, device: torch.device) -> list[Tensor]:
        """For each colour the indices of its kept frequencies, by rising frequency."""
        squares = torch.arange(self.resolution, device=device).square()
        order = (squares[:, None] + squares).flatten().argsort(stable=True)
        return [order[:count] for count in self.frequencies]


def cosine_matrix(side: int, device: torch.device) -> Tensor:
    """The orthonormal DCT-II as a matrix: (side, side), one wave a row."""
    steps = torch.arange(side, device=device, dtype=torch.float64)
    waves: Tensor = (steps[:, None] * (steps + 0.5) * (torch.pi / side)).cos() * (2 / side) ** 0.5
    waves[0] *= 0.5**0.5
    return waves.float()
