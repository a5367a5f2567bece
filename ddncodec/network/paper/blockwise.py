"""The single shot generator of this project's first models: several levels share a block, and so its features.

It differs from the paper's (`single_shot`) in what follows. A stage's convolutions run on a *trunk*, which may be
coarser than its images. Levels of a block share features: the trunk's channels, or fixed orthonormal *planes* times
gains that the trunk computes. A block *corrects* the prediction for no bits. The leak of the levels adds up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.blocks import ResidualBlock
from ddncodec.network.cosines import cosine_factors
from ddncodec.network.paper.config import BlockwiseConfig, SharedStage
from ddncodec.network.paper.ddl import IMAGE_CHANNELS, DiscreteDistributionLayers, in_float32
from ddncodec.network.paper.features import ConvFeatures, Features, PlaneFeatures
from ddncodec.network.paper.generator import BlockPass, PaperGenerator
from ddncodec.pixels import downsample
from ddncodec.samplers.protocol import Sampler

GAIN_CHANNELS = 8
MAX_LOG_GAIN = 3.0
# Every block adds to the prediction and every gain moves all levels of its block: at the convolutions' own rate,
# unscaled, the sum of their steps overshoots and training diverges.
CORRECTION_SCALE = 0.1
GAIN_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class LevelState:
    """What one level hands to the next.

    features: the trunk, (B, channels, t, t). outputs: the sum of the picked nodes' outputs so far,
    (B, 3 + leak, r, r); its first three channels are the prediction, in [−1, 1] where trained.
    """

    features: Tensor
    outputs: Tensor

    @property
    def prediction(self) -> Tensor:
        return self.outputs[:, :IMAGE_CHANNELS]


class Block(nn.Module):
    """Reads the outputs so far into the trunk, corrects the prediction, and carries n levels.

    The trunk may be coarser than the outputs: it then reads and corrects them in patches. The correction is
    what the picks so far imply, drawn for no bits. Corrections start at zero and gains at one, so that nodes
    fitted to data stay fitted until the trunk has learned something.
    """

    def __init__(self, stage: SharedStage, levels: int, k: int, leak: int, classes: int) -> None:
        super().__init__()
        self.patch = stage.resolution // stage.trunk
        patch_channels = (IMAGE_CHANNELS + leak) * self.patch**2
        self.read = nn.Conv2d(patch_channels, stage.channels, 1)
        self.residual = ResidualBlock(stage.channels)
        self.norm = nn.GroupNorm(1, stage.channels)
        self.correction = nn.Conv2d(stage.channels, patch_channels, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(_bias(self.correction))
        features = stage.planes or stage.channels
        self.ddl = DiscreteDistributionLayers(levels, k, leak, features, classes) if levels else None
        self.gain = _GainHead(stage, levels) if levels and stage.planes else None

    def forward(self, state: LevelState) -> LevelState:
        """The state with this block's trunk and correction, before its levels."""
        trunk = state.features + self.read(functional.pixel_unshuffle(state.outputs, self.patch))
        trunk = self.residual(trunk)
        correction = CORRECTION_SCALE * self.correction(functional.silu(self.norm(trunk)))
        return LevelState(trunk, state.outputs + functional.pixel_shuffle(correction, self.patch))

    def features(self, trunk: Tensor, planes: Tensor) -> tuple[Features, Tensor | None]:
        """What this block's nodes are convolutions over, and the scale of its levels (B, n) where they have one.

        Without planes the trunk itself; else the stage's planes (C, P) times gains.
        """
        normed = functional.silu(self.norm(trunk))
        with in_float32(trunk):
            if self.gain is None:
                return ConvFeatures(normed), None
            gain, scale = self.gain(normed.float())
            return PlaneFeatures(planes, gain), scale


class _GainHead(nn.Module):
    """A gain for each plane and a scale for each level, from the whole trunk; all are one at the start."""

    def __init__(self, stage: SharedStage, levels: int) -> None:
        super().__init__()
        self.sizes = [stage.planes, levels]
        self.squeeze = nn.Conv2d(stage.channels, GAIN_CHANNELS, 1)
        self.log_gain = nn.Linear(GAIN_CHANNELS * stage.trunk**2, sum(self.sizes))
        nn.init.zeros_(self.log_gain.weight)
        nn.init.zeros_(self.log_gain.bias)

    def forward(self, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, t, t) → (B, planes), (B, levels)."""
        log_gain: Tensor = GAIN_SCALE * self.log_gain(self.squeeze(trunk).flatten(1))
        gain, scale = torch.split(log_gain.clamp(-MAX_LOG_GAIN, MAX_LOG_GAIN).exp(), self.sizes, 1)
        return gain, scale


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


class BlockwiseGenerator(PaperGenerator):
    """A Discrete Distribution Network laid out by a `BlockwiseConfig`."""

    config: BlockwiseConfig

    def __init__(self, config: BlockwiseConfig) -> None:
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
        left = total = self.config.levels if levels is None else levels
        cells = self.cells_of(batch, condition)
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
                    prediction, picks = block.ddl(features, state.prediction, sampler, scale=scale, levels=n,
                                                  cells=cells[:, total - left :])
                    leak = state.outputs[:, IMAGE_CHANNELS:] + picks.leak
                    state = LevelState(state.features, torch.cat([prediction, leak], 1))
                    left -= n
                yield BlockPass(state.prediction, picks)
                if block.ddl is not None and n < block.ddl.levels:
                    return

    @property
    def starts_from_data(self) -> bool:
        return all(stage.planes for stage in self.config.stages)

    @property
    def node_rate(self) -> float:  # type: ignore[override]
        return 0.05 if self.starts_from_data else 0.1

    @property
    def dense(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, Block)]


class StageModule(nn.Module):
    """The blocks of one resolution, and the way into it from the resolution before."""

    planes: Tensor

    def __init__(self, stage: SharedStage, config: BlockwiseConfig, channels: int) -> None:
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
