"""What every generator can do, and how to build one from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddncodec.effort import GREEDY
from ddncodec.network.config import AnyConfig, NetworkConfig, PrincipalConfig, RecurrentConfig
from ddncodec.network.layer import DiscreteDistributionLayers
from ddncodec.samplers import Chance, Replay, Sampler


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """image: (B, 3, R, R) in [−1, 1]. indices: (B, N), the picks of the N levels that were run, int64."""

    image: Tensor
    indices: Tensor


class Loss(NamedTuple):
    """What training lowers, and what it wants to know of the guided pass over B images.

    total: the loss, a scalar. levels: (L + 1,), the mean squared error after each level at its resolution, and
    last of the refined output; without a gradient. picks: (B, L), int64. guided: (B, L) bool, false where chain
    dropout picked.
    """

    total: Tensor
    levels: Tensor
    picks: Tensor
    guided: Tensor


class Generator(nn.Module):
    """A Discrete Distribution Network. Encoder and decoder run the same levels and so give the same image.

    checkpoint_activations: in training, forget what the parts of `dense` computed and compute it again on the way
    back: less memory, more time.
    """

    config: AnyConfig
    checkpoint_activations = False

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        raise NotImplementedError

    @property
    def layers(self) -> list[DiscreteDistributionLayers]:
        """The layers whose nodes split and are pruned."""
        return [module for module in self.modules() if isinstance(module, DiscreteDistributionLayers)]

    def reconstruct(self, target: Tensor, levels: int | None = None, effort: int = GREEDY,
                    condition: Tensor | None = None) -> Reconstruction:
        """Guided reconstruction: target (B, 3, R, R) in [−1, 1]; the picks are the latent. See `ddncodec.effort`.

        condition: what a conditional network is told of the images, from `network.condition`; None for others.
        """
        raise NotImplementedError

    def run(self, sampler: Sampler[Any], batch: int, levels: int | None = None, condition: Tensor | None = None
            ) -> Reconstruction:
        """The images (B, 3, R, R) after `levels` levels (by default all) of a sampler's picks, and what they imply."""
        raise NotImplementedError

    @torch.no_grad()
    def replay(self, indices: Tensor, condition: Tensor | None = None) -> Reconstruction:
        """Inverse of `reconstruct`: indices (B, N), N ≤ L, each below K; renders picked nodes alone."""
        return self.run(Replay(indices), len(indices), indices.shape[1], condition)

    def loss(self, images: Tensor, final_weight: float, chance: Chance, condition: Tensor | None = None) -> Loss:
        """Of images (B, 3, R, R): the mean of the levels' squared errors, plus the refined output's, weighted."""
        raise NotImplementedError

    def picks_by_layer(self, counts: Tensor) -> Sequence[Tensor]:
        """How often the nodes of each of `layers` were picked, of what the L levels picked, (L, K, classes)."""
        return torch.split(counts, [layer.levels for layer in self.layers]) if self.layers else ()

    @property
    def dense(self) -> list[nn.Module]:
        """The parts between the levels: what `--compile` compiles and `--checkpoint-activations` computes twice."""
        raise NotImplementedError

    def through(self, part: nn.Module, inputs: Any) -> Any:
        """The output of one of `dense`."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(part, inputs, use_reentrant=False)
        return part(inputs)


def build(config: AnyConfig) -> Generator:
    """An untrained generator of this configuration."""
    from ddncodec.network.principal import PrincipalGenerator
    from ddncodec.network.recurrent import RecurrentGenerator
    from ddncodec.network.single_shot import SingleShotGenerator

    match config:
        case NetworkConfig():
            return SingleShotGenerator(config)
        case RecurrentConfig():
            return RecurrentGenerator(config)
        case PrincipalConfig():
            return PrincipalGenerator(config)
