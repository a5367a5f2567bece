"""The .ddns archive, version 1: the bytes of its header, blocks and indexes. docs/format.md is its spec.

Imports neither torch nor numpy. What these functions are given was read from a file, and is not trusted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from ddncodec.container import MAX_SIDE
from ddncodec.errors import (
    AbsurdSize,
    BadMagic,
    BadMetadata,
    ChecksumMismatch,
    PayloadLength,
    ReservedBits,
    Truncated,
    UnknownVersion,
)
from ddncodec.latent import check_shape, payload_bytes

MAGIC = b"\xddDNS"
BLOCK_MAGIC = b"\xddDNB"
INDEX_MAGIC = b"\xddDNI"
END_MAGIC = b"\xddDNE"
VERSION = 1
MAX_RECORDS = 65_536  # of a block
MAX_PART = 2**27  # bytes of a block or an index
MAX_CONTENT = 2**26  # bytes of a block's names or an index's entries, once decompressed
MAX_NAME = 4_096  # bytes
MAX_BLOCKS = 2**20  # of an index
MAX_NUMBER = 2**48  # of a record

HEADER = struct.Struct("<4sBBHI4sI")
BLOCK = struct.Struct("<4sIQHHBBHII")
INDEX = struct.Struct("<4sIQII")
ENTRY = struct.Struct("<QQI")
END = struct.Struct("<Q4s")
CRC = struct.Struct("<I")
HEADER_BYTES, BLOCK_BYTES, INDEX_BYTES, END_BYTES = (part.size + CRC.size for part in (HEADER, BLOCK, INDEX, END))
_ZSTD_LEVEL = 15


@dataclass(frozen=True, slots=True)
class Header:
    """What all records of an archive have in common.

    Args:
        weights_id: Of the weights that made the latents, 4 bytes.
        k: K of the latents.
        levels: L of the latents.

    Raises:
        AbsurdSize: K or the levels are out of range.
    """

    weights_id: bytes
    k: int
    levels: int

    def __post_init__(self) -> None:
        check_shape(self.k, self.levels)

    @property
    def payload_bytes(self) -> int:
        """The size of a record's packed latent."""
        return payload_bytes(self.k, self.levels)

    def pack(self) -> bytes:
        """The archive's first bytes; `unpack` is the inverse."""
        return sealed(HEADER.pack(MAGIC, VERSION, 0, self.levels, self.k, self.weights_id, self.payload_bytes))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the first HEADER_BYTES of an archive. Raises DdnError, the first defect in docs/format.md's order."""
        if not MAGIC.startswith(data[: len(MAGIC)]):
            raise BadMagic(f"not a .ddns archive: it starts with {data[:4].hex(' ')}, not {MAGIC.hex(' ')}")
        if len(data) < HEADER_BYTES:
            raise Truncated(f"the archive ends after {len(data)} bytes, inside its header")
        _, version, flags, levels, k, weights_id, payload = HEADER.unpack_from(data)
        if version != VERSION:
            raise UnknownVersion(f"a .ddns archive of version {version}; this release reads {VERSION}")
        if flags:
            raise ReservedBits(f"reserved bits are set in the flags: {flags:#010b}")
        if not is_sealed(data):
            raise ChecksumMismatch("the archive's header is damaged: its CRC32 does not match")
        header = cls(weights_id, k, levels)
        if payload != header.payload_bytes:
            raise PayloadLength(f"records of {payload:,} bytes, but {levels:,} levels of K = {k:,} take "
                                f"{header.payload_bytes:,}")
        return header


