"""`map` in several processes: the same results in the same order, and a killed process is told."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ddncodec.errors import WorkerLost
from ddncodec.processes import GIVEN, Processes


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_items_of_which_few_are_taken_ahead(count: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(-20, 0):
            taken += 1
            yield item

    with Processes(count) as processes:
        for number, result in enumerate(processes.map(abs, items())):
            assert result == 20 - number
            assert taken <= number + 1 + GIVEN * count
        assert number == 19
        with pytest.raises(TypeError):
            list(processes.map(abs, [1, "x"]))


def test_a_killed_process_is_told_and_others_go_on_with_what_comes_next() -> None:
    with Processes(2) as processes:
        with pytest.raises(WorkerLost):
            list(processes.map(os._exit, [9, 9, 9]))
        assert list(processes.map(abs, [-1, -2])) == [1, 2]
