"""The proposals of a block of the principal generator: splits of axes, and all their combinations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddncodec.effort import GREEDY
from ddncodec.network.principal.axes import PrincipalAxes
from ddncodec.network.principal.coupling import Coupling, level_indices, split_picks
from ddncodec.samplers.protocol import Shape


@dataclass(frozen=True)
class SplitProposals:
    """The splits of a block of m splits, `bits` of them a level.

    Args:
        segment: Which one the block is in.
        axes: (B, m), which axes are split.
        numbers: (B, m), of the leaves that are split among all cells of all trees.
        prediction: (B, all axes).
        steps: (B, m, 2), from the prediction to the two children of each split.
        dither: (B, m), how far their coupling shifts both children.
        coupling: What shifts them; None where nothing does.
        spectrum: What the axes look like.
        bits: Splits of a level, log2 K.
    """

    segment: int
    axes: Tensor
    numbers: Tensor
    prediction: Tensor
    steps: Tensor
    dither: Tensor
    coupling: Coupling | None
    spectrum: PrincipalAxes
    bits: int

    @property
    def shape(self) -> Shape:
        return Shape(len(self.axes), int(self.axes.shape[1]) // self.bits, 2**self.bits)

    @property
    def cells(self) -> Tensor:
        return self.numbers.view(len(self.numbers), -1, self.bits)

    def nearest(self, target: Tensor, effort: int | Tensor, forced: Tensor | None = None) -> Tensor:
        """Picks near to a target's coefficients (B, all axes): level by level if greedy, else of the whole block."""
        if forced is not None:
            raise ValueError("the principal generator has no chain dropout")
        residual = target.gather(1, self.axes) - self.prediction.gather(1, self.axes)
        if self.coupling is not None:
            splits = self.coupling.nearest(residual, self.steps, self.dither, effort == GREEDY)
        else:  # axes are orthonormal: the nearest of the K is found split by split, exactly
            first, second = (residual[:, :, None] - self.steps).abs().unbind(2)
            splits = (second < first).long()
        return level_indices(splits, self.bits)

    def taken(self, splits: Tensor) -> tuple[Tensor, Tensor]:
        """Steps, and the coupling's shifts, of splits (B, m) of 0 or 1; both alike."""
        return _taken(self.steps, self.dither, splits, self.coupling)

    def alternatives(self, splits: Tensor) -> Tensor:
        """Steps of C alternatives for the first splits, (B, C, m) of 0 or 1; alike."""
        count = splits.shape[2]
        return _taken(self.steps[:, None, :count], self.dither[:, None, :count], splits, self.coupling)[0]

    def images(self, picks: Tensor) -> Tensor:
        steps = self.alternatives(split_picks(picks, self.bits))
        prediction, axes = self._drawn
        drawn = torch.baddbmm(prediction.flatten(1)[:, None], steps, axes[:, : steps.shape[2]])
        return drawn.view(*picks.shape[:2], *prediction.shape[1:])

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        """What the prediction looks like, (B, 3, R, R), and each of the axes, (B, m, 3·R·R)."""
        axes = self.spectrum.image(self.spectrum.basis.T[self.axes.flatten()]) - self.spectrum.mean
        return self.spectrum.synthesise(self.prediction), axes.reshape(*self.axes.shape, -1)

    def reach(self, picks: Tensor) -> Tensor:
        batch, _, k = self.shape
        nodes = torch.arange(k, device=picks.device).expand(batch, -1)[:, :, None]
        every = torch.cat([picks[:, None].expand(-1, k, -1), nodes], 2)
        steps = self.alternatives(split_picks(every, self.bits))
        return steps[:, :, -self.bits :].square().sum(2)

    def distances(self, target: Tensor, picks: Tensor) -> Tensor:
        """Squared distance to a target's coefficients (B, axes) on this block's axes, of C alternatives (B, C, m)."""
        steps = self.alternatives(split_picks(picks, self.bits))
        missing = (target - self.prediction).gather(1, self.axes[:, : steps.shape[2]])
        return (missing[:, None] - steps).square().sum(2)


def _taken(steps: Tensor, dither: Tensor, splits: Tensor, coupling: Coupling | None) -> tuple[Tensor, Tensor]:
    """Steps and shifts of splits (…, m), of steps (…, m, 2) and dither (…, m)."""
    plain = torch.where(splits.bool(), steps[..., 1], steps[..., 0])
    if coupling is None or not splits.shape[-1]:
        return plain, torch.zeros_like(plain)
    shifts = coupling.shifts(splits)
    return plain + shifts * dither, shifts
