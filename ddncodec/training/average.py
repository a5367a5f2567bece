"""The moving average of weights that learn: what is validated and kept."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(module: nn.Module, decay: float) -> AveragedModel:
    """A copy of a module that follows it by this decay, quickly at the beginning; nothing learns in it."""
    averaged = AveragedModel(module, multi_avg_fn=partial(_move_average, decay))
    averaged.requires_grad_(False)
    return averaged


def _move_average(decay: float, averages: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
    done = int(count)
    torch._foreach_lerp_(averages, weights, 1 - min(decay, (done + 1) / (done + 10)))
