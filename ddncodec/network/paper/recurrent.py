"""The recurrent generator (Recurrence Iteration, Fig. 3c): one U-Net with shared nodes, applied again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.blocks import Hourglass
from ddncodec.network.paper.config import RecurrentConfig
from ddncodec.network.paper.ddl import IMAGE_CHANNELS, DiscreteDistributionLayers
from ddncodec.network.paper.features import ConvFeatures
from ddncodec.network.paper.generator import BlockPass, PaperGenerator
from ddncodec.samplers.protocol import Sampler


class RecurrentGenerator(PaperGenerator):
    """A Discrete Distribution Network laid out by a `RecurrentConfig`: each level reads what those before it drew."""

    config: RecurrentConfig

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.start_outputs = nn.Parameter(torch.zeros(IMAGE_CHANNELS + config.leak, 1, 1))
        self.unet = UNet(IMAGE_CHANNELS + config.leak + 1, config.widths)
        self.ddl = DiscreteDistributionLayers(1, config.k, config.leak, config.widths[0])

    def blocks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
               ) -> Iterator[BlockPass]:
        side = self.config.resolution
        cells = self.cells_of(batch, condition)
        outputs = self.start_outputs.expand(batch, -1, side, side)
        for level in range(self.config.levels if levels is None else levels):
            time = outputs.new_full((batch, 1, side, side), level / self.config.levels)
            features = ConvFeatures(self.through(self.unet, torch.cat([outputs, time], 1)))
            prediction, picks = self.ddl(features, outputs[:, :IMAGE_CHANNELS], sampler,
                                          cells=cells[:, level:])
            outputs = torch.cat([prediction, outputs[:, IMAGE_CHANNELS:] + picks.leak], 1)
            yield BlockPass(prediction, picks)

    @property
    def dense(self) -> list[nn.Module]:
        return [self.unet]

    def picks_by_layer(self, counts: Tensor) -> Sequence[Tensor]:
        """All levels pick among the same nodes."""
        return [counts.sum(0, keepdim=True)]


class UNet(nn.Module):
    """What the picks so far have drawn, and how many there were, as features of the full resolution."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.hourglass = Hourglass(widths)
        self.norm = nn.GroupNorm(1, widths[0])

    def forward(self, outputs: Tensor) -> Tensor:
        """(B, 3 + leak + 1, R, R) → (B, widths[0], R, R)."""
        return functional.silu(self.norm(self.hourglass(self.enter(outputs))))
