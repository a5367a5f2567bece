"""The discriminator of a natural look: which of two pictures of the same stream is the original, and which was drawn?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (48, 80, 128)  # at a half, a quarter and an eighth of the image's resolution
GROUPS = 8
PATCH = 2  # pixels a side that the first width's channels stand for
DETAIL = 4.0  # how much larger a picture's fine details are shown than the rest: else large contrasts hide them
NOISE = 0.05  # what verdicts should be the same under, in [−1, 1]
SMOOTHNESS = 2.0  # the weight of that


class Discriminator(nn.Module):
    """Convolutions that judge patches of three sizes, and the whole picture by the mean of what they find in it.

    The mean tells textures apart that no patch does: a picture has very many patches.
    """

    def __init__(self) -> None:
        super().__init__()
        before = 3 * 3 * PATCH**2
        self.stages, self.verdicts, self.means = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(WIDTHS):
            first = nn.Conv2d(before, width, 4, 2, 1) if i else nn.Conv2d(before, width, 3, 1, 1)
            self.stages.append(nn.Sequential(
                first, nn.GroupNorm(GROUPS, width), nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.SiLU()))
            self.verdicts.append(nn.Conv2d(width, 1, 1))
            self.means.append(nn.Linear(width, 1))
            before = width

    def forward(self, images: Tensor, rough: Tensor) -> list[Tensor]:
        """How much each picture looks like an original: only differences count.

        Args:
            images: (B, 3, R, R) in [−1, 1], originals or refined ones.
            rough: (B, 3, R, R), what the refiner was given of them.

        Returns:
            At each of the widths, (B, 1, r, r) on patches and (B, 1, 1, 1) on the whole picture.
        """
        detail = DETAIL * (images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False))
        features = functional.pixel_unshuffle(torch.cat([images, detail, rough], 1), PATCH)
        verdicts = []
        for stage, verdict, mean in zip(self.stages, self.verdicts, self.means, strict=True):
            features = stage(features)
            verdicts += [verdict(features), mean(features.mean((2, 3)))[:, :, None, None]]
        return verdicts


def unlike(better: list[Tensor], worse: list[Tensor]) -> Tensor:
    """The loss of verdicts by which some pictures should look more like originals than others, each than its other."""
    parts = [functional.softplus((other - one).float()).mean() for one, other in zip(better, worse, strict=True)]
    return torch.stack(parts).mean()


def roughness(verdicts: list[Tensor], noisy: list[Tensor]) -> Tensor:
    """The mean square of what noise of NOISE changes in verdicts: of their gradient, for no second derivative."""
    parts = [(one - other).float().square().mean() for one, other in zip(verdicts, noisy, strict=True)]
    return torch.stack(parts).mean()
