"""Blocks of the single shot generator: convolutions that turn the outputs so far into features for the next DDLs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.blocks import ResidualBlock
from ddncodec.network.paper.config import Stage
from ddncodec.network.paper.ddl import IMAGE_CHANNELS, DiscreteDistributionLayers
from ddncodec.network.paper.features import ConvFeatures, Features, PlaneFeatures

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

    def __init__(self, stage: Stage, levels: int, k: int, leak: int, classes: int) -> None:
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
        with torch.autocast(trunk.device.type, enabled=False):  # distances want float32
            if self.gain is None:
                return ConvFeatures(normed), None
            gain, scale = self.gain(normed.float())
            return PlaneFeatures(planes, gain), scale


class _GainHead(nn.Module):
    """A gain for each plane and a scale for each level, from the whole trunk; all are one at the start."""

    def __init__(self, stage: Stage, levels: int) -> None:
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
