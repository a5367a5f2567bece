"""Whether a classifier, trained apart for this alone, tells decoded pictures from originals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ddncodec.metrics.distortion import Pixels
from ddncodec.pixels import to_tensor

LEAST = 32  # images that a classifier wants
STEPS, PAIRS, PEAK = 300, 16, 2e-3
DETAIL = 4.0  # how much larger fine details are shown
WIDTHS = (32, 64, 96)  # at a half, a quarter and an eighth of the resolution


@dataclass(frozen=True, slots=True)
class ToldApart:
    """accuracy: the share of pictures taken for what they are, one half by chance. precision: of those taken for
    decoded, the share that is. recall: of decoded ones, the share taken for such. log_odds: mean size of the
    classifier's log-odds, in nats."""

    accuracy: float
    precision: float
    recall: float
    log_odds: float


def told_apart(originals: Pixels, decoded: Pixels, seed: int = 0) -> ToldApart:
    """Train on one half of the images, judge the other, and the other way round (two-fold cross-validation).

    An original and what was decoded of it are in the same half, so that the classifier sees neither before it judges.

    Args:
        originals: (N, R, R, 3), uint8, N at least LEAST, R even and at least 16.
        decoded: The same number.
        seed: Of weights and batches.

    Returns:
        How well it tells the 2N pictures.
    """
    pairs = torch.stack([to_tensor(originals), to_tensor(decoded)], 1)  # (N, 2, 3, R, R)
    halves = torch.from_numpy(np.random.default_rng(seed).permutation(len(pairs))).tensor_split(2)
    verdicts = torch.empty(len(pairs), 2)
    for i, rows in enumerate(halves):
        judge = _trained(pairs[halves[1 - i]], seed)
        with torch.no_grad():
            verdicts[rows] = torch.cat([judge(part.flatten(0, 1)).view(-1, 2)
                                        for part in torch.split(pairs[rows], PAIRS)])
    taken = verdicts > 0  # for decoded
    right = int((~taken[:, 0]).sum()) + int(taken[:, 1].sum())
    return ToldApart(accuracy=right / taken.numel(), precision=int(taken[:, 1].sum()) / max(int(taken.sum()), 1),
                     recall=float(taken[:, 1].float().mean()), log_odds=float(verdicts.abs().mean()))


def _trained(pairs: Tensor, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        judge = _Classifier()
        optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, STEPS)
        labels = torch.tensor([0.0, 1.0]).repeat(PAIRS)
        for _ in range(STEPS):
            some = pairs[torch.randint(len(pairs), (PAIRS,))].flatten(0, 1)
            if torch.rand(()) < 0.5:
                some = some.flip(3)
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(judge(some), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return judge.eval()


class _Classifier(nn.Module):
    """(B, 3, R, R) in [−1, 1] → log-odds that they were decoded, (B,)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        before = 2 * 3 * 4
        for i, width in enumerate(WIDTHS):
            layers += [nn.Conv2d(before, width, 4, 2, 1) if i else nn.Conv2d(before, width, 3, padding=1),
                       nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.layers, self.verdict = nn.Sequential(*layers), nn.Linear(before, 1)

    def forward(self, images: Tensor) -> Tensor:
        detail = DETAIL * (images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False))
        features = self.layers(torch.cat([images, detail], 1)).mean((2, 3))
        verdict: Tensor = self.verdict(features)[:, 0]
        return verdict
