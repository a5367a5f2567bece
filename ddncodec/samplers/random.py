"""The random sampler: picks by chance, which generate images (Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ddncodec.samplers.protocol import Proposals
from ddncodec.samplers.streams import PerImageStreams


class RandomSampler:
    """A random proposal at every level, as the paper generates, or by the proposals' odds where there are any.

    Temperature T: odds count to the power of 1/T. Where there are none, proposal k counts
    exp(−(1/T − 1) · d_k / mean d), with d_k = ‖proposal − prediction‖²: at 1 all K are equally likely, below 1 smaller
    steps are favoured, above 1 larger ones.

    Args:
        streams: Where each image's random numbers come from.
        temperature: Above 0.
    """

    def __init__(self, streams: PerImageStreams, temperature: float = 1.0) -> None:
        self._streams, self._temperature = streams, temperature

    def draw(self, proposals: Proposals, picks: Tensor) -> Tensor:
        _, levels, k = proposals.shape
        numbers = self._streams.uniform(levels - picks.shape[1]).to(picks.device)
        if self._temperature == 1 and proposals.odds is None:
            return torch.cat([picks, (numbers * k).long()], 1)
        for number in numbers.unbind(1):
            below = self._log_odds(proposals, picks).softmax(1).cumsum(1)[:, :-1].contiguous()
            pick = torch.searchsorted(below, number[:, None].contiguous(), right=True)
            picks = torch.cat([picks, pick], 1)
        return picks

    def _log_odds(self, proposals: Proposals, picks: Tensor) -> Tensor:
        """Log odds of the proposals after these picks, up to a constant: (B, K)."""
        if proposals.odds is not None:
            return proposals.odds[:, picks.shape[1]].double().log() / self._temperature
        reach = proposals.reach(picks).double()
        return (1 - 1 / self._temperature) * reach / reach.mean(1, keepdim=True).clamp(min=1e-30)
