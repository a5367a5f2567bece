"""What every generator can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddncodec.effort import GREEDY
from ddncodec.guides import Objective
from ddncodec.network.config import GeneratorConfig
from ddncodec.pixels import downsample
from ddncodec.samplers.conditional import Expectation
from ddncodec.samplers.guided import GuidedSampler
from ddncodec.samplers.protocol import Sampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams

POINT_SIDE = 8  # pixels of the images that are compared as points


class Drawn(NamedTuple):
    """image: (B, 3, R, R) in [−1, 1]. indices: (B, N) int64, the picks of the N levels that were run."""

    image: Tensor
    indices: Tensor


class Loss(NamedTuple):
    """What training lowers, and what it reports of the guided pass over B images.

    total: the loss, a scalar. levels: (L + 1,), the mean squared error after each level at its resolution, and
    last of the refined output; without a gradient. picks: (B, L), int64. guided: (B, L) bool, false where chain
    dropout picked.
    """

    total: Tensor
    levels: Tensor
    picks: Tensor
    guided: Tensor


class CellTable(NamedTuple):
    """What levels divide. number: how many cells there are. nodes: of which a pick takes one, in each of them."""

    number: int
    nodes: int


@dataclass(frozen=True, slots=True)
class NodeSplits:
    """Splits of output nodes `nodes`, (n, K, …): in level `level[i]` node `pruned[i]` became a copy of `split[i]`.

    level, split, pruned: (m,) int64. due: (m,) bool, false where nothing was split.
    """

    nodes: nn.Parameter
    level: Tensor
    split: Tensor
    pruned: Tensor
    due: Tensor

    def apply(self, per_node: Tensor) -> None:
        """Follow the splits in a tensor (n, K, …): nodes, their optimizer moments, their moving average."""
        due = self.due.view(-1, *[1] * (per_node.dim() - 2))
        kept, copied = per_node[self.level, self.pruned], per_node[self.level, self.split]
        per_node[self.level, self.pruned] = torch.where(due, copied, kept)


class Generator(nn.Module):
    """A Discrete Distribution Network: L levels that each propose K images, and a sampler that picks one of them.

        images ── encode ──► indices (B, N) ── decode ──► images
                 guided                      replay
                 sampler                     sampler

    `encode` and `decode` run the same levels, and so the decoder draws what the encoder's picks stand for. Any N ≤ L
    first levels decode to a coarser image.

    node_rate: how much faster the output nodes learn than the other parameters, by default. starts_from_data: whether
    an untrained network is fitted to images before the first step. checkpoint_activations: in training, forget what the
    parts of `dense` computed and compute it again on the way back: less memory, more time.
    search_can_be_exported: whether `search` is there.
    refiner_alone: in training, of all parts only the refiner learns, and that from every image.
    """

    config: GeneratorConfig
    node_rate: float = 0.1
    checkpoint_activations = False
    refiner_alone = False
    search_can_be_exported = False

    @property
    def max_effort(self) -> int:
        """The highest effort that `encode` knows."""
        return self.config.max_effort

    @torch.no_grad()
    def encode(self, images: Tensor, levels: int | None = None, effort: int = GREEDY, condition: Tensor | None = None
               ) -> Tensor:
        """Guided reconstruction without the image: the picks of the first levels.

        Args:
            images: (B, 3, R, R) in [−1, 1].
            levels: N, 1 to L; by default all L.
            effort: How hard to search, at most `max_effort`; see `ddncodec.effort`.
            condition: What a conditional network is given of the images, from `network.condition`; None for others.

        Returns:
            (B, N) int64, each below K.

        Raises:
            ValueError: The generator has no such effort, or no condition, or needs one.
        """
        self.check(effort, condition)
        sampler = GuidedSampler(self.target(images), effort)
        return torch.cat(list(self.picks(sampler, len(images), levels, condition)), 1)

    @torch.no_grad()
    def decode(self, indices: Tensor, condition: Tensor | None = None) -> Tensor:
        """Inverse of `encode`: the images that picks stand for; renders picked proposals alone.

        Args:
            indices: (B, N) int64, N ≤ L, each below K.
            condition: As in `encode`.

        Returns:
            (B, 3, R, R) in [−1, 1].
        """
        return self.run(ReplaySampler(indices), len(indices), indices.shape[1], condition).image

    def with_refiner(self, tensors: Mapping[str, Tensor]) -> Generator:
        """A generator that shares all parts with this one but the refiner: one of the same shape, with other tensors.

        Args:
            tensors: By their names in the refiner's state.

        Raises:
            ValueError: This generator has no refiner.
        """
        raise ValueError(f"a {self.config.generator} generator has no refiner")

    @torch.no_grad()
    def points(self, indices: Tensor) -> Tensor:
        """What the images of latents look like at a low resolution, as points; `points_of` gives those of images.

        Args:
            indices: (B, N) int64, N ≤ L, each below K.

        Returns:
            (B, D); squared distances between points are about those between images (3, R, R) in [−1, 1], or less.
        """
        return self.points_of(self.decode(indices))

    @torch.no_grad()
    def points_of(self, images: Tensor) -> Tensor:
        """Images (B, 3, R, R) in [−1, 1] as points (B, D); see `points`."""
        side = min(POINT_SIDE, images.shape[-1])
        return downsample(images, side).flatten(1) * (images.shape[-1] / side)  # a mean stands for so many pixels

    def replay(self, indices: Tensor, levels: Tensor) -> Tensor:
        """`decode` for latents of different lengths, by operations that do not depend on them: what is exported.

        Args:
            indices: (B, L) int64, each below K; what stands behind an image's levels does not matter.
            levels: (B,) int64, 1 to L, how many each image has.

        Returns:
            (B, 3, R, R) in [−1, 1].
        """
        raise NotImplementedError

    def search(self, images: Tensor, levels: Tensor, effort: Tensor) -> Tensor:
        """`encode` for latents of different lengths, by operations that do not depend on them: what is exported.

        Args:
            images: (B, 3, R, R) in [−1, 1], or beyond.
            levels: (B,) int64, 1 to L, how many each image is to have.
            effort: int64, a scalar.

        Returns:
            (B, L) int64, each below K; what stands behind an image's levels does not matter.
        """
        raise NotImplementedError

    @torch.no_grad()
    def reconstruct(self, images: Tensor, levels: int | None = None, effort: int = GREEDY,
                    condition: Tensor | None = None) -> Drawn:
        """`encode` and `decode` in one pass, for validation; see `encode` for the arguments."""
        self.check(effort, condition)
        return self.run(GuidedSampler(self.target(images), effort), len(images), levels, condition)

    def check(self, effort: int = GREEDY, condition: Tensor | None = None) -> None:
        """Raise ValueError for an effort or a condition that this generator has no use for."""
        if not GREEDY <= effort <= self.max_effort:
            raise ValueError(f"effort must be {GREEDY} to {self.max_effort} for this model, not {effort}")
        if (condition is None) != (self.config.condition is None):
            raise ValueError("this model takes no condition" if self.config.condition is None
                             else f"this model needs each image's {self.config.condition.kind}")

    def target(self, images: Tensor) -> Tensor:
        """Images (B, 3, R, R) as this generator's proposals compare them with themselves."""
        raise NotImplementedError

    def picks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
              ) -> Iterator[Tensor]:
        """A sampler's picks, block by block (B, n), over the first `levels` levels; draws nothing for its own sake."""
        raise NotImplementedError

    def run(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None) -> Drawn:
        """The images after the first `levels` levels (by default all) of a sampler's picks, refined."""
        raise NotImplementedError

    @property
    def cells(self) -> CellTable:
        """The cells that picks are counted in; `Proposals.cells` says which a level divides."""
        raise NotImplementedError

    @property
    def shares(self) -> Tensor | None:
        """How often training picked each node, (cells, nodes), in any unit; None where the weights do not keep it."""
        return None

    def expectation(self, objectives: Sequence[Objective], typical: float) -> Expectation | None:
        """What affine objectives let this generator expect of an image; None where it knows no more than images show.

        typical: weight of staying likely, where no objective is affine.
        """
        return None

    @property
    def in_eight_bits(self) -> list[str]:
        """Names of the matrices that a weights file may hold in 8 bits, with little loss."""
        return []

    # Training.

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        raise NotImplementedError

    @property
    def resting(self) -> list[nn.Parameter]:
        """Parameters that have no part in the loss while the network is as it is now; all others have."""
        return []

    @property
    def dense(self) -> list[nn.Module]:
        """The parts between the levels: what `--compile` compiles and `--checkpoint-activations` computes twice."""
        raise NotImplementedError

    def loss(self, images: Tensor, final_weight: float, streams: BatchStreams, condition: Tensor | None = None) -> Loss:
        """Of images (B, 3, R, R): the mean of the levels' squared errors, plus the refined output's, weighted."""
        raise NotImplementedError

    @property
    def starts_from_data(self) -> bool:
        """Whether an untrained network is fitted to images before the first step, by the registry's `start`."""
        return False

    def split_and_prune(self, counts: Tensor, gate: float, swaps: int, generator: torch.Generator
                        ) -> Sequence[NodeSplits]:
        """Split output nodes that are picked too often, where there are any, and prune unused ones (Algorithm 1).

        Args:
            counts: (L, K, classes), how often guided picks took each node since the last call.
            gate: Picks a node, on average, before a level is judged.
            swaps: At most so many nodes of a level are split at once.
            generator: Of the random numbers that tell a node from its copy.
        """
        return ()

    def through(self, part: nn.Module, inputs: Any) -> Any:
        """The output of one of `dense`."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(part, inputs, use_reentrant=False, preserve_rng_state=False)  # no part draws any
        return part(inputs)
