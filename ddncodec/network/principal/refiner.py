"""The refiner: convolutions that draw what a finished prediction implies, for no bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.blocks import Hourglass

PATCH = 2  # pixels a side that the first width's channels stand for: convolutions at the full resolution cost most


class Refiner(nn.Module):
    """A U-Net of these widths, from half of the image's resolution on down; at the start it changes nothing."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        patch = 3 * PATCH**2
        self.enter = nn.Conv2d(patch, widths[0], 3, padding=1)
        self.hourglass = Hourglass(widths)
        self.leave = nn.Conv2d(widths[0], patch, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, R, R) → (B, 3, R, R), both in [−1, 1]."""
        patches = functional.pixel_unshuffle(image, PATCH).contiguous(memory_format=torch.channels_last)
        return image + functional.pixel_shuffle(self.leave(self.hourglass(self.enter(patches))), PATCH)
