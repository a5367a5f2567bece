"""The latent, L indices below K, and its packing into exactly ceil(L·log2 K) bits."""

from collections.abc import Sequence
from dataclasses import dataclass

from bitarray import bitarray
from bitarray.util import ba2int, int2ba

from ddncodec.errors import AbsurdSize, IndexOutOfRange, NonZeroPadding, PayloadLength

MAX_K = 65_536
MAX_LEVELS = 65_535

_LEAF = 64  # below so many digits a plain loop beats divide and conquer


@dataclass(frozen=True, slots=True)
class Latent:
    """The picks of an encoder: one index per level, level 0 (the coarsest) first.

    `indices` holds 1 to 65,535 integers in 0..k-1; `k` is 2..65,536.
    Raises AbsurdSize or IndexOutOfRange where that does not hold.
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

    @property
    def levels(self) -> int:
        """The number of levels L."""
        return len(self.indices)

    @property
    def bits(self) -> int:
        """The size of the packed latent in bits, before padding: ceil(L·log2 K)."""
        return packed_bits(self.k, self.levels)

    def pack(self) -> bytes:
        """The indices as the digits of one base-K number, level 0 the most significant.

        The number fills exactly `bits` bits, most significant first; zero bits pad the last byte.
        The inverse of `unpack`.
        """
        if not _is_power_of_two(self.k):
            size = self.bits
            return (_join(self.indices, self.k) << -size % 8).to_bytes(-(-size // 8), "big")
        width = _digit_bits(self.k)
        bits = bitarray(endian="big")
        for index in self.indices:
            bits += int2ba(index, width)
        return bits.tobytes()

    @classmethod
    def unpack(cls, data: bytes, k: int, levels: int) -> "Latent":
        """The latent that `pack` turned into `data`.

        Raises AbsurdSize, PayloadLength, NonZeroPadding, or IndexOutOfRange when the number
        is not below k**levels.
        """
        size = packed_bits(k, levels)
        if len(data) != -(-size // 8):
            raise PayloadLength(
                f"the payload has {len(data):,} bytes, "
                f"but {levels:,} levels of K = {k:,} take {-(-size // 8):,}"
            )
        padding = -size % 8
        if data[-1] & ((1 << padding) - 1):
            raise NonZeroPadding(f"the payload's last {padding} bits are padding but not all zero")
        if not _is_power_of_two(k):
            value = int.from_bytes(data, "big") >> padding
            if value >= k**levels:
                raise IndexOutOfRange(f"the payload's number is not below {k:,}^{levels:,}")
            return cls(tuple(_split(value, k, levels)), k)
        width = _digit_bits(k)
        bits = bitarray(endian="big")
        bits.frombytes(data)
        return cls(tuple(ba2int(bits[i : i + width]) for i in range(0, size, width)), k)

    def prefix(self, levels: int) -> "Latent":
        """The first `levels` levels, a coarser image; ValueError unless 1 <= levels <= L."""
        if not 1 <= levels <= self.levels:
            raise ValueError(f"a prefix has 1 to {self.levels:,} levels, not {levels:,}")
        return Latent(self.indices[:levels], self.k)


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