class BlockHeader(NamedTuple):
    """A block's first bytes.

    records: how many. first: number of its first record in the archive. width, height: the least of its records'.
    width_bits, height_bits: of what the records' sizes are above these. names: bytes of its names, as stored. crc: of
    its body.
    """

    records: int
    first: int
    width: int
    height: int
    width_bits: int
    height_bits: int
    names: int
    crc: int

    def pack(self) -> bytes:
        """BLOCK_BYTES; `unpack` is the inverse."""
        records, first, *sizes, names, crc = self
        return sealed(BLOCK.pack(BLOCK_MAGIC, records, first, *sizes, 0, names, crc))

    @classmethod
    def unpack(cls, data: bytes) -> Self | None:
        """None where the bytes are not those of a whole, sane block header."""
        if len(data) < BLOCK_BYTES or not data.startswith(BLOCK_MAGIC) or not is_sealed(data[:BLOCK_BYTES]):
            return None
        _, records, first, width, height, width_bits, height_bits, reserved, names, crc = BLOCK.unpack_from(data)
        sane = (1 <= records <= MAX_RECORDS and 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE
                and width_bits <= 16 and height_bits <= 16 and not reserved and first + records <= MAX_NUMBER)
        return cls(records, first, width, height, width_bits, height_bits, names, crc) if sane else None

    def sizes_bytes(self) -> int:
        """Bytes of the records' sizes."""
        return -(-self.records * (self.width_bits + self.height_bits) // 8)

    def body_bytes(self, header: Header) -> int:
        """Bytes of all that follows the block's header."""
        return self.records * header.payload_bytes + self.sizes_bytes() + self.names

    def size(self, sizes: bytes | memoryview, index: int) -> tuple[int, int]:
        """Width and height of one of its records, from the packed sizes."""
        bits = self.width_bits + self.height_bits
        if not bits:
            return self.width, self.height
        begin, end = index * bits, (index + 1) * bits
        value = int.from_bytes(sizes[begin // 8 : -(-end // 8)], "big") >> -end % 8 & (1 << bits) - 1
        return self.width + (value >> self.height_bits), self.height + (value & (1 << self.height_bits) - 1)


def pack_block(header: Header, first: int, payloads: Sequence[bytes], sizes: Sequence[tuple[int, int]],
               names: Sequence[bytes]) -> bytes:
    """A block.

    Args:
        header: Of the archive.
        first: The number of its first record.
        payloads: The packed latents.
        sizes: (width, height) of each.
        names: Of each, b"" for none.
    """
    width, height = (min(side) for side in zip(*sizes, strict=True))
    width_bits, height_bits = (((max(side) - min(side)).bit_length()) for side in zip(*sizes, strict=True))
    bits = width_bits + height_bits
    value = 0
    for one_width, one_height in sizes if bits else ():
        value = value << bits | one_width - width << height_bits | one_height - height
    padding = -len(sizes) * bits % 8
    packed = (value << padding).to_bytes((len(sizes) * bits + padding) // 8, "big")
    frame = compress(b"".join(name + b"\0" for name in names)) if any(names) else b""
    body = b"".join([*payloads, packed, frame])
    block = BlockHeader(len(payloads), first, width, height, width_bits, height_bits, len(frame), zlib.crc32(body))
    assert len(body) == block.body_bytes(header), "each payload is of the archive's levels"
    return block.pack() + body


def unpack_names(frame: bytes, records: int) -> list[bytes]:
    """The names in a block; b"" for records that have none. Raises BadMetadata, AbsurdSize."""
    if not frame:
        return [b""] * records
    names = _split(decompress(frame), records)
    if len(max(names, key=len)) > MAX_NAME:
        raise AbsurdSize(f"a name of more than {MAX_NAME:,} bytes")
    return names


class Entry(NamedTuple):
    """What an index says of a block.

    offset: where it begins. first: number of its first record. records: how many it has. lowest, highest: of its names,
    in the order of bytes; both empty where it has none, and None where this is not known.
    """

    offset: int
    first: int
    records: int
    lowest: bytes = b""
    highest: bytes = b"\xff"  # after all text: the range of names that are not known


class IndexHeader(NamedTuple):
    """An index's first bytes.

    blocks: how many it lists. previous: where the index before it begins, 0 for none. length: of its body, in bytes.
    crc: of its body.
    """

    blocks: int
    previous: int
    length: int
    crc: int

    @classmethod
    def unpack(cls, data: bytes) -> Self | None:
        """None where the bytes are not those of a whole, sane index header."""
        if len(data) < INDEX_BYTES or not data.startswith(INDEX_MAGIC) or not is_sealed(data[:INDEX_BYTES]):
            return None
        index = cls(*INDEX.unpack_from(data)[1:])
        return index if 1 <= index.blocks <= MAX_BLOCKS else None

    @property
    def bytes(self) -> int:
        """Of the whole index, with the archive's end."""
        return INDEX_BYTES + self.length + END_BYTES


def pack_index(entries: Sequence[Entry], previous: int, offset: int) -> bytes:
    """An index and the end of the archive.

    Args:
        entries: Of the blocks since the index before, one or more, with their names' range.
        previous: Where the index before begins, 0 for none.
        offset: Where this one is to begin.

    Raises:
        AbsurdSize: There are more than an index may list.
    """
    content = b"".join(ENTRY.pack(entry.offset, entry.first, entry.records) for entry in entries)
    content += b"".join(entry.lowest + b"\0" + entry.highest + b"\0" for entry in entries)
    if len(entries) > MAX_BLOCKS or len(content) > MAX_CONTENT:
        raise AbsurdSize("more blocks are in no index than one may list: `cat` makes a new archive of this one")
    body = compress(content)
    head = INDEX.pack(INDEX_MAGIC, len(entries), previous, len(body), zlib.crc32(body))
    return sealed(head) + body + sealed(END.pack(offset, END_MAGIC))


def unpack_entries(index: IndexHeader, body: bytes) -> list[Entry]:
    """An index's entries. Raises ChecksumMismatch, BadMetadata."""
    if zlib.crc32(body) != index.crc:
        raise ChecksumMismatch("the archive's index is damaged: its CRC32 does not match")
    content = decompress(body)
    fixed = index.blocks * ENTRY.size
    if len(content) < fixed:
        raise BadMetadata("the archive's index does not list as many blocks as it says")
    names = _split(content[fixed:], 2 * index.blocks)
    rows = zip(ENTRY.iter_unpack(content[:fixed]), names[::2], names[1::2], strict=True)
    return [Entry(offset, first, records, *span) for (offset, first, records), *span in rows]


def _split(content: bytes, count: int) -> list[bytes]:
    """As many names as were joined, each with a zero byte after it."""
    if content.count(b"\0") != count or not content.endswith(b"\0"):  # before any list that could be large
        raise BadMetadata(f"there are {content.count(0):,} names where {count:,} are due")
    return content[:-1].split(b"\0")


def index_offset(end: bytes) -> int | None:
    """Where the last index begins, by an archive's last END_BYTES; None where they do not say."""
    if len(end) < END_BYTES or not is_sealed(end):
        return None
    offset, magic = END.unpack_from(end)
    return offset if magic == END_MAGIC else None


def sealed(data: bytes) -> bytes:
    """With its CRC32."""
    return data + CRC.pack(zlib.crc32(data))


def is_sealed(data: bytes) -> bool:
    """Whether the last four bytes are the CRC32 of those before."""
    return data[-CRC.size :] == CRC.pack(zlib.crc32(data[: -CRC.size]))


def compress(content: bytes) -> bytes:
    """One zstd frame, with its content's size and checksum."""
    import zstandard  # costs milliseconds that archives without names need not spend

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(content)


def decompress(frame: bytes) -> bytes:
    """The content of exactly one zstd frame, which must state its size within the limit. Raises BadMetadata."""
    import zstandard

    try:
        stated = zstandard.frame_content_size(frame)
        if not 0 <= stated <= MAX_CONTENT:
            raise BadMetadata(f"a zstd frame whose content is of no known size, or of more than {MAX_CONTENT:,} bytes")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadMetadata(f"names or an index that cannot be decompressed: {error}") from None
