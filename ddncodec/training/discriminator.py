"""The discriminator of a natural look: which of two pictures of the same stream was photographed, and which drawn?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (64, 96, 128)  # at a half, a quarter and an eighth of the image's resolution
PATCH = 2  # pixels a side that the first width's channels stand for
DETAIL = 4.0  # how much larger a picture's fine details are shown than the rest: else a norm of 1 hides them


class Discriminator(nn.Module):
    """Convolutions with spectral norms (Miyato et al. 2018) that judge patches of three sizes."""

    def __init__(self) -> None:
        super().__init__()
        before = 3 * 3 * PATCH**2
        self.stages, self.verdicts = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(WIDTHS):
            first = nn.Conv2d(before, width, 4, 2, 1) if i else nn.Conv2d(before, width, 3, 1, 1)
            self.stages.append(nn.Sequential(
                spectral_norm(first), nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2)))
            self.verdicts.append(spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))
            before = width

    def forward(self, images: Tensor, rough: Tensor) -> list[Tensor]:
        """How much each patch looks like an original's: above 0 if so.

        Args:
            images: (B, 3, R, R) in [−1, 1], originals or refined ones.
            rough: (B, 3, R, R), what the refiner was given of them.

        Returns:
            (B, 1, r, r), r = R/2, R/4, R/8.
        """
        detail = DETAIL * (images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False))
        features = functional.pixel_unshuffle(torch.cat([images, detail, rough], 1), PATCH)
        verdicts = []
        for stage, verdict in zip(self.stages, self.verdicts, strict=True):
            features = stage(features)
            verdicts.append(verdict(features))
        return verdicts


def hinge(real: list[Tensor], drawn: list[Tensor]) -> Tensor:
    """The discriminator's loss: its verdicts on originals below 1, and on refined images above −1."""
    parts = [(1 - one).relu().mean() + (1 + other).relu().mean() for one, other in zip(real, drawn, strict=True)]
    return torch.stack(parts).float().mean()


def deceived(drawn: list[Tensor]) -> Tensor:
    """The refiner's loss: minus the mean verdict on what it drew."""
    return -torch.stack([verdict.float().mean() for verdict in drawn]).mean()
