"""The learning rate's schedule: half a cosine after a warm-up, and no jump where the length is changed."""

import math
from itertools import pairwise

import pytest

from ddncodec.training.schedule import Schedule

STEPS, WARMUP = 1_000, 50
STEEPEST = 2 / WARMUP  # in a step: of the warm-up and of the way from one schedule to another


def test_an_unchanged_length_warms_up_and_falls_along_half_a_cosine() -> None:
    schedule = Schedule(STEPS, WARMUP)
    shares = [schedule(step) for step in range(STEPS + 1)]
    for step in (WARMUP, 400, 900):
        assert shares[step] == pytest.approx(math.cos(math.pi * step / STEPS / 2) ** 2)
    assert shares[9] == pytest.approx(10 / WARMUP, rel=1e-3)
    assert shares[-1] == 0
    assert Schedule(10, 0)(0) == 1


@pytest.mark.parametrize("step", [0, 20, 500, 999, STEPS, STEPS + 30])
@pytest.mark.parametrize("more", [40, 2 * STEPS, 100 * STEPS])
def test_a_longer_run_goes_on_from_the_rate_it_has_to_that_of_its_length(step: int, more: int) -> None:
    before, steps = Schedule(STEPS, WARMUP), max(step, STEPS) + more
    after = before.resized(steps, step)
    assert after(step) == before(step)
    shares = [after(at) for at in range(step, steps + 1)]
    assert all(abs(second - first) <= STEEPEST for first, second in pairwise(shares))
    assert shares[-1] == 0
    for at in range(step + WARMUP, steps, max(1, steps // 7)):
        assert after(at) == pytest.approx(Schedule(steps, WARMUP)(at))


@pytest.mark.parametrize("steps", [520, 800, 999])
def test_a_shorter_run_falls_from_the_rate_it_has_to_zero(steps: int) -> None:
    before = Schedule(STEPS, WARMUP)
    after = before.resized(steps, 500)
    shares = [after(step) for step in range(500, steps + 1)]
    assert shares[0] == before(500)
    assert all(second <= first for first, second in pairwise(shares))
    assert shares[-1] == pytest.approx(0, abs=1e-12)


def test_a_length_changed_twice_does_not_jump_either() -> None:
    once = Schedule(STEPS, WARMUP).resized(3 * STEPS, STEPS)
    twice = once.resized(2 * STEPS, STEPS + WARMUP // 2)
    assert twice(STEPS + WARMUP // 2) == once(STEPS + WARMUP // 2) > 0
