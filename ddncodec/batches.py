"""Batches of what may fail one by one, or all at once for want of memory. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ddncodec.errors import DdnError, OutOfMemory

BATCH = 64  # images in memory at once: fast, and small enough

T = TypeVar("T")
R = TypeVar("R")


def halved(batch: Sequence[T], work: Callable[[Sequence[T]], Sequence[R | DdnError]]) -> list[R | DdnError]:
    """What `work` makes of each of a batch: in halves where memory runs out for all at once.

    An OutOfMemory stands for what memory runs out for even alone.
    """
    try:
        return list(work(batch))
    except OutOfMemory as error:
        if len(batch) == 1:
            return [error]
        middle = len(batch) // 2
    return halved(batch[:middle], work) + halved(batch[middle:], work)


def made(result: R | DdnError) -> R:
    """One of `halved`'s; raises the error that stands for it."""
    if isinstance(result, DdnError):
        raise result
    return result
