"""The single shot generator (Fig. 3b): coarse to fine, from 1×1 up to the full resolution, in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.blocks import Block, LevelState
from ddncodec.network.config import NetworkConfig, Stage
from ddncodec.network.layer import IMAGE_CHANNELS, NodeOffer
from ddncodec.network.sampled import BlockPass, Refinement, SampledGenerator
from ddncodec.network.spectrum import cosine_matrix, rising_frequencies
from ddncodec.samplers import Sampler, downsample


class SingleShotGenerator(SampledGenerator):
    """A Discrete Distribution Network laid out by a `NetworkConfig`."""

    config: NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
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

    def blocks(self, sampler: Sampler[NodeOffer], batch: int, levels: int | None = None,
               condition: Tensor | None = None) -> Iterator[BlockPass | Refinement]:
        """One pass over `batch` images, block by block; it stops after `levels` levels, by default all."""
        rest = self.config.levels if levels is None else levels
        classes = condition.flatten(1) if condition is not None and self.config.classes > 1 else None
        state = LevelState(self.start_features.expand(batch, -1, -1, -1), self.start_outputs.expand(batch, -1, -1, -1))
        for stage in self.stages:
            assert isinstance(stage, StageModule)
            state = stage.enter(state, condition)
            for module in stage.blocks:
                assert isinstance(module, Block)
                if rest == 0 and module.ddl is not None:
                    return
                refined: LevelState = self.through(module, state)
                if module.ddl is None:
                    yield Refinement(state.prediction, refined.prediction)
                    state = refined
                    continue
                state, before = refined, refined.prediction
                n = min(rest, module.ddl.levels)
                proposals = module.proposals(module.ddl, state.features, stage.planes).first(n)
                odds = None if classes is None else module.ddl.odds(classes)
                choice = sampler.choose(NodeOffer(proposals, before, odds))
                picked = module.ddl.picked(choice.indices) * proposals.scale[:, :, None, None]
                state = LevelState(state.features, state.outputs + proposals.features.render(picked.sum(1)))
                rest -= n
                yield BlockPass(module.ddl, before, proposals, choice.indices, picked[:, :, :IMAGE_CHANNELS],
                                choice.guided, state.prediction)
                if n < module.ddl.levels:
                    return

    @property
    def dense(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, Block)]


class StageModule(nn.Module):
    """The blocks of one resolution, and the way into it from the resolution before."""

    planes: Tensor

    def __init__(self, stage: Stage, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        self.resolution, self.trunk = stage.resolution, stage.trunk
        self.adapt = nn.Conv2d(channels, stage.channels, 1)
        self.patch = stage.resolution // stage.trunk
        told = config.condition
        self.told = nn.Conv2d(told.channels * self.patch**2, stage.channels, 1) if told else None
        # Training that starts from data replaces these by the residual's principal planes.
        self.register_buffer("planes", torch.empty(stage.planes, stage.resolution**2))
        self.planes.copy_(torch.from_numpy(cosine_planes(stage.planes, stage.resolution)))
        self.blocks = nn.ModuleList(Block(stage, n, config.k, config.leak, config.classes) for n in stage.levels)

    def enter(self, state: LevelState, condition: Tensor | None) -> LevelState:
        """Upsample the trunk and the outputs to this stage's resolutions; add what the condition says to the trunk."""
        features: Tensor = self.adapt(_resize(state.features, self.trunk))
        if self.told is not None:
            assert condition is not None, "a conditional network wants a condition"
            patches = functional.pixel_unshuffle(downsample(condition, self.resolution), self.patch)
            features = features + self.told(patches)
        return LevelState(features, _resize(state.outputs, self.resolution))


def cosine_planes(count: int, side: int) -> npt.NDArray[np.float32]:
    """The `count` orthonormal planes of lowest frequency of the side's two-dimensional DCT: (count, side²)."""
    waves = cosine_matrix(side)
    height, width = np.divmod(rising_frequencies(side), side)
    planes = waves[height[:count], :, None] * waves[width[:count], None, :]
    return np.asarray(planes.reshape(count, side * side), np.float32)


def _resize(x: Tensor, side: int) -> Tensor:
    return x if x.shape[-1] == side else functional.interpolate(x, size=side, mode="bilinear")
