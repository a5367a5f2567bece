"""Heads: perceptrons that read the prediction between segments of levels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.principal.config import PrincipalConfig

BANDS = 16  # of axes (fewer where there are few), whose energies tell a head how far an image is from the mean
SCALE_RANK = 32
MAX_LOG_SCALE = 2.0  # the least is the configuration's


class Head(nn.Module):
    """A perceptron that reads a prediction and says what it implies; at the start it says nothing.

    Returns the mean of what is still missing (B, axes), in units of its deviation, and the logarithm of the
    steps' scale (B, coded axes); 0 from the last head, which no steps follow.
    """

    means: Tensor

    def __init__(self, config: PrincipalConfig, last: bool) -> None:
        super().__init__()
        coded, width = config.coded_axes, config.width
        self.shrink = config.shrink
        edges = sorted({round(coded * (i / BANDS) ** 2) for i in range(BANDS + 1)})
        means = torch.zeros(coded, len(edges) - 1, device="cpu")  # also where the network has no memory yet
        for band, (low, high) in enumerate(pairwise(edges)):
            means[low:high, band] = 1 / (high - low)
        self.register_buffer("means", means, persistent=False)  # of the axes of each band
        self.read = nn.Linear(coded + len(edges) - 1, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.mean = nn.Linear(width, config.axes)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        self.log_scale: nn.Sequential | None = None
        if not last:
            out = nn.Linear(SCALE_RANK, coded)
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
            self.log_scale = nn.Sequential(nn.Linear(width, SCALE_RANK), out)

    def forward(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """prediction: (B, coded axes), in units of the axes' deviations over all images."""
        energies = (prediction.square() @ self.means + 0.01).log()
        hidden = functional.gelu(self.read(torch.cat([prediction, energies], 1)))
        hidden = hidden + functional.gelu(self.hidden(self.norm(hidden)))
        log_scale: Tensor = torch.zeros_like(prediction) if self.log_scale is None else self.log_scale(hidden)
        return self.mean(hidden), log_scale.clamp(-self.shrink, MAX_LOG_SCALE)
