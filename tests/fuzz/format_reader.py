"""A reader of .ddn files written from docs/format.md alone. It imports nothing of ddncodec, and must stay so.

It is plain rather than fast: its use is to disagree.
"""

import math
import zlib
from dataclasses import dataclass

import zstandard

BAD_MAGIC, UNKNOWN_VERSION, RESERVED_BITS, BAD_VARINT, ABSURD_SIZE, TRUNCATED = 3, 4, 5, 6, 7, 8
TRAILING_BYTES, CHECKSUM_MISMATCH, BAD_METADATA = 9, 10, 11
PAYLOAD_LENGTH, NON_ZERO_PADDING, INDEX_OUT_OF_RANGE = 12, 13, 14


@dataclass
class File:
    """What a file holds."""

    weights_id: bytes
    width: int
    height: int
    k: int
    indices: list[int]
    icc: bytes | None = None
    comment: str | None = None


class Refused(Exception):
    """The code of the first failure, in the document's order."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Reader:
    """Takes bytes from the front; `short` is the code where there are not enough."""

    def __init__(self, data: bytes, short: int) -> None:
        self.data, self.short = data, short

    def take(self, count: int) -> bytes:
        if len(self.data) < count:
            raise Refused(self.short)
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def varint(self) -> int:
        groups: list[int] = []
        while True:
            byte = self.take(1)[0]
            groups.append(byte & 0b0111_1111)
            if byte < 0b1000_0000:
                break
            if len(groups) == 4:
                raise Refused(BAD_VARINT)
        if len(groups) > 1 and groups[-1] == 0:
            raise Refused(BAD_VARINT)
        return sum(group * 128**place for place, group in enumerate(groups))


def read(data: bytes) -> File:
    """The content of a whole file; raises Refused."""
    reader = Reader(data, TRUNCATED)
    for byte in (0xDD, 0x4E):
        if reader.take(1)[0] != byte:
            raise Refused(BAD_MAGIC)
    if reader.take(1)[0] != 1:
        raise Refused(UNKNOWN_VERSION)
    flags = reader.take(1)[0]
    if flags // 32:
        raise Refused(RESERVED_BITS)
    has_metadata, log2_k = divmod(flags, 16)
    weights_id = reader.take(4)

    width, height, levels = reader.varint(), reader.varint(), reader.varint()
    k = 2**log2_k if log2_k else reader.varint()
    if not log2_k and k in [2**bits for bits in range(1, 16)]:
        raise Refused(BAD_VARINT)
    if not (0 < width < 65_536 and 0 < height < 65_536 and width * height <= 67_108_864):
        raise Refused(ABSURD_SIZE)
    if not (0 < levels < 65_536 and 2 <= k <= 65_536):
        raise Refused(ABSURD_SIZE)

    metadata = b""
    if has_metadata:
        size = reader.varint()
        if size > 1_048_576:
            raise Refused(ABSURD_SIZE)
        metadata = reader.take(size)
    numbers = k**levels
    bits = (numbers - 1).bit_length()  # the least whole number of bits that numbers below K^L fit in
    payload = reader.take(math.ceil(bits / 8))
    checksum = reader.take(4)
    if reader.data:
        raise Refused(TRAILING_BYTES)
    if int.from_bytes(checksum, "little") != zlib.crc32(data[:-4]):
        raise Refused(CHECKSUM_MISMATCH)

    icc, comment = entries(content(metadata)) if has_metadata else (None, None)
    number = int.from_bytes(payload, "big")
    padding = 8 * len(payload) - bits
    if number % 2**padding:
        raise Refused(NON_ZERO_PADDING)
    number //= 2**padding
    if number >= numbers:
        raise Refused(INDEX_OUT_OF_RANGE)
    return File(weights_id, width, height, k, digits(number, k, levels), icc, comment)


def read_bare(data: bytes, k: int) -> tuple[int, list[int]]:
    """The aspect and the indices of a bare stream in bytes; raises Refused."""
    if len(data) < 2:
        raise Refused(TRUNCATED)
    text = "".join(f"{byte:08b}" for byte in data[1:])
    end = text.rindex("1") if "1" in text else 0
    if len(text) - end > 8:
        raise Refused(PAYLOAD_LENGTH)
    levels = next((count for count in range(1, end + 1) if (k**count - 1).bit_length() == end), 0)
    if not levels:
        raise Refused(PAYLOAD_LENGTH)
    number = int(text[:end], 2)
    if number >= k**levels:
        raise Refused(INDEX_OUT_OF_RANGE)
    return data[0] - 128, digits(number, k, levels)


def content(frame: bytes) -> bytes:
    """The content of one zstd frame."""
    try:
        size = zstandard.frame_content_size(frame)
        if size > 4_194_304:
            raise Refused(ABSURD_SIZE)
        if size < 0:
            raise Refused(BAD_METADATA)
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        whole = decompressor.decompress(frame)
    except zstandard.ZstdError:
        raise Refused(BAD_METADATA) from None
    if not decompressor.eof or decompressor.unused_data or len(whole) != size:
        raise Refused(BAD_METADATA)
    return whole


def entries(data: bytes) -> tuple[bytes | None, str | None]:
    """The profile and the comment."""
    reader = Reader(data, BAD_METADATA)
    found: list[tuple[int, bytes]] = []
    while reader.data:
        tag = reader.take(1)[0]
        if tag not in (1, 2) or (found and tag <= found[-1][0]):
            raise Refused(BAD_METADATA)
        found.append((tag, reader.take(reader.varint())))
    values = dict(found)
    try:
        comment = values[2].decode() if 2 in values else None
    except UnicodeDecodeError:
        raise Refused(BAD_METADATA) from None
    if not found:
        raise Refused(BAD_METADATA)
    return values.get(1), comment


def digits(number: int, k: int, count: int) -> list[int]:
    """The digits of a number in base K, the most significant first."""
    if count < 500:
        found = []
        for _ in range(count):
            number, digit = divmod(number, k)
            found.append(digit)
        return found[::-1]
    low = count // 2  # long numbers are halved: digit by digit takes minutes
    high, rest = divmod(number, k**low)
    return digits(high, k, count - low) + digits(rest, k, low)
