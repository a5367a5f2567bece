"""The latent, L indices below K, and its packing into exactly ceil(L·log2 K) bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING

from bitarray import bitarray, decodetree
from bitarray.util import int2ba

from ddncodec.errors import AbsurdSize, IndexOutOfRange, NonZeroPadding, PayloadLength

if TYPE_CHECKING:
    from torch import Tensor

MAX_K = 65_536
MAX_LEVELS = 65_535

_LEAF = 64  # below so many digits a plain loop beats divide and conquer
_SHOWN = 8  # picks that `repr` shows


@dataclass(frozen=True, slots=True)
class Latent:
    """The picks of an encoder: one index per level, level 0 (the coarsest) first.

    Args:
        indices: L integers in 0..k-1, L from 1 to 65,535.
        k: K, the number of proposals of a level, 2 to 65,536.

    Raises:
        AbsurdSize: L or K is out of range.
        IndexOutOfRange: An index is not in 0..k-1.

    Examples:
        >>> from ddncodec import Latent
        >>> latent = Latent((1, 0, 1, 1, 0, 1, 1, 1, 0, 1), k=2)
        >>> latent
        <Latent 1 0 1 1 0 1 1 1 …: L = 10, K = 2, 10 bits>
        >>> latent.pack().hex(), Latent.unpack(latent.pack(), k=2, levels=10) == latent
        ('b740', True)
        >>> latent.prefix(3)
        <Latent 1 0 1: L = 3, K = 2, 3 bits>
        >>> indices = Latent.stack([latent, latent])
        >>> indices.shape
        torch.Size([2, 10])
        >>> Latent.from_tensor(indices, k=2) == [latent, latent]
        True
    """

    indices: tuple[int, ...]
    k: int

    def __post_init__(self) -> None:
        check_shape(self.k, self.levels)
        lowest, highest = min(self.indices), max(self.indices)
        if lowest < 0 or highest >= self.k:
            worst = lowest if lowest < 0 else highest
            level = self.indices.index(worst)
            raise IndexOutOfRange(f"index {worst} at level {level} is not in 0..{self.k - 1}")

    def __repr__(self) -> str:
        shown = " ".join(map(str, self.indices[:_SHOWN])) + (" …" if self.levels > _SHOWN else "")
        return f"<Latent {shown}: L = {self.levels}, K = {self.k}, {self.bits} bits>"

    @property
    def levels(self) -> int:
        """The number of levels L."""
        return len(self.indices)

    @property
    def bits(self) -> int:
        """The size of the packed latent in bits, before padding: ceil(L·log2 K)."""
        return packed_bits(self.k, self.levels)

    def pack(self) -> bytes:
        """Pack the indices as the digits of one base-K number, level 0 the most significant; the inverse of `unpack`.

        Returns:
            The number in exactly `bits` bits, most significant first; zero bits pad the last byte.
        """
        if not _is_power_of_two(self.k):
            size = self.bits
            return (_join(self.indices, self.k) << -size % 8).to_bytes(-(-size // 8), "big")
        bits = bitarray(endian="big")
        bits.encode(_codes(self.k), self.indices)
        return bits.tobytes()

    @classmethod
    def unpack(cls, data: bytes, k: int, levels: int) -> Latent:
        """The latent that `pack` turned into `data`.

        Args:
            data: ceil(levels·log2 k / 8) bytes.
            k: K, 2 to 65,536.
            levels: L, 1 to 65,535.

        Returns:
            The latent of L levels.

        Raises:
            AbsurdSize: k or levels is out of range.
            PayloadLength: data has another length.
            NonZeroPadding: A bit after the last level is set.
            IndexOutOfRange: The number is not below k**levels.
        """
        check_payload(data, k, levels)
        size = packed_bits(k, levels)
        if not _is_power_of_two(k):
            return cls(tuple(_split(int.from_bytes(data, "big") >> -size % 8, k, levels)), k)
        bits = bitarray(endian="big")
        bits.frombytes(data)
        return cls(tuple(bits[:size].decode(_indices(k))), k)

    @classmethod
    def unpack_start(cls, data: bytes, k: int, levels: int) -> Latent | None:
        """The levels that the first bytes of a packed latent are certain of: all there is of a file that broke off.

        Args:
            data: The first bytes of what `pack` gave, at most ceil(levels·log2 k / 8).
            k: K, 2 to 65,536.
            levels: L, 1 to 65,535, of the whole latent.

        Returns:
            A prefix of the latent; None where not even one level is certain.

        Raises:
            AbsurdSize: k or levels is out of range.
            PayloadLength, NonZeroPadding, IndexOutOfRange: As `unpack`, where the data are of another latent.
        """
        size, wanted = packed_bits(k, levels), payload_bytes(k, levels)
        if len(data) >= wanted:
            return cls.unpack(data, k, levels)
        if not data:
            return None
        if _is_power_of_two(k):
            whole = 8 * len(data) // _digit_bits(k)
            return cls.unpack(cut_payload(data, k, whole, whole), k, whole) if whole else None
        missing = size - 8 * len(data)  # bits of the number, and any of them may be anything
        lowest = int.from_bytes(data, "big") << missing
        if lowest >= k**levels:
            raise IndexOutOfRange(f"the payload's number is not below {k:,}^{levels:,}")
        highest = min(lowest + (1 << missing), k**levels) - 1
        first = min(levels, 8 * len(data) // (_digit_bits(k) - 1))  # at least what such bits can tell
        low, high = (_split(number // k ** (levels - first), k, first) for number in (lowest, highest))
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=True))
        certain = tuple(digit for digit, _ in pairs)
        return cls(certain, k) if certain else None

    def prefix(self, levels: int) -> Latent:
        """The first levels of this latent, a coarser image.

        Args:
            levels: How many, 1 to L.

        Returns:
            A latent of so many levels.

        Raises:
            ValueError: There are not so many.
        """
        if not 1 <= levels <= self.levels:
            raise ValueError(f"a prefix has 1 to {self.levels:,} levels, not {levels:,}")
        return Latent(self.indices[:levels], self.k)

    @staticmethod
    def stack(latents: Sequence[Latent]) -> Tensor:
        """Latents as the rows of a tensor; the inverse of `from_tensor`.

        Args:
            latents: N ≥ 1, of the same L and K.

        Returns:
            (N, L), int64, on the CPU.

        Raises:
            ValueError: There are none, or their L or K differ.
        """
        import torch

        if len({(latent.levels, latent.k) for latent in latents}) != 1:
            raise ValueError("latents stack if there are any and all have as many levels and the same K")
        return torch.tensor([latent.indices for latent in latents])

    @classmethod
    def from_tensor(cls, indices: Tensor, k: int) -> list[Latent]:
        """The latents in the rows of a tensor; the inverse of `stack`.

        Args:
            indices: (N, L), integers in 0..k-1.
            k: K, 2 to 65,536.

        Returns:
            N latents of L levels.

        Raises:
            TypeError: The tensor does not hold integers.
            ValueError: It has not two dimensions.
            AbsurdSize: L or K is out of range.
            IndexOutOfRange: An index is not in 0..k-1.
        """
        if indices.is_floating_point() or indices.is_complex():
            raise TypeError(f"picks are integers, not {indices.dtype}")
        if indices.ndim != 2:
            raise ValueError(f"latents are a tensor (N, L), not {tuple(indices.shape)}")
        return [cls(tuple(row), k) for row in indices.long().tolist()]


def check_shape(k: int, levels: int) -> None:
    """Raise AbsurdSize unless k is in 2..MAX_K and levels in 1..MAX_LEVELS."""
    if not 2 <= k <= MAX_K:
        raise AbsurdSize(f"K is {k:,}; it must be 2 to {MAX_K:,}")
    if not 1 <= levels <= MAX_LEVELS:
        raise AbsurdSize(f"there are {levels:,} levels; there must be 1 to {MAX_LEVELS:,}")


def packed_bits(k: int, levels: int) -> int:
    """ceil(levels·log2 k), exact; raises AbsurdSize beyond the limits, before any work."""
    check_shape(k, levels)
    if _is_power_of_two(k):
        return levels * _digit_bits(k)
    return int(k**levels - 1).bit_length()


def payload_bytes(k: int, levels: int) -> int:
    """The size of a packed latent in whole bytes; raises like `packed_bits`."""
    return -(-packed_bits(k, levels) // 8)


def check_payload(data: bytes, k: int, levels: int) -> None:
    """Raise what `Latent.unpack` would, without looking at each level."""
    size, wanted = packed_bits(k, levels), payload_bytes(k, levels)
    if len(data) != wanted:
        raise PayloadLength(f"the payload has {len(data):,} bytes, but {levels:,} levels of K = {k:,} take {wanted:,}")
    padding = -size % 8
    if data[-1] & ((1 << padding) - 1):
        raise NonZeroPadding(f"the payload's last {padding} bits are padding but not all zero")
    if not _is_power_of_two(k) and int.from_bytes(data, "big") >> padding >= k**levels:
        raise IndexOutOfRange(f"the payload's number is not below {k:,}^{levels:,}")


def cut_payload(data: bytes, k: int, levels: int, kept: int) -> bytes:
    """The payload of the first `kept` of so many levels; for a K that is a power of two, its first bits."""
    if not _is_power_of_two(k):
        return Latent.unpack(data, k, levels).prefix(kept).pack()
    size = packed_bits(k, kept)
    cut = bytearray(data[: payload_bytes(k, kept)])
    cut[-1] &= 0xFF << -size % 8 & 0xFF
    return bytes(cut)


# One call of a compiled coder for all levels is many times as fast as one for each.


@cache
def _codes(k: int) -> dict[int, bitarray]:
    """The bits of each index below a power of two."""
    return {index: int2ba(index, _digit_bits(k), endian="big") for index in range(k)}


@cache
def _indices(k: int) -> decodetree:
    """The inverse of `_codes`."""
    return decodetree(_codes(k))


def _is_power_of_two(k: int) -> bool:
    return k & (k - 1) == 0


def _digit_bits(k: int) -> int:
    return (k - 1).bit_length()


# Python's integers multiply and divide fast only when both operands are long, so both directions
# halve: at the limits (a megabit) under a second, where a loop over the digits takes many.


def _join(digits: Sequence[int], k: int) -> int:
    """The number whose base-k digits these are, most significant first."""
    if len(digits) <= _LEAF:
        value = 0
        for digit in digits:
            value = value * k + digit
        return value
    low = len(digits) // 2
    return _join(digits[:-low], k) * int(k**low) + _join(digits[-low:], k)


def _split(value: int, k: int, count: int) -> list[int]:
    """The `count` base-k digits of value, most significant first; inverse of `_join`."""
    if count <= _LEAF:
        digits = [0] * count
        for i in reversed(range(count)):
            value, digits[i] = divmod(value, k)
        return digits
    low = count // 2
    high_part, low_part = divmod(value, int(k**low))
    return _split(high_part, k, count - low) + _split(low_part, k, low)
