"""Sizes: which prefix a number of bytes has room for. Needs no torch.

A form of streams, a file or a bare stream, is here the function of its size: levels → bytes, which rises with them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from ddncodec.errors import TooFewBytes

SizeOf = Callable[[int], int]


def longest(size_of: SizeOf, levels: int, max_bytes: int) -> int:
    """The number of levels of the longest prefix that fits.

    Args:
        size_of: Bytes of so many levels.
        levels: How many there are, 1 or more.
        max_bytes: What they are to fit into.

    Returns:
        1 to `levels`.

    Raises:
        TooFewBytes: Not even one level fits.
    """
    fitting = bisect_right(range(1, levels + 1), max_bytes, key=size_of)
    if not fitting:
        raise TooFewBytes(f"{max_bytes:,} bytes are too few: with one level it has {size_of(1):,}")
    return fitting


def kept(size_of: SizeOf, available: int, levels: int | None, max_bytes: int | None) -> int:
    """The number of levels of a stream that is cut.

    Args:
        size_of: Bytes of so many levels.
        available: How many levels there are, 1 or more.
        levels: How many it has at most, 1 or more; None: all.
        max_bytes: What it is to fit into; None: anything.

    Returns:
        1 to `available`.

    Raises:
        ValueError: levels is below 1.
        TooFewBytes: Not even one level fits.
    """
    if levels is not None and levels < 1:
        raise ValueError(f"levels must be above 0, not {levels}")
    most = min(levels or available, available)
    return most if max_bytes is None else longest(size_of, most, max_bytes)


def ladder(size_of: SizeOf, levels: int) -> Iterator[int]:
    """The longest prefix of each size, from the shortest on: what `longest` gives as its bytes grow, up to all levels.

    A shorter prefix of as many bytes saves nothing.
    """
    step = 0
    while step < levels:
        step = longest(size_of, levels, size_of(step + 1))
        yield step
