"""The principal generator: levels that split principal axes, in an order and by steps that depend on the path.

A level's K = 2^b proposals are the prediction plus all sums of b splits, one on each of b axes. Between segments of
levels a head reads the prediction, corrects it by what the picks imply (for no bits), and says how far this image's
steps reach.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from ddncodec.effort import LOOK_AHEAD
from ddncodec.guides import Objective
from ddncodec.network.base import CellTable, Drawn, Generator, Loss
from ddncodec.network.principal.axes import PrincipalAxes
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.principal.coupling import Codebook, Trellis, level_indices, split_picks
from ddncodec.network.principal.expectation import GaussianExpectation
from ddncodec.network.principal.heads import Head
from ddncodec.network.principal.proposals import SplitProposals
from ddncodec.network.principal.refiner import Refiner
from ddncodec.network.principal.trees import Cells, SplitTrees
from ddncodec.samplers.conditional import Expectation
from ddncodec.samplers.guided import GuidedSampler
from ddncodec.samplers.protocol import Sampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams

POINT_AXES = 128  # coefficients that images are compared by
REFINED, CUT = 0.25, 0.33  # of a batch, the share that trains the refiner beside all, and of that the shorter streams


@dataclass(frozen=True, slots=True)
class Splits:
    """Some splits of a pass, in the order of the stream, on B images.

    axes, leaves: (B, m). scale: (B, m), what the path multiplies the steps by. shift: (B, m), what
    the coupling multiplies the dither by. picks: (B, m), 0 or 1. step: (B, m), what they add to the prediction.
    before, after: predictions (B, axes of the spectrum) around them.
    """

    axes: Tensor
    leaves: Tensor
    scale: Tensor
    shift: Tensor
    picks: Tensor
    step: Tensor
    before: Tensor
    after: Tensor


class PrincipalGenerator(Generator):
    """A Discrete Distribution Network over principal axes, laid out by a `PrincipalConfig`.

        for each segment:  prediction ─► head ─► corrected prediction, scale of the steps
            for each block:  the trees and the path so far ─► which axes to split, and how far
                sampler ◄─ all sums of the block's splits          (guided by the target's coefficients, or replay)
                prediction + picked steps ─► the next block's prediction
        prediction ─► last head ─► axes ─► image ─► refiner ─► image

    deviation: buffer (segments + 1, axes), root mean square of what is missing before each segment and at the end.
    """

    config: PrincipalConfig
    deviation: Tensor
    starts_from_data = True
    node_rate = 0.05
    search_can_be_exported = True

    def __init__(self, config: PrincipalConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrum = PrincipalAxes(config.resolution, config.axes, config.frequencies)
        self.trees = SplitTrees(config.coded_axes, config.depth)
        self.coupling: Trellis | Codebook = (
            Trellis(config.block_bits) if config.level_bits == 1 else Codebook(config.level_bits))
        self.heads = nn.ModuleList(  # the first segment has nothing to read; the last head refines what comes out
            Head(config, last=i == len(config.segments)) for i in range(1, len(config.segments) + 1))
        self.refiner = Refiner(config.refiner) if config.refiner else None
        self.register_buffer("deviation", torch.ones(len(config.segments) + 1, config.axes))

    def with_refiner(self, tensors: Mapping[str, Tensor]) -> Generator:
        if self.refiner is None:
            return super().with_refiner(tensors)
        other = copy(self)
        other._modules = dict(self._modules)
        other.refiner = deepcopy(self.refiner)
        other.refiner.load_state_dict(tensors)
        return other

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        return [self.trees.steps, *self._couplers]

    @property
    def _couplers(self) -> list[nn.Parameter]:
        """What makes picks depend on one another."""
        return [self.trees.dither, *self.coupling.parameters()]

    @property
    def _coupled(self) -> bool:
        return bool(self.trees.dither.any())

    @property
    def resting(self) -> list[nn.Parameter]:
        if self.refiner_alone and self.refiner is not None:
            learning = set(self.refiner.parameters())
            return [parameter for parameter in self.parameters() if parameter not in learning]
        return [] if self._coupled else self._couplers

    def seen(self, prediction: Tensor) -> Tensor:
        """What a head reads of a prediction: its coded axes, in units of their deviations over all images."""
        coded = self.config.coded_axes
        return prediction[:, :coded] / self.deviation[0, :coded]

    def correct(self, segment: int, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction with what it implies before a segment, and the scale of each coded axis's steps there."""
        if segment == 0:
            return prediction, torch.ones_like(self.seen(prediction))
        mean, log_scale = self.through(self.heads[segment - 1], self.seen(prediction))
        return prediction + self.deviation[segment] * mean.float(), log_scale.float().exp()

    def splits(self, sampler: Sampler, batch: int, levels: int | None = None, lengths: Tensor | None = None
               ) -> Iterator[Splits]:
        """One pass over `batch` images, block by block.

        Args:
            sampler: Whose picks are taken.
            batch: B.
            levels: The first so many are run; by default all.
            lengths: (B,), how many levels each image has, if they differ: no step behind them is taken.
        """
        prediction = self.deviation.new_zeros(batch, self.config.axes)
        cells = Cells(self.trees, batch)
        left = (self.config.levels if levels is None else levels) * self.config.level_bits
        for segment, segment_levels in enumerate(self.config.segments):
            if left <= 0:
                return
            prediction, scale = self._corrected(segment, prediction, lengths)
            for splits in self.segment(sampler, segment, prediction, scale, cells, left, lengths):
                yield splits
            prediction = splits.after
            left -= segment_levels * self.config.level_bits

    def _corrected(self, segment: int, prediction: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """`correct`; images that end before the last segment stay as they are: the head behind their levels was it."""
        corrected, scale = self.correct(segment, prediction)
        if lengths is not None:
            longer = lengths > sum(self.config.segments[: max(segment - 1, 0)])
            corrected = torch.where(longer[:, None], corrected, prediction)
        return corrected, scale

    def segment(self, sampler: Sampler, segment: int, prediction: Tensor, scale: Tensor, cells: Cells,
                left: int, lengths: Tensor | None = None) -> Iterator[Splits]:
        """The blocks of one segment, of whose bits at most `left` are split; `cells` follow. lengths: see `splits`."""
        bits = self.config.segments[segment] * self.config.level_bits
        before_segment = sum(self.config.segments[:segment]) * self.config.level_bits
        start = 0
        while start < min(bits, left):
            # No two axes have as much to gain: where a shorter stream ends inside of a block, its order is the block's.
            count = min(self.config.block(before_segment + start), bits - start, left - start)
            axes, leaves = cells.best(count)
            cell = axes * self.trees.gain.shape[1] + leaves
            taken = scale.gather(1, axes)
            if lengths is not None:
                numbers = before_segment + start + torch.arange(count, device=lengths.device)
                taken = taken * (numbers < lengths[:, None] * self.config.level_bits)
            steps = self.trees.steps.flatten(0, 1)[cell] * taken[:, :, None]
            dither = self.trees.dither.flatten()[cell] * taken
            # Where no split is coupled the plain way is faster, but an exported network must not depend on that.
            coupled = self._coupled if torch.onnx.is_in_onnx_export() else bool(dither.any())
            coupling = self.coupling if coupled else None
            proposals = SplitProposals(segment, axes, cell, prediction, steps, dither, coupling, self.spectrum,
                                       self.config.level_bits)
            picks = split_picks(sampler.choose(proposals).indices, self.config.level_bits)
            step, shift = proposals.taken(picks)
            before, prediction = prediction, prediction.scatter_add(1, axes, step)
            cells.split(axes, picks)
            yield Splits(axes, leaves, taken, shift, picks, step, before, prediction)
            start += count

    @property
    def cells(self) -> CellTable:
        """The cells of all axes' trees, each of which a pick splits in two."""
        return CellTable(self.trees.gain.numel(), 2)

    def target(self, images: Tensor) -> Tensor:
        """The coefficients of images along the axes: (B, axes)."""
        return self.spectrum.analyse(images)

    @torch.no_grad()
    def points(self, indices: Tensor) -> Tensor:
        """Coefficients along the first axes, which are orthonormal; neither these nor the refiner are drawn."""
        for splits in self.splits(ReplaySampler(indices), len(indices), indices.shape[1]):
            prediction = splits.after
        return prediction[:, :POINT_AXES]

    @torch.no_grad()
    def points_of(self, images: Tensor) -> Tensor:
        return self.target(images)[:, :POINT_AXES]

    def picks(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None
              ) -> Iterator[Tensor]:
        for splits in self.splits(sampler, batch, levels):
            yield level_indices(splits.picks, self.config.level_bits)

    def run(self, sampler: Sampler, batch: int, levels: int | None = None, condition: Tensor | None = None) -> Drawn:
        self.check(condition=condition)
        picks = []
        for splits in self.splits(sampler, batch, levels):
            picks.append(splits.picks)
        image = self.draw(self._implied(splits.after, self.config.levels if levels is None else levels))
        return Drawn(image, level_indices(torch.cat(picks, 1), self.config.level_bits))

    def draw(self, prediction: Tensor) -> Tensor:
        """The refined image of a finished prediction: (B, axes) → (B, 3, R, R) in [−1, 1]."""
        image = self.spectrum.synthesise(prediction)
        if self.refiner is not None:
            image = self.refiner(image)
        return image.clamp(-1, 1)

    def replay(self, indices: Tensor, levels: Tensor) -> Tensor:
        for splits in self.splits(ReplaySampler(indices), indices.shape[0], lengths=levels):
            prediction = splits.after
        return self.draw(self._corrected(len(self.config.segments), prediction, levels)[0])

    def search(self, images: Tensor, levels: Tensor, effort: Tensor) -> Tensor:
        sampler = GuidedSampler(self.target(images), effort)
        picks = [splits.picks for splits in self.splits(sampler, images.shape[0], lengths=levels)]
        return level_indices(torch.cat(picks, 1), self.config.level_bits)

    @property
    def in_eight_bits(self) -> list[str]:
        """The heads' matrices. Rounded axes would no longer be orthonormal, and rounded trees give another order."""
        return [f"heads.{name}" for name, parameter in self.heads.named_parameters() if parameter.dim() == 2]

    def expectation(self, objectives: Sequence[Objective], typical: float) -> Expectation | None:
        return GaussianExpectation.of(self.spectrum, self.deviation, objectives, typical)

    def _implied(self, prediction: Tensor, levels: int) -> Tensor:
        """What the next head makes of the prediction after so many levels."""
        ends = list(accumulate(self.config.segments))
        return self.correct(bisect_left(ends, levels) + 1, prediction)[0]

    @property
    def dense(self) -> list[nn.Module]:
        return [*self.heads, *([] if self.refiner is None else [self.refiner])]

    @torch.no_grad()
    def predictions(self, images: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """What the refiner draws from: the finished predictions of whole streams and of shorter ones.

        Args:
            images: (B, 3, R, R) in [−1, 1].
            shares: (B,) in [0, 1): after which of the blocks the shorter streams end.

        Returns:
            Coefficients (B, axes), twice. The picks are those of the highest effort.
        """
        finished, levels = [], 0
        for splits in self.splits(GuidedSampler(self.target(images), LOOK_AHEAD), len(images)):
            levels += splits.picks.shape[1] // self.config.level_bits
            finished.append(self._implied(splits.after, levels))
        blocks = (shares * len(finished)).long()
        return finished[-1], torch.stack(finished, 1)[torch.arange(len(images)), blocks]

    @torch.no_grad()
    def prediction(self, images: Tensor, levels: int) -> Tensor:
        """The finished predictions (B, axes) of streams of so many levels, as `predictions`."""
        *_, last = self.splits(GuidedSampler(self.target(images), LOOK_AHEAD), len(images), levels)
        return self._implied(last.after, levels)

    def loss(self, images: Tensor, final_weight: float, streams: BatchStreams, condition: Tensor | None = None) -> Loss:
        """Mean squared error along a guided pass over images (B, 3, R, R): the mean of the blocks' and the last.

        What no axis reaches is left out: the axes cannot lower it. The picks are those of the highest effort. The
        refiner learns beside them, without a gradient into them, from some of the images, and from some of those
        after a random block, so that it refines shorter streams as well. Alone, it learns from all images, and its
        error is the whole loss.
        """
        with torch.autocast(images.device.type, enabled=False):  # distances want float32
            target = self.target(images)
        pixels = images[0].numel()
        levels, picks, predictions = [], [], []
        for splits in self.splits(GuidedSampler(target, LOOK_AHEAD), len(images)):
            predictions.append(splits.after)
            levels.append(self._level_errors(splits, target))
            picks.append(splits.picks)
        blocks = torch.stack([(prediction - target).square().sum(1).mean() for prediction in predictions])
        implied = self._implied(predictions[-1], self.config.levels)
        final = (implied - target).square().sum(1).mean()
        total = (blocks.mean() + final_weight * final) / pixels
        if self._coupled:  # these images may have no coupled pick, but each process of a job needs all gradients
            total = total + 0 * torch.cat([parameter.flatten() for parameter in self._couplers]).sum()
        if self.refiner is not None:
            block = streams.below(len(predictions))
            shorter = self._implied(predictions[block], sum(map(len, levels[: block + 1])))
            refined = final_weight * self._refiner_loss(self.refiner, images, implied, shorter, streams)
            total = refined if self.refiner_alone else total + refined
        indices = level_indices(torch.cat(picks, 1), self.config.level_bits)
        errors = torch.cat([*levels, final.detach()[None]]) / pixels
        return Loss(total, errors, indices, torch.ones_like(indices, dtype=torch.bool))

    def _refiner_loss(self, refiner: Refiner, images: Tensor, whole: Tensor, shorter: Tensor, streams: BatchStreams
                      ) -> Tensor:
        """Mean squared error of some refined images, of the whole stream's prediction or of a shorter one's."""
        share = 1 if self.refiner_alone else REFINED
        taken, cut = (streams.uniform(len(images), 2).to(images.device) < images.new_tensor([share, CUT])).unbind(1)
        # Where none is taken one is, and counts nothing: in a job of many processes each must have a gradient.
        chosen = taken.nonzero()[:, 0] if taken.any() else taken.new_zeros(1, dtype=torch.int64)
        with torch.no_grad():
            rough = self.spectrum.synthesise(torch.where(cut[:, None], shorter, whole)[chosen])
        errors: Tensor = (self.through(refiner, rough).float() - images[chosen]).square().flatten(1).mean(1)
        return (errors * taken[chosen]).sum() / (share * len(images))

    @torch.no_grad()
    def _level_errors(self, splits: Splits, target: Tensor) -> Tensor:
        """Squared distance to the target's coefficients (B, axes) after each level of a block, averaged: (levels,)."""
        start = (splits.before - target).square().sum(1).mean()
        wanted = target.gather(1, splits.axes)
        before, after = ((p.gather(1, splits.axes) - wanted).square().mean(0) for p in (splits.before, splits.after))
        return (start + (after - before).cumsum(0))[self.config.level_bits - 1 :: self.config.level_bits]
