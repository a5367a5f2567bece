"""What every generator can do, and how to build one from its configuration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddncodec.effort import GREEDY
from ddncodec.network.config import AnyConfig, NetworkConfig
from ddncodec.network.layer import DiscreteDistributionLayers


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """image: (B, 3, R, R) in [−1, 1]. indices: (B, N), the picks of the N levels that were run, int64."""

    image: Tensor
    indices: Tensor


class Generator(nn.Module):
    """A Discrete Distribution Network. Encoder and decoder run the same levels and so give the same image."""

    config: AnyConfig

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        raise NotImplementedError

    @property
    def layers(self) -> list[DiscreteDistributionLayers]:
        """The layers whose nodes split and are pruned."""
        return [module for module in self.modules() if isinstance(module, DiscreteDistributionLayers)]

    def reconstruct(self, target: Tensor, levels: int | None = None, effort: int = GREEDY) -> Reconstruction:
        """Guided reconstruction: target (B, 3, R, R) in [−1, 1]; the picks are the latent. See `ddncodec.effort`."""
        raise NotImplementedError

    def replay(self, indices: Tensor) -> Reconstruction:
        """Inverse of `reconstruct`: indices (B, N), N ≤ L, each below K."""
        raise NotImplementedError

    def loss(self, images: Tensor, final_weight: float, generator: torch.Generator) -> Tensor:
        """What training lowers: the mean of the levels' squared errors, plus the last one's, weighted."""
        raise NotImplementedError


def build(config: AnyConfig) -> Generator:
    """An untrained generator of this configuration."""
    from ddncodec.network.principal import PrincipalGenerator
    from ddncodec.network.single_shot import SingleShotGenerator

    return SingleShotGenerator(config) if isinstance(config, NetworkConfig) else PrincipalGenerator(config)
