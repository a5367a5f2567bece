"""What the paper's two generators share: blocks of DDLs, run one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.network.base import CellTable, Drawn, Generator, Loss, NodeSplits
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.paper.ddl import IMAGE_CHANNELS, DiscreteDistributionLayers, Picks
from ddncodec.network.paper.split_and_prune import split_and_prune
from ddncodec.pixels import downsample
from ddncodec.samplers.guided import GuidedSampler, chain_dropout
from ddncodec.samplers.protocol import Sampler, Shape
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams


class BlockPass(NamedTuple):
    """One block of a pass. prediction: (B, 3, r, r), after it. picks: None of a block that only refines."""

    prediction: Tensor
    picks: Picks | None


class PaperGenerator(Generator):
    """A generator of DDLs. start_outputs: (3 + leak, 1, 1), the outputs before the first level."""

    config: SingleShotConfig | BlockwiseConfig | RecurrentConfig
    start_outputs: nn.Parameter

    def blocks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
               ) -> Iterator[BlockPass]:
        """One pass over `batch` images, block by block; it stops after `levels` levels, by default all."""
        raise NotImplementedError

    def target(self, images: Tensor) -> Tensor:
        return images

    @property
    def cells(self) -> CellTable:
        """The L levels; those of a network of classes once for each class."""
        return CellTable(self.config.levels * self.config.classes, self.config.k)

    def cells_of(self, batch: int, condition: Tensor | None) -> Tensor:
        """The cells of all levels for each image: (B, L)."""
        levels = torch.arange(self.config.levels, device=self.start_outputs.device).expand(batch, -1)
        if condition is None or self.config.classes == 1:
            return levels
        return levels + self.config.levels * condition.flatten(1).argmax(1, keepdim=True)

    @property
    def shares(self) -> Tensor | None:
        if self.config.classes == 1:
            return None
        return torch.cat([layer.usage for layer in self.layers]).permute(2, 0, 1).flatten(0, 1)

    def picks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
              ) -> Iterator[Tensor]:
        left = self.config.levels if levels is None else levels
        for block in self.blocks(sampler, batch, levels, condition):
            if block.picks is not None:
                yield block.picks.choice.indices
                left -= block.picks.choice.indices.shape[1]
                if not left:
                    return  # what would only refine the image

    def run(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None) -> Drawn:
        self.check(condition=condition)
        indices, image = [], self.start_outputs[None, :IMAGE_CHANNELS].expand(batch, -1, -1, -1)
        for block in self.blocks(sampler, batch, levels, condition):
            image = block.prediction
            if block.picks is not None:
                indices.append(block.picks.choice.indices)
        return Drawn(self.shown(image), torch.cat(indices, 1))

    def replay(self, indices: Tensor, levels: Tensor) -> Tensor:
        batch, side = indices.shape[0], self.config.resolution
        image = self.start_outputs.new_zeros(batch, IMAGE_CHANNELS, side, side)
        for level, block in enumerate(self.blocks(ReplaySampler(indices), batch)):
            image = torch.where((levels > level)[:, None, None, None], self.shown(block.prediction), image)
        return image

    def shown(self, prediction: Tensor) -> Tensor:
        """A prediction (B, 3, r, r) of any level as the image that a reader is shown, (B, 3, R, R) in [−1, 1]."""
        side = self.config.resolution
        if prediction.shape[-1] != side:
            prediction = functional.interpolate(prediction, size=side, mode="bicubic")
        return prediction.clamp(-1, 1)

    def loss(self, images: Tensor, final_weight: float, streams: BatchStreams, condition: Tensor | None = None) -> Loss:
        """Mean over the levels of the squared error at their resolution, plus the refined output's, weighted.

        A node that chain dropout picked is not drawn towards a target that it is not the nearest to: its error counts
        as none.
        """
        shape = Shape(len(images), self.config.levels, self.config.k)
        forced = chain_dropout(self.config.chain_dropout, shape, streams, images.device)
        sampler = GuidedSampler(images, forced=forced)
        passes = []
        for prediction, picks in self.blocks(sampler, len(images), condition=condition):
            if picks is not None and picks.choice.guided is not None:
                passes.append((picks.errors(downsample(images, prediction.shape[-1])), *picks.choice))
        errors, indices, guided = (torch.cat(parts, 1) for parts in zip(*passes, strict=True))
        final = functional.mse_loss(prediction.float(), images)
        levels = torch.cat([errors.mean(0), final[None]]).detach()
        return Loss((errors * guided).mean() + final_weight * final, levels, indices, guided)

    @property
    def layers(self) -> list[DiscreteDistributionLayers]:
        """The DDLs of each block, in the order of the levels."""
        return [module for module in self.modules() if isinstance(module, DiscreteDistributionLayers)]

    @property
    def nodes(self) -> list[nn.Parameter]:
        return [layer.nodes for layer in self.layers]

    def picks_by_layer(self, counts: Tensor) -> Sequence[Tensor]:
        """How often the nodes of each of `layers` were picked, of what the L levels picked, (L, K, classes)."""
        return torch.split(counts, [layer.levels for layer in self.layers])

    def split_and_prune(self, counts: Tensor, gate: float, swaps: int, generator: torch.Generator
                        ) -> Sequence[NodeSplits]:
        splits = []
        for layer, picks in zip(self.layers, self.picks_by_layer(counts), strict=True):
            layer.usage += picks
            splits.append(split_and_prune(layer, gate, swaps, generator))
        return splits
