"""Picks by chance, and where the random numbers of each image come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ddncodec.samplers import Offer


class Dice:
    """Random numbers of images, each image's own: image i of a seed has the same ones in whatever batch it is.

    seed: at least 0. images: the numbers of the batch's.
    """

    def __init__(self, seed: int, images: Sequence[int]) -> None:
        self._streams = [np.random.Generator(np.random.PCG64([seed, image])) for image in images]

    def uniform(self, each: int) -> Tensor:
        """The next `each` numbers in [0, 1) of each image: (images, each), float64, on the CPU."""
        return torch.from_numpy(np.stack([stream.random(each) for stream in self._streams]))


class Random:
    """A random proposal at every level, as the paper generates (Sec. 3.1), or by the offer's odds if it has any.

    temperature T, above 0: odds count to the power of 1/T. Where there are none, proposal k counts
    exp(−(1/T − 1) · d_k / mean d), with d_k = ‖proposal − prediction‖²: at 1 all K are as likely, below 1 the smaller
    steps are favoured, above 1 the larger ones.
    """

    def __init__(self, dice: Dice, temperature: float = 1.0) -> None:
        self._dice = dice
        self._temperature = temperature

    def draw(self, offer: Offer, picks: Tensor) -> Tensor:
        _, levels, k = offer.shape
        numbers = self._dice.uniform(levels - picks.shape[1]).to(picks.device)
        if self._temperature == 1 and offer.odds is None:
            return torch.cat([picks, (numbers * k).long()], 1)
        for number in numbers.unbind(1):
            below = self._log_odds(offer, picks).softmax(1).cumsum(1)[:, :-1].contiguous()
            pick = torch.searchsorted(below, number[:, None].contiguous(), right=True)
            picks = torch.cat([picks, pick], 1)
        return picks

    def _log_odds(self, offer: Offer, picks: Tensor) -> Tensor:
        """Of the proposals after these picks, up to a constant: (B, K)."""
        if offer.odds is not None:
            return offer.odds[:, picks.shape[1]].double().log() / self._temperature
        reach = offer.reach(picks).double()
        return (1 - 1 / self._temperature) * reach / reach.mean(1, keepdim=True).clamp(min=1e-30)
