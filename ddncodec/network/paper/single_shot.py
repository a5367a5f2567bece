"""The single shot generator (Fig. 3b): coarse to fine, from 1×1 up to the full resolution, in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.cosines import cosine_factors
from ddncodec.network.paper.blocks import Block, LevelState
from ddncodec.network.paper.config import SingleShotConfig, Stage
from ddncodec.network.paper.ddl import IMAGE_CHANNELS
from ddncodec.network.paper.generator import BlockPass, PaperGenerator
from ddncodec.pixels import downsample
from ddncodec.samplers.protocol import Sampler


class SingleShotGenerator(PaperGenerator):
    """A Discrete Distribution Network laid out by a `SingleShotConfig`."""

    config: SingleShotConfig

    def __init__(self, config: SingleShotConfig) -> None:
        super().__init__()
        self.config = config
        first = config.stages[0]
        self.start_features = nn.Parameter(torch.empty(first.channels, 1, 1))
        nn.init.uniform_(self.start_features, -0.2, 0.2)
        self.start_outputs = nn.Parameter(torch.zeros(IMAGE_CHANNELS + config.leak, 1, 1))
        self.stages = nn.ModuleList()
        channels = first.channels
        for stage in config.stages:
            self.stages.append(StageModule(stage, config, channels))
            channels = stage.channels

    def blocks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
               ) -> Iterator[BlockPass]:
        left = self.config.levels if levels is None else levels
        classes = condition.flatten(1) if condition is not None and self.config.classes > 1 else None
        state = LevelState(self.start_features.expand(batch, -1, -1, -1), self.start_outputs.expand(batch, -1, -1, -1))
        for stage in self.stages:
            assert isinstance(stage, StageModule)
            state = stage.enter(state, condition)
            for block in stage.blocks:
                assert isinstance(block, Block)
                if left == 0 and block.ddl is not None:
                    return
                state = self.through(block, state)
                picks = None
                if block.ddl is not None:
                    features, scale = block.features(state.features, stage.planes)
                    n = min(left, block.ddl.levels)
                    outputs, picks = block.ddl(features, state.outputs, sampler, scale=scale, levels=n, classes=classes)
                    state = LevelState(state.features, outputs)
                    left -= n
                yield BlockPass(state.prediction, picks)
                if block.ddl is not None and n < block.ddl.levels:
                    return

    @property
    def starts_from_data(self) -> bool:
        return all(stage.planes for stage in self.config.stages)

    @property
    def dense(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, Block)]


class StageModule(nn.Module):
    """The blocks of one resolution, and the way into it from the resolution before."""

    planes: Tensor

    def __init__(self, stage: Stage, config: SingleShotConfig, channels: int) -> None:
        super().__init__()
        self.resolution, self.trunk = stage.resolution, stage.trunk
        self.adapt = nn.Conv2d(channels, stage.channels, 1)
        self.patch = stage.resolution // stage.trunk
        condition = config.condition
        # Named as in the first conditional checkpoints.
        self.told = nn.Conv2d(condition.channels * self.patch**2, stage.channels, 1) if condition else None
        # Training that starts from data replaces these by the residual's principal planes.
        self.register_buffer("planes", torch.empty(stage.planes, stage.resolution**2))
        # Multiplied here, where tensors without memory may stand for them.
        down, across = map(torch.from_numpy, cosine_factors(stage.planes, stage.resolution))
        self.planes.copy_((down[:, :, None] * across[:, None, :]).flatten(1))
        self.blocks = nn.ModuleList(Block(stage, n, config.k, config.leak, config.classes) for n in stage.levels)

    def enter(self, state: LevelState, condition: Tensor | None) -> LevelState:
        """Upsample the trunk and the outputs to this stage's resolutions; add what the condition says to the trunk."""
        features: Tensor = self.adapt(_resize(state.features, self.trunk))
        if self.told is not None:
            assert condition is not None, "a conditional network wants a condition"
            patches = functional.pixel_unshuffle(downsample(condition, self.resolution), self.patch)
            features = features + self.told(patches)
        return LevelState(features, _resize(state.outputs, self.resolution))


def _resize(x: Tensor, side: int) -> Tensor:
    return x if x.shape[-1] == side else functional.interpolate(x, size=side, mode="bilinear")
