"""Records of archives that belong together, and those whose latents are the same. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ddncodec.archive import Archive
from ddncodec.errors import DdnError

Complain = Callable[[DdnError], None]
Numbers = npt.NDArray[np.int64]


class Match(NamedTuple):
    """A record, and how far it is: the root mean square difference of the pixels, in 8-bit steps."""

    number: int
    name: str
    distance: float


def same(archive: Archive, complain: Complain | None = None, advance: Callable[[int], None] = lambda records: None
         ) -> list[list[Match]]:
    """Groups of records whose latents are the same; needs no weights. See `search.duplicates`."""
    size = archive.header.payload_bytes
    numbers, digests = [], []
    for block in archive.blocks(complain):
        numbers.append(np.arange(block.first, block.first + len(block)))
        digests.append(np.frombuffer(b"".join(
            blake2b(block.payloads[start : start + size], digest_size=16).digest()
            for start in range(0, len(block.payloads), size)), "V16"))
        advance(len(block))
    if not numbers:
        return []
    every, all_digests = np.concatenate(numbers), np.concatenate(digests).view([("a", "u8"), ("b", "u8")])
    order = np.lexsort((all_digests["b"], all_digests["a"]))
    alike = all_digests[order[1:]] == all_digests[order[:-1]]
    groups = Groups(len(every))
    groups.join(np.stack([order[:-1], order[1:]], 1)[alike])
    return [matches_of(archive, every[members], np.zeros(len(members))) for members in groups.members()]


class Groups:
    """Numbers below `count`, joined pair by pair (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def join(self, pairs: Numbers) -> None:
        for one, other in pairs.tolist():
            first, second = sorted((self._root(one), self._root(other)))
            self._parent[second] = first

    def _root(self, one: int) -> int:
        while (parent := int(self._parent[one])) != one:
            self._parent[one] = self._parent[parent]
            one = parent
        return one

    def members(self) -> list[Numbers]:
        """Groups of two and more, by their lowest numbers, the members of each in rising order."""
        roots = np.array([self._root(one) for one in range(len(self._parent))])
        order = np.argsort(roots, kind="stable")
        groups = np.split(order, np.nonzero(np.diff(roots[order]))[0] + 1)
        return [group for group in groups if len(group) > 1]


def matches_of(archive: Archive, numbers: Numbers, errors: npt.NDArray[np.floating]) -> list[Match]:
    """The records of a group, and the root of each one's mean squared error, of values in [−1, 1]."""
    return [Match(number, archive[number].name, 127.5 * math.sqrt(error))
            for number, error in zip(numbers.tolist(), errors.tolist(), strict=True)]
