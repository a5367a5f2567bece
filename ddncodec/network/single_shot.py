"""The single shot generator (Fig. 3b): coarse to fine, from 1×1 up to the full resolution, in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.effort import GREEDY
from ddncodec.network.blocks import Block, LevelState
from ddncodec.network.config import NetworkConfig, Stage
from ddncodec.network.generator import Generator, Loss, Reconstruction
from ddncodec.network.layer import IMAGE_CHANNELS, DiscreteDistributionLayers, Proposals, path_errors
from ddncodec.network.spectrum import cosine_matrix, rising_frequencies
from ddncodec.samplers import Chance, Guided, Replay, Sampler


@dataclass(frozen=True, slots=True)
class BlockPass:
    """One block of a pass through the generator, as a loss or a report wants to see it.

    layers: the block's DDLs. before: the prediction that they start from, (B, 3, r, r), r the block's resolution.
    proposals: what the n levels offered. indices: what was picked, (B, n). picked: the picked nodes' image
    weights times their scale, (B, n, 3, C). guided: (B, n) bool, false where a level picked at random (chain
    dropout), None where nothing guided. after: the prediction after the levels.
    """

    layers: DiscreteDistributionLayers
    before: Tensor
    proposals: Proposals
    indices: Tensor
    picked: Tensor
    guided: Tensor | None
    after: Tensor

    def errors(self, target: Tensor) -> Tensor:
        """Mean squared error after each level, (B, n), against the target at the block's resolution."""
        return path_errors(self.proposals.features, target - self.before, self.picked) / target[0].numel()


@dataclass(frozen=True, slots=True)
class Refinement:
    """A block without levels: the prediction before and after it, (B, 3, r, r)."""

    before: Tensor
    after: Tensor


class SingleShotGenerator(Generator):
    """A Discrete Distribution Network laid out by a `NetworkConfig`.

    `reconstruct` is the encoder's side (the target guides every level), `replay` the decoder's; both run the
    same blocks and so give the same image.
    """

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

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        return [layer.nodes for layer in self.layers]

    def blocks(self, sampler: Sampler, batch: int, levels: int | None = None) -> Iterator[BlockPass | Refinement]:
        """One pass over `batch` images, block by block; it stops after `levels` levels, by default all."""
        rest = self.config.levels if levels is None else levels
        state = LevelState(self.start_features.expand(batch, -1, -1, -1), self.start_outputs.expand(batch, -1, -1, -1))
        for stage in self.stages:
            assert isinstance(stage, StageModule)
            state = stage.enter(state)
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
                choice = sampler.choose(proposals, before)
                picked = module.ddl.picked(choice.indices) * proposals.scale[:, :, None, None]
                state = LevelState(state.features, state.outputs + proposals.features.render(picked.sum(1)))
                rest -= n
                yield BlockPass(module.ddl, before, proposals, choice.indices, picked[:, :, :IMAGE_CHANNELS],
                                choice.guided, state.prediction)
                if n < module.ddl.levels:
                    return

    def run(self, sampler: Sampler, batch: int, levels: int | None = None) -> Reconstruction:
        """The image after `levels` levels (by default all) of a sampler's choices, at the full resolution."""
        indices, image = [], self.start_outputs[None, :IMAGE_CHANNELS].expand(batch, -1, -1, -1)
        for block in self.blocks(sampler, batch, levels):
            if isinstance(block, BlockPass):
                indices.append(block.indices)
            image = block.after
        side = self.config.resolution
        if image.shape[-1] != side:
            image = functional.interpolate(image, size=side, mode="bicubic")
        return Reconstruction(image.clamp(-1, 1), torch.cat(indices, 1))

    @torch.no_grad()
    def reconstruct(self, target: Tensor, levels: int | None = None, effort: int = GREEDY) -> Reconstruction:
        """Guided reconstruction: target (B, 3, R, R) in [−1, 1]; the picks are the latent, at any effort greedy."""
        return self.run(Guided(target), len(target), levels)

    @torch.no_grad()
    def replay(self, indices: Tensor) -> Reconstruction:
        """Inverse of `reconstruct`: indices (B, N), N ≤ L, each below K; renders picked nodes alone."""
        return self.run(Replay(indices), len(indices), indices.shape[1])

    @property
    def dense(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, Block)]

    def loss(self, images: Tensor, final_weight: float, chance: Chance) -> Loss:
        """Mean over the levels of the squared error at their resolution, plus the refined output's, weighted.

        A node that chain dropout picked, as `chance` has it, is not drawn towards a target that it is not the
        nearest to: its error counts as none.
        """
        sampler = Guided(images, self.config.chain_dropout, chance)
        passes = []
        for block in self.blocks(sampler, len(images)):
            if isinstance(block, BlockPass) and block.guided is not None:
                passes.append((block.errors(sampler.target(block.after.shape[-1])), block.indices, block.guided))
        errors, picks, guided = (torch.cat(parts, 1) for parts in zip(*passes, strict=True))
        final = functional.mse_loss(block.after.float(), images)
        levels = torch.cat([errors.mean(0), final[None]]).detach()
        return Loss((errors * guided).mean() + final_weight * final, levels, picks, guided)


class StageModule(nn.Module):
    """The blocks of one resolution, and the way into it from the resolution before."""

    planes: Tensor

    def __init__(self, stage: Stage, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        self.resolution, self.trunk = stage.resolution, stage.trunk
        self.adapt = nn.Conv2d(channels, stage.channels, 1)
        # Training that starts from data replaces these by the residual's principal planes.
        self.register_buffer("planes", torch.empty(stage.planes, stage.resolution**2))
        self.planes.copy_(torch.from_numpy(cosine_planes(stage.planes, stage.resolution)))
        self.blocks = nn.ModuleList(Block(stage, n, config.k, config.leak) for n in stage.levels)

    def enter(self, state: LevelState) -> LevelState:
        """Upsample the trunk and the outputs to this stage's resolutions."""
        features: Tensor = self.adapt(_resize(state.features, self.trunk))
        return LevelState(features, _resize(state.outputs, self.resolution))


def cosine_planes(count: int, side: int) -> npt.NDArray[np.float32]:
    """The `count` orthonormal planes of lowest frequency of the side's two-dimensional DCT: (count, side²)."""
    waves = cosine_matrix(side)
    height, width = np.divmod(rising_frequencies(side), side)
    planes = waves[height[:count], :, None] * waves[width[:count], None, :]
    return np.asarray(planes.reshape(count, side * side), np.float32)


def _resize(x: Tensor, side: int) -> Tensor:
    return x if x.shape[-1] == side else functional.interpolate(x, size=side, mode="bilinear")
