"""The learning rate's schedule, whose length can be changed while a run goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """The share of the peak rate at each step: up a straight line over `warmup` steps, and down half a cosine to zero.

    steps: the length, at least 1. changed: the step at which the length was changed, and the share that the schedule
    before had there; from it the share goes in a straight line, within `warmup` steps, to where this schedule has it.
    None where the length was never changed.
    """

    steps: int
    warmup: int
    changed: tuple[int, float] | None = None

    def __call__(self, step: int) -> float:
        """The share at a step, from 0 on: 0 to 1."""
        done = min(step / self.steps, 1.0)
        share = min(1.0, (step + 1) / max(self.warmup, 1)) * (1 + math.cos(math.pi * done)) / 2
        if self.changed is None:
            return share
        since, before = self.changed
        way = min((step - since) / max(1, min(self.warmup, self.steps - since)), 1.0)
        return way * share + (1 - way) * before

    def resized(self, steps: int, step: int) -> Schedule:
        """The schedule of another length, from a step on."""
        return Schedule(steps, self.warmup, (step, self(step)))
