"""The principal generator: levels that split principal axes, in an order and by steps that depend on the path.

A level's K = 2^b proposals are the prediction plus all sums of b splits, one on each of b axes. Axes are
orthonormal, so the nearest of the K is found split by split, exactly. Between segments of levels a head reads the
prediction, corrects it by what the picks imply (for no bits), and says how far this image's steps reach.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.effort import GREEDY
from ddncodec.network.config import PrincipalConfig
from ddncodec.network.coupling import Codebook, Coupling, Trellis, level_indices, split_picks
from ddncodec.network.generator import Generator, Loss, Reconstruction
from ddncodec.network.layer import Shape
from ddncodec.network.refiner import Refiner
from ddncodec.network.spectrum import Spectrum
from ddncodec.network.trees import Cells, SplitTrees
from ddncodec.samplers import Chance, Choice, Sampler

BANDS = 16  # of axes (fewer where there are few), whose energies tell a head how far an image is from the mean
SCALE_RANK = 32
MAX_LOG_SCALE = 2.0
REFINED, CUT = 0.25, 0.33  # of a batch, the share that trains the refiner, and of that the share of shorter streams


@dataclass(frozen=True)
class SplitOffer:
    """The splits of a block, `bits` of them a level; an `Offer` to samplers.

    segment: which one the block is in. axes: (B, m), which to split. prediction: (B, all axes). steps: (B, m, 2), to
    the two children. dither: (B, m), how far their coupling shifts both. coupled: whether it shifts any.
    """

    segment: int
    axes: Tensor
    prediction: Tensor
    steps: Tensor
    dither: Tensor
    coupled: bool
    coupling: Coupling
    spectrum: Spectrum
    bits: int

    def taken(self, splits: Tensor) -> tuple[Tensor, Tensor]:
        """How far C ways to pick the first splits, (B, C, m) of 0 or 1, go, and the coupling's shifts; both alike."""
        count = splits.shape[2]
        steps = torch.where(splits.bool(), self.steps[:, None, :count, 1], self.steps[:, None, :count, 0])
        if not (self.coupled and count):
            return steps, torch.zeros_like(steps)
        shifts = self.coupling.shifts(splits.flatten(0, 1)).view_as(steps)
        return steps + shifts * self.dither[:, None, :count], shifts

    @property
    def shape(self) -> Shape:
        return Shape(len(self.axes), self.axes.shape[1] // self.bits, 2**self.bits)

    @property
    def odds(self) -> None:
        """All picks are as likely."""

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        """What the prediction looks like, (B, 3, R, R), and each of the axes, (B, m, 3·R·R)."""
        axes = self.spectrum.image(self.spectrum.basis.T[self.axes.flatten()]) - self.spectrum.mean
        return self.spectrum.synthesise(self.prediction), axes.reshape(*self.axes.shape, -1)

    def distances(self, target: Tensor, picks: Tensor) -> Tensor:
        """To a target's coefficients (B, axes) on this block's axes, of C ways (B, C, m) to pick: (B, C), squared."""
        steps, _ = self.taken(split_picks(picks, self.bits))
        missing = (target - self.prediction).gather(1, self.axes[:, : steps.shape[2]])
        return (missing[:, None] - steps).square().sum(2)

    def images(self, picks: Tensor) -> Tensor:
        steps, _ = self.taken(split_picks(picks, self.bits))
        prediction, axes = self._drawn
        drawn = torch.baddbmm(prediction.flatten(1)[:, None], steps, axes[:, : steps.shape[2]])
        return drawn.view(*picks.shape[:2], *prediction.shape[1:])

    def reach(self, picks: Tensor) -> Tensor:
        batch, _, k = self.shape
        nodes = torch.arange(k, device=picks.device).expand(batch, -1)[:, :, None]
        every = torch.cat([picks[:, None].expand(-1, k, -1), nodes], 2)
        steps, _ = self.taken(split_picks(every, self.bits))
        return steps[:, :, -self.bits :].square().sum(2)


class Nearest:
    """The guided sampler (Sec. 3.1): picks near the target's coefficients (B, axes)."""

    def __init__(self, target: Tensor, greedy: bool = True) -> None:
        self._target = target
        self._greedy = greedy

    def choose(self, offer: SplitOffer) -> Choice:
        residual = self._target.gather(1, offer.axes) - offer.prediction.gather(1, offer.axes)
        if offer.coupled:
            picks = offer.coupling.nearest(residual, offer.steps, offer.dither, self._greedy)
        else:
            first, second = (residual[:, :, None] - offer.steps).abs().unbind(2)
            picks = (second < first).long()
        return Choice(level_indices(picks, offer.bits))


@dataclass(frozen=True, slots=True)
class Splits:
    """Some splits of a pass, in the order of the stream, on B images.

    axes, leaves: (B, m). scale: (B, m), what the path multiplies the steps by. shift: (B, m), what
    the coupling multiplies the dither by. picks: (B, m), 0 or 1.
    before, after: predictions (B, axes of the spectrum) around them.
    """

    axes: Tensor
    leaves: Tensor
    scale: Tensor
    shift: Tensor
    picks: Tensor
    before: Tensor
    after: Tensor


class Head(nn.Module):
    """A perceptron that reads a prediction and says what it implies; at the start it says nothing.

    Returns the mean of what is still missing (B, axes), in units of its deviation, and the logarithm of the
    steps' scale (B, coded axes); 0 from the last head, which no steps follow.
    """

    def __init__(self, config: PrincipalConfig, last: bool) -> None:
        super().__init__()
        coded, width = config.coded_axes, config.width
        self.edges = sorted({round(coded * (i / BANDS) ** 2) for i in range(BANDS + 1)})
        self.read = nn.Linear(coded + len(self.edges) - 1, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.mean = nn.Linear(width, config.axes)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        self.log_scale: nn.Sequential | None = None
        if not last:
            out = nn.Linear(SCALE_RANK, coded)
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
            self.log_scale = nn.Sequential(nn.Linear(width, SCALE_RANK), out)

    def forward(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """prediction: (B, coded axes), in units of the axes' deviations over all images."""
        squares = prediction.square()
        bands = [squares[:, low:high].mean(1) for low, high in pairwise(self.edges)]
        energies = (torch.stack(bands, 1) + 0.01).log()
        hidden = functional.gelu(self.read(torch.cat([prediction, energies], 1)))
        hidden = hidden + functional.gelu(self.hidden(self.norm(hidden)))
        log_scale: Tensor = torch.zeros_like(prediction) if self.log_scale is None else self.log_scale(hidden)
        return self.mean(hidden), log_scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)


class PrincipalGenerator(Generator):
    """A Discrete Distribution Network over principal axes, laid out by a `PrincipalConfig`.

    deviation: buffer (segments + 1, axes), root mean square of what is missing before each segment and at the end.
    """

    config: PrincipalConfig
    deviation: Tensor

    def __init__(self, config: PrincipalConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrum = Spectrum(config.resolution, config.axes, config.frequencies)
        self.trees = SplitTrees(config.coded_axes, config.depth)
        self.coupling: Trellis | Codebook = Trellis() if config.level_bits == 1 else Codebook(config.level_bits)
        self.heads = nn.ModuleList(  # the first segment has nothing to read; the last head refines what comes out
            Head(config, last=i == len(config.segments)) for i in range(1, len(config.segments) + 1))
        self.refiner = Refiner(config.refiner) if config.refiner else None
        self.register_buffer("deviation", torch.ones(len(config.segments) + 1, config.axes))

    @property
    def nodes(self) -> list[nn.Parameter]:
        """The output nodes' weights, which learn at a rate of their own."""
        return [self.trees.steps, self.trees.dither, *self.coupling.parameters()]

    def seen(self, prediction: Tensor) -> Tensor:
        """What a head reads of a prediction: its coded axes, in units of their deviations over all images."""
        coded = self.config.coded_axes
        return prediction[:, :coded] / self.deviation[0, :coded]

    def correct(self, segment: int, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction with what it implies before a segment, and the scale of each coded axis's steps there."""
        if segment == 0:
            return prediction, prediction.new_ones(len(prediction), self.config.coded_axes)
        mean, log_scale = self.through(self.heads[segment - 1], self.seen(prediction))
        return prediction + self.deviation[segment] * mean.float(), log_scale.float().exp()

    def splits(self, sampler: Sampler[SplitOffer], batch: int, levels: int | None = None) -> Iterator[Splits]:
        """One pass over `batch` images, block by block, over the first `levels` levels, by default all."""
        prediction = self.deviation.new_zeros(batch, self.config.axes)
        cells = Cells(self.trees, batch)
        left = (self.config.levels if levels is None else levels) * self.config.level_bits
        for segment, segment_levels in enumerate(self.config.segments):
            if left <= 0:
                return
            prediction, scale = self.correct(segment, prediction)
            for splits in self.segment(sampler, segment, prediction, scale, cells, left):
                yield splits
            prediction = splits.after
            left -= segment_levels * self.config.level_bits

    def segment(self, sampler: Sampler[SplitOffer], segment: int, prediction: Tensor, scale: Tensor, cells: Cells,
                left: int) -> Iterator[Splits]:
        """The blocks of one segment, of whose bits at most `left` are split; `cells` follow."""
        bits = self.config.segments[segment] * self.config.level_bits
        for start in range(0, min(bits, left), self.config.block_bits):
            # The order is the whole block's, also where a shorter stream ends inside of it.
            axes, leaves = cells.best(min(self.config.block_bits, bits - start))
            axes, leaves = axes[:, : left - start], leaves[:, : left - start]
            taken = scale.gather(1, axes)
            steps = self.trees.steps[axes, leaves] * taken[:, :, None]
            dither = self.trees.dither[axes, leaves] * taken
            offer = SplitOffer(segment, axes, prediction, steps, dither, bool(dither.any()), self.coupling,
                               self.spectrum, self.config.level_bits)
            picks = split_picks(sampler.choose(offer).indices, self.config.level_bits)
            step, shift = (part[:, 0] for part in offer.taken(picks[:, None]))
            before, prediction = prediction, prediction.scatter_add(1, axes, step)
            cells.split(axes, picks)
            yield Splits(axes, leaves, taken, shift, picks, before, prediction)

    def run(self, sampler: Sampler[SplitOffer], batch: int, levels: int | None = None,
            condition: Tensor | None = None) -> Reconstruction:
        picks = []
        for splits in self.splits(sampler, batch, levels):
            picks.append(splits.picks)
        image = self.spectrum.synthesise(self._implied(splits.after, self.config.levels if levels is None else levels))
        if self.refiner is not None:
            image = self.refiner(image)
        return Reconstruction(image.clamp(-1, 1), level_indices(torch.cat(picks, 1), self.config.level_bits))

    def _implied(self, prediction: Tensor, levels: int) -> Tensor:
        """What the next head makes of the prediction after so many levels."""
        ends = list(accumulate(self.config.segments))
        return self.correct(bisect_left(ends, levels) + 1, prediction)[0]

    @torch.no_grad()
    def reconstruct(self, target: Tensor, levels: int | None = None, effort: int = GREEDY,
                    condition: Tensor | None = None) -> Reconstruction:
        """Guided reconstruction: target (B, 3, R, R) in [−1, 1]; the picks are the latent."""
        return self.run(Nearest(self.spectrum.analyse(target), greedy=effort == GREEDY), len(target), levels)

    @property
    def dense(self) -> list[nn.Module]:
        return [*self.heads, *([] if self.refiner is None else [self.refiner])]

    def loss(self, images: Tensor, final_weight: float, chance: Chance, condition: Tensor | None = None) -> Loss:
        """Mean squared error along a guided pass over images (B, 3, R, R): the mean of the blocks' and the last.

        What no axis reaches is left out: the axes cannot lower it. The picks are those of the highest effort. The
        refiner learns beside them, without a gradient into them, from some of the images, and from some of those
        after a block that chance chooses, so that it refines shorter streams as well.
        """
        with torch.autocast(images.device.type, enabled=False):  # distances want float32
            target = self.spectrum.analyse(images)
        pixels = images[0].numel()
        levels, picks, predictions = [], [], []
        for splits in self.splits(Nearest(target, greedy=False), len(images)):
            predictions.append(splits.after)
            levels.append(self._level_errors(splits, target))
            picks.append(splits.picks)
        blocks = torch.stack([(prediction - target).square().sum(1).mean() for prediction in predictions])
        implied = self._implied(predictions[-1], self.config.levels)
        final = (implied - target).square().sum(1).mean()
        total = (blocks.mean() + final_weight * final) / pixels
        if self.refiner is not None:
            block = chance.below(len(predictions))
            shorter = self._implied(predictions[block], sum(map(len, levels[: block + 1])))
            total = total + final_weight * self._refiner_loss(self.refiner, images, implied, shorter, chance)
        indices = level_indices(torch.cat(picks, 1), self.config.level_bits)
        errors = torch.cat([*levels, final.detach()[None]]) / pixels
        return Loss(total, errors, indices, torch.ones_like(indices, dtype=torch.bool))

    def _refiner_loss(self, refiner: Refiner, images: Tensor, whole: Tensor, shorter: Tensor, chance: Chance) -> Tensor:
        """Mean squared error of some refined images, of the whole stream's prediction or of a shorter one's."""
        taken, cut = (chance.uniform(len(images), 2).to(images.device) < images.new_tensor([REFINED, CUT])).unbind(1)
        # Where none is taken one is, and counts nothing: in a job of many processes each must have a gradient.
        chosen = taken.nonzero()[:, 0] if taken.any() else taken.new_zeros(1, dtype=torch.int64)
        with torch.no_grad():
            rough = self.spectrum.synthesise(torch.where(cut[:, None], shorter, whole)[chosen])
        errors: Tensor = (self.through(refiner, rough).float() - images[chosen]).square().flatten(1).mean(1)
        return (errors * taken[chosen]).sum() / (REFINED * len(images))

    @torch.no_grad()
    def _level_errors(self, splits: Splits, target: Tensor) -> Tensor:
        """Squared distance to the target's coefficients (B, axes) after each level of a block, averaged: (levels,)."""
        start = (splits.before - target).square().sum(1).mean()
        wanted = target.gather(1, splits.axes)
        before, after = ((p.gather(1, splits.axes) - wanted).square().mean(0) for p in (splits.before, splits.after))
        return (start + (after - before).cumsum(0))[self.config.level_bits - 1 :: self.config.level_bits]
