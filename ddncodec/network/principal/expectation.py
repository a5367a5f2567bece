"""Posterior mean of the coefficients, given affine objectives: a Gaussian's, in closed form.

An objective such as a smaller size says nothing of fine detail, and what it says of the rest it says of all axes at
once: split by split, the nearest proposal in its domain takes the rest of one axis for another. The network knows how
far what is missing spreads along each axis, before each segment; so what the objectives ask for has an expectation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddncodec.guides import Objective
from ddncodec.network.principal.axes import PrincipalAxes
from ddncodec.network.principal.proposals import SplitProposals

BEYOND = 0.01  # variance a pixel of what no axis draws and no Gaussian knows; 0.006 to 0.02 do as well
PROBES = 64
TOLERANCE = 1e-3


def is_affine(objective: Objective, resolution: int) -> bool:
    """Whether a guide's transform is, up to a constant, linear: found by trying."""
    random = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 3, resolution, resolution, generator=random) - 0.5
    images = torch.cat([first, second, first + second, 0 * first]).to(objective.target.device)
    one, other, both, none = objective.seen(images)
    return bool((one + other - both - none).abs().max() <= TOLERANCE * (both - none).abs().max())


class GaussianExpectation:
    """The expected coefficients, given affine objectives and what is drawn so far; ranks alternatives by distance.

    Without any affine objective the expectation is the prediction itself, so that smaller steps are preferred.

    Args:
        spectrum: The network's axes.
        deviation: (segments + 1, axes), root mean square of what is missing before each segment and at the end.
        affine: Objectives that are affine.
        rest: Those that are not.
        weight: Of the distance, against the other objectives.
    """

    def __init__(self, spectrum: PrincipalAxes, deviation: Tensor, affine: Sequence[Objective], rest: list[Objective],
                 weight: float) -> None:
        self.rest, self.weight = rest, weight
        self._spectrum, self._deviation, self._affine = spectrum, deviation, affine
        self._segment, self._target = -1, torch.empty(0)
        self._known = torch.zeros_like(spectrum.basis.T @ spectrum.basis)  # what all objectives tell of the axes
        self._pulls = []
        mean = spectrum.mean[None]
        noise = torch.randn(PROBES, *mean.shape[1:], generator=torch.Generator().manual_seed(0)).to(mean.device)
        for objective in affine:
            none = objective.seen(mean)
            parts = torch.split(spectrum.basis.T, 256)
            axes = torch.cat([objective.seen(spectrum.image(part)) for part in parts]) - none
            gain = (objective.seen(mean + noise) - none).square().mean(0)  # of white noise: 0 where a mask hides all
            precision = torch.where(gain > 0, objective.weight / ((BEYOND + objective.noise**2) * gain), 0)
            self._pulls.append((axes * precision).T)
            self._known += axes @ self._pulls[-1]

    @classmethod
    def of(cls, spectrum: PrincipalAxes, deviation: Tensor, objectives: Sequence[Objective], typical: float
           ) -> GaussianExpectation | None:
        """The expectation of objectives; None where it would have no weight.

        typical: its weight against all objectives together, where none of them is affine.
        """
        affine = [objective for objective in objectives if is_affine(objective, spectrum.resolution)]
        rest = [objective for objective in objectives if objective not in affine]
        weight = sum(one.weight for one in affine) or typical * sum(one.weight for one in objectives)
        return cls(spectrum, deviation, affine, rest, weight) if weight else None

    def distances(self, proposals: SplitProposals, picks: Tensor) -> Tensor:
        """Squared distance of C alternatives (B, C, m) to the coefficients expected at the segment's start: (B, C)."""
        if proposals.segment != self._segment:
            self._segment = proposals.segment
            self._target = self.given(proposals.prediction, proposals.segment)
        return proposals.distances(self._target, picks)

    def given(self, prediction: Tensor, segment: int) -> Tensor:
        """What a prediction (B, axes) at the beginning of a segment should become: (B, axes)."""
        deviation = self._deviation[segment]
        drawn = self._spectrum.synthesise(prediction)
        pull = torch.zeros_like(prediction)
        for objective, towards in zip(self._affine, self._pulls, strict=True):
            pull = pull + (objective.target.flatten(1) - objective.seen(drawn)) @ towards
        scaled = self._known * deviation[:, None] * deviation + torch.eye(len(deviation), device=deviation.device)
        missing: Tensor = torch.linalg.solve(scaled, (pull * deviation).T).T * deviation
        return prediction + missing
