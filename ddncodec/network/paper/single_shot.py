"""The single shot generator (Fig. 3b): coarse to fine, a level after every two convolutions, in one pass.

    trunk, prediction, leak of the level before
                │
      read: 1×1 convolution ──► + trunk      the picked image and its leak are fed back at every level
                │
      two 3×3 convolutions ──► + trunk
                │
               DDL ◄── sampler               one level: K nodes, one pick
                │
    trunk, prediction, leak ──► the next level; between stages all three are upsampled
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.blocks import ResidualBlock
from ddncodec.network.paper.config import SingleShotConfig, Stage
from ddncodec.network.paper.ddl import IMAGE_CHANNELS, DiscreteDistributionLayers
from ddncodec.network.paper.features import ConvFeatures
from ddncodec.network.paper.generator import BlockPass, PaperGenerator
from ddncodec.pixels import downsample
from ddncodec.samplers.protocol import Sampler

# Of the usual weights. Nodes that add to a prediction start with small outputs: with those of an image's size, as many
# random images would be added up as there are levels, and training is slow to undo that.
NODE_SIZE = 0.05


class LevelState(NamedTuple):
    """What one level hands to the next: trunk (B, C, r, r), prediction (B, 3, r, r), leak (B, leak, r, r)."""

    trunk: Tensor
    prediction: Tensor
    leak: Tensor


class SingleShotGenerator(PaperGenerator):
    """A Discrete Distribution Network laid out by a `SingleShotConfig`."""

    config: SingleShotConfig
    node_rate = 0.5

    def __init__(self, config: SingleShotConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.stages[0].channels
        self.start_trunk = nn.Parameter(torch.empty(channels, 1, 1))
        nn.init.uniform_(self.start_trunk, -0.2, 0.2)
        self.start_outputs = nn.Parameter(torch.zeros(IMAGE_CHANNELS + config.leak, 1, 1))
        self.stages = nn.ModuleList()
        for stage in config.stages:
            self.stages.append(StageModule(stage, config, channels))
            channels = stage.channels

    def blocks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
               ) -> Iterator[BlockPass]:
        left = total = self.config.levels if levels is None else levels
        cells = self.cells_of(batch, condition)
        prediction, leak = self.start_outputs.tensor_split([IMAGE_CHANNELS])
        state = LevelState(*(part.expand(batch, -1, -1, -1) for part in (self.start_trunk, prediction, leak)))
        for stage in self.stages:
            assert isinstance(stage, StageModule)
            state = stage.enter(state, condition)
            for block in stage.blocks:
                assert isinstance(block, Block)
                trunk, features = self.through(block, state)
                prediction, picks = block.ddl(ConvFeatures(features), state.prediction, sampler,
                                              cells=cells[:, total - left :])
                state = LevelState(trunk, prediction, picks.leak)
                yield BlockPass(prediction, picks)
                left -= 1
                if not left:
                    return

    @property
    def dense(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, Block)]


class StageModule(nn.Module):
    """The levels of one resolution, and the way into it from the resolution before."""

    def __init__(self, stage: Stage, config: SingleShotConfig, channels: int) -> None:
        super().__init__()
        self.resolution = stage.resolution
        self.adapt = nn.Conv2d(channels, stage.channels, 1)
        self.condition = nn.Conv2d(config.condition.channels, stage.channels, 1) if config.condition else None
        self.blocks = nn.ModuleList(Block(stage.channels, config) for _ in range(stage.levels))

    def enter(self, state: LevelState, condition: Tensor | None) -> LevelState:
        """Upsample all to this stage's resolution; add what the condition says to the trunk."""
        trunk = self.adapt(_upsample(state.trunk, self.resolution))
        outputs = _upsample(torch.cat([state.prediction, state.leak], 1), self.resolution)
        if self.condition is not None:
            assert condition is not None, "a conditional network needs a condition"
            trunk = trunk + self.condition(downsample(condition, self.resolution))
        return LevelState(trunk, *outputs.tensor_split([IMAGE_CHANNELS], 1))


class Block(nn.Module):
    """One level: two convolutions that read what was drawn so far, and a DDL over what they make of it."""

    def __init__(self, channels: int, config: SingleShotConfig) -> None:
        super().__init__()
        self.read = nn.Conv2d(IMAGE_CHANNELS + config.leak, channels, 1)
        self.residual = ResidualBlock(channels)
        self.norm = nn.GroupNorm(1, channels)
        self.ddl = DiscreteDistributionLayers(1, config.k, config.leak, channels, config.classes,
                                              config.learning_residual)
        if config.learning_residual:
            with torch.no_grad():
                self.ddl.nodes.mul_(NODE_SIZE)

    def forward(self, state: LevelState) -> tuple[Tensor, Tensor]:
        """The trunk after this block, and the features of its DDL: both (B, C, r, r)."""
        trunk = state.trunk + self.read(torch.cat([state.prediction, state.leak], 1))
        trunk = self.residual(trunk)
        return trunk, functional.silu(self.norm(trunk))


def _upsample(x: Tensor, side: int) -> Tensor:
    return x if x.shape[-1] == side else functional.interpolate(x, size=side, mode="bilinear")
