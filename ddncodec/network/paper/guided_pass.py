"""Generators that ask a sampler for their picks, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.effort import GREEDY
from ddncodec.network.config import NetworkConfig, RecurrentConfig
from ddncodec.network.generator import Generator, Loss, Reconstruction
from ddncodec.network.layer import IMAGE_CHANNELS, DiscreteDistributionLayers, NodeOffer, Proposals, path_errors
from ddncodec.samplers import Chance, Guided, Sampler


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


class SampledGenerator(Generator):
    """A generator of blocks whose picks a sampler chooses.

    `reconstruct` is the encoder's side (the target guides every level), `replay` the decoder's; both run the
    same blocks and so give the same image. start_outputs: (3 + leak, 1, 1), before the first level.
    """

    config: NetworkConfig | RecurrentConfig
    start_outputs: nn.Parameter

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        return [layer.nodes for layer in self.layers]

    def blocks(self, sampler: Sampler[NodeOffer], batch: int, levels: int | None = None, condition: Tensor | None = None
               ) -> Iterator[BlockPass | Refinement]:
        """One pass over `batch` images, block by block; it stops after `levels` levels, by default all."""
        raise NotImplementedError

    def run(self, sampler: Sampler[NodeOffer], batch: int, levels: int | None = None, condition: Tensor | None = None
            ) -> Reconstruction:
        indices, image = [], self.start_outputs[None, :IMAGE_CHANNELS].expand(batch, -1, -1, -1)
        for block in self.blocks(sampler, batch, levels, condition):
            if isinstance(block, BlockPass):
                indices.append(block.indices)
            image = block.after
        side = self.config.resolution
        if image.shape[-1] != side:
            image = functional.interpolate(image, size=side, mode="bicubic")
        return Reconstruction(image.clamp(-1, 1), torch.cat(indices, 1))

    @torch.no_grad()
    def reconstruct(self, target: Tensor, levels: int | None = None, effort: int = GREEDY,
                    condition: Tensor | None = None) -> Reconstruction:
        """Guided reconstruction: target (B, 3, R, R) in [−1, 1]; the picks are the latent, at any effort greedy."""
        return self.run(Guided(target), len(target), levels, condition)

    def loss(self, images: Tensor, final_weight: float, chance: Chance, condition: Tensor | None = None) -> Loss:
        """Mean over the levels of the squared error at their resolution, plus the refined output's, weighted.

        A node that chain dropout picked, as `chance` has it, is not drawn towards a target that it is not the
        nearest to: its error counts as none.
        """
        sampler = Guided(images, self.config.chain_dropout, chance)
        passes = []
        for block in self.blocks(sampler, len(images), condition=condition):
            if isinstance(block, BlockPass) and block.guided is not None:
                passes.append((block.errors(sampler.target(block.after.shape[-1])), block.indices, block.guided))
        errors, picks, guided = (torch.cat(parts, 1) for parts in zip(*passes, strict=True))
        final = functional.mse_loss(block.after.float(), images)
        levels = torch.cat([errors.mean(0), final[None]]).detach()
        return Loss((errors * guided).mean() + final_weight * final, levels, picks, guided)
