"""What wishes let expect of an image, where guides are affine: the mean of a Gaussian given them, in closed form.

A guide such as a smaller size says nothing of fine detail, and what it says of the rest it says of all axes at once:
split by split, the nearest proposal in its domain takes the rest of one axis for another. The network knows how far
what is missing spreads along each axis, before each segment; so what the wishes ask for has an expectation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddncodec.guides import Wish
from ddncodec.network.principal import PrincipalGenerator

BEYOND = 0.01  # variance a pixel of what no axis draws and no Gaussian knows; 0.006 to 0.02 do as well
PROBES = 64
TOLERANCE = 1e-3


def is_affine(wish: Wish, resolution: int) -> bool:
    """Whether a guide's transform is, up to a constant, linear: found by trying."""
    random = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 3, resolution, resolution, generator=random) - 0.5
    images = torch.cat([first, second, first + second, 0 * first]).to(wish.target.device)
    one, other, both, none = wish.seen(images)
    return bool((one + other - both - none).abs().max() <= TOLERANCE * (both - none).abs().max())


class Expectation:
    """The coefficients that affine wishes let expect, given what a network has drawn so far."""

    def __init__(self, network: PrincipalGenerator, wishes: Sequence[Wish]) -> None:
        self._deviation, self._spectrum = network.deviation, network.spectrum
        self._wishes = wishes
        self._known = torch.zeros_like(self._spectrum.basis.T @ self._spectrum.basis)  # what all of them tell of axes
        self._pulls = []
        mean = self._spectrum.mean[None]
        noise = torch.randn(PROBES, *mean.shape[1:], generator=torch.Generator().manual_seed(0)).to(mean.device)
        for wish in wishes:
            none = wish.seen(mean)
            parts = torch.split(self._spectrum.basis.T, 256)
            axes = torch.cat([wish.seen(self._spectrum.image(part)) for part in parts]) - none
            gain = (wish.seen(mean + noise) - none).square().mean(0)  # of white noise: 0 where a mask hides all
            precision = torch.where(gain > 0, wish.weight / ((BEYOND + wish.noise**2) * gain), 0)
            self._pulls.append((axes * precision).T)
            self._known += axes @ self._pulls[-1]

    def given(self, prediction: Tensor, segment: int) -> Tensor:
        """What a prediction (B, axes) at the beginning of a segment should become: (B, axes)."""
        deviation = self._deviation[segment]
        drawn = self._spectrum.synthesise(prediction)
        pull = torch.zeros_like(prediction)
        for wish, towards in zip(self._wishes, self._pulls, strict=True):
            pull = pull + (wish.target.flatten(1) - wish.seen(drawn)) @ towards
        scaled = self._known * deviation[:, None] * deviation + torch.eye(len(deviation), device=deviation.device)
        missing: Tensor = torch.linalg.solve(scaled, (pull * deviation).T).T * deviation
        return prediction + missing
