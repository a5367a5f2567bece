"""The .ddn file, version 1: header, metadata, payload, checksum. docs/format.md is its spec.

Imports neither torch nor numpy, so that looking at a file takes milliseconds.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from ddncodec.errors import (
    AbsurdSize,
    BadMagic,
    BadMetadata,
    BadVarint,
    ChecksumMismatch,
    ReservedBits,
    TrailingBytes,
    Truncated,
    UnknownVersion,
)
from ddncodec.latent import MAX_K, MAX_LEVELS, Latent, payload_bytes

MAGIC = b"\xdd\x4e"
VERSION = 1
MAX_SIDE = 65_535
MAX_PIXELS = 2**26
MAX_METADATA = 2**20  # bytes as stored
MAX_METADATA_CONTENT = 2**22  # bytes once decompressed

_K_BITS = 0b0000_1111
_METADATA_BIT = 0b0001_0000
_RESERVED_BITS = 0b1110_0000
_TAG_ICC, _TAG_COMMENT = 1, 2
_VARINT_BYTES = 4
_ID_BYTES = 4
_CRC_BYTES = 4
_ZSTD_LEVEL = 19
_MAX_PAYLOAD = payload_bytes(MAX_K, MAX_LEVELS)
MAX_FILE = 8 + 5 * _VARINT_BYTES + MAX_METADATA + _MAX_PAYLOAD + _CRC_BYTES


@dataclass(frozen=True, slots=True)
class Stream:
    """What a .ddn file holds.

    Args:
        latent: The picks.
        width: Of the original image in pixels, 1 to 65,535.
        height: As width; together at most 2**26 pixels.
        weights_id: The first four bytes of the SHA-256 of the weights' content.
        icc: The colour profile that the pixels are in; None for sRGB.
        comment: Any text, of unknown origin when read from a file.

    Raises:
        AbsurdSize: Width or height is out of range.
        ValueError: The weights' id has another length.
    """

    latent: Latent
    width: int
    height: int
    weights_id: bytes
    icc: bytes | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        if len(self.weights_id) != _ID_BYTES:
            raise ValueError(f"a weights id has {_ID_BYTES} bytes, not {len(self.weights_id)}")

    @property
    def weights_hex(self) -> str:
        """The weights id as 8 hexadecimal digits."""
        return self.weights_id.hex()


def write(stream: Stream, file: BinaryIO) -> None:
    """Write a .ddn file; the same stream always gives the same bytes. The inverse of `read`.

    Args:
        stream: What to write.
        file: Open for writing bytes.

    Raises:
        AbsurdSize: The metadata are too large.
        BadMetadata: The comment is not Unicode.
    """
    latent = stream.latent
    metadata = _pack_metadata(stream.icc, stream.comment)
    log2_k = _short_log2(latent.k)
    body = bytearray(MAGIC)
    body += bytes([VERSION, log2_k | (_METADATA_BIT if metadata else 0)])
    body += stream.weights_id
    body += _varint(stream.width) + _varint(stream.height) + _varint(latent.levels)
    if not log2_k:
        body += _varint(latent.k)
    if metadata:
        body += _varint(len(metadata)) + metadata
    body += latent.pack()
    file.write(bytes(body) + _checksum(body))


def read(file: BinaryIO) -> Stream:
    """Read a .ddn file, from the file's position to its end; at most about 1.2 MB are read.

    Args:
        file: Open for reading bytes.

    Returns:
        What it holds.

    Raises:
        DdnError: The kind that docs/format.md gives for each defect, the first in its order.
    """
    data = file.read(MAX_FILE + 1)
    cursor = _Cursor(data)

    magic = data[: len(MAGIC)]
    if not MAGIC.startswith(magic):
        raise BadMagic(f"not a .ddn file: it starts with {magic.hex(' ')}, not {MAGIC.hex(' ')}")
    cursor.take(len(MAGIC))
    version = cursor.byte()
    if version != VERSION:
        raise UnknownVersion(f"a .ddn file of version {version}; this release reads {VERSION}")
    flags = cursor.byte()
    if flags & _RESERVED_BITS:
        raise ReservedBits(f"reserved bits are set in the flags: {flags:#010b}")
    weights_id = cursor.take(_ID_BYTES)

    width, height, levels = cursor.varint(), cursor.varint(), cursor.varint()
    log2_k = flags & _K_BITS
    k = 1 << log2_k if log2_k else cursor.varint()
    if not log2_k and _short_log2(k):
        raise BadVarint(f"K = {k:,} is written as a varint, but the flags can hold it")
    _check_size(width, height)
    payload_size = payload_bytes(k, levels)  # raises AbsurdSize

    metadata = b""
    if flags & _METADATA_BIT:
        metadata_bytes = cursor.varint()
        if metadata_bytes > MAX_METADATA:
            raise AbsurdSize(f"{metadata_bytes:,} bytes of metadata; the limit is {MAX_METADATA:,}")
        metadata = cursor.take(metadata_bytes)

    end = cursor.position + payload_size + _CRC_BYTES
    if len(data) < end:
        raise Truncated(f"the file ends after {len(data):,} of {end:,} bytes")
    if len(data) > end:
        raise TrailingBytes(f"the file goes on after the {end:,} bytes its header speaks of")
    payload, stored = cursor.take(payload_size), cursor.take(_CRC_BYTES)
    computed = _checksum(data[:-_CRC_BYTES])
    if stored != computed:
        raise ChecksumMismatch(
            f"the file is damaged: its CRC32 is {computed[::-1].hex()}, "
            f"but it says {stored[::-1].hex()}"
        )

    icc, comment = _unpack_metadata(metadata) if flags & _METADATA_BIT else (None, None)
    latent = Latent.unpack(payload, k, levels)
    return Stream(latent, width, height, weights_id, icc, comment)


def to_bytes(stream: Stream) -> bytes:
    """The whole .ddn file; raises like `write`."""
    file = io.BytesIO()
    write(stream, file)
    return file.getvalue()


def from_bytes(data: bytes) -> Stream:
    """The stream in a whole .ddn file; raises like `read`."""
    return read(io.BytesIO(data))


def sizes(stream: Stream) -> Callable[[int], int]:
    """The size of the file of a stream's first levels.

    Args:
        stream: Says all else that the file holds.

    Returns:
        A function of the number of levels, 1 or more, that gives bytes.

    Raises:
        AbsurdSize, BadMetadata: As `write`.
    """
    k = stream.latent.k
    fixed = len(to_bytes(replace(stream, latent=stream.latent.prefix(1)))) - len(_varint(1)) - payload_bytes(k, 1)
    return lambda levels: fixed + len(_varint(levels)) + payload_bytes(k, levels)


class _Cursor:
    """Reads fields off the front of bytes; Truncated when they run out."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise Truncated(
                f"the file ends after {len(self.data):,} bytes, inside a field that needs {end:,}"
            )
        field = self.data[self.position : end]
        self.position = end
        return field

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """An unsigned LEB128 number of at most four bytes, and no more than it needs."""
        start, value = self.position, 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise BadVarint(f"the number at byte {start} is longer than it need be")
                return value
        raise BadVarint(f"the number at byte {start} is longer than {_VARINT_BYTES} bytes")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _checksum(body: bytes | bytearray) -> bytes:
    return zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def _short_log2(k: int) -> int:
    """log2 K where the flags' four bits can say it (K = 2, 4, ... 32,768), else 0."""
    log2 = k.bit_length() - 1
    return log2 if 1 <= log2 <= _K_BITS and k == 1 << log2 else 0


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise AbsurdSize(
            f"an image of {width} x {height} pixels; "
            f"the limits are 1 to {MAX_SIDE} a side and {MAX_PIXELS:,} in all"
        )


def _pack_metadata(icc: bytes | None, comment: str | None) -> bytes:
    """One zstd frame with an entry for each that is not None; empty when there is none."""
    try:
        text = None if comment is None else comment.encode()
    except UnicodeEncodeError as error:
        raise BadMetadata(f"the comment cannot be stored as UTF-8: {error.reason}") from None
    content = bytearray()
    for tag, value in ((_TAG_ICC, icc), (_TAG_COMMENT, text)):
        if value is not None:
            if len(value) > MAX_METADATA_CONTENT:  # also keeps the length within a varint
                raise _too_much(len(value))
            content += bytes([tag]) + _varint(len(value)) + value
    if not content:
        return b""
    if len(content) > MAX_METADATA_CONTENT:
        raise _too_much(len(content))

    import zstandard  # costs milliseconds that most files need not spend

    frame = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(bytes(content))
    if len(frame) > MAX_METADATA:
        raise AbsurdSize(
            f"the metadata take {len(frame):,} bytes compressed; the limit is {MAX_METADATA:,}"
        )
    return frame


def _unpack_metadata(frame: bytes) -> tuple[bytes | None, str | None]:
    """ICC profile and comment; the inverse of `_pack_metadata`."""
    cursor = _Cursor(_decompress(frame))
    entries: dict[int, bytes] = {}
    try:
        while cursor.position < len(cursor.data):
            tag = cursor.byte()
            if tag not in (_TAG_ICC, _TAG_COMMENT):
                raise BadMetadata(f"the metadata hold an entry of unknown tag {tag}")
            if entries and tag <= max(entries):
                raise BadMetadata(f"metadata tag {tag} is repeated or out of order")
            entries[tag] = cursor.take(cursor.varint())
    except Truncated:
        raise BadMetadata("the metadata end inside an entry") from None
    if not entries:
        raise BadMetadata("the metadata are there but empty")
    try:
        comment = entries[_TAG_COMMENT].decode() if _TAG_COMMENT in entries else None
    except UnicodeDecodeError as error:
        raise BadMetadata(f"the comment is not UTF-8: {error.reason}") from None
    return entries.get(_TAG_ICC), comment


def _decompress(frame: bytes) -> bytes:
    """The content of exactly one zstd frame, which must state its size within the limit."""
    import zstandard

    try:
        # The decompressor allocates what the frame states and fails when that does not suffice,
        # so the stated size bounds the work.
        stated = zstandard.frame_content_size(frame)
        if stated < 0:
            raise BadMetadata("the metadata's zstd frame does not state its content's size")
        if stated > MAX_METADATA_CONTENT:
            raise _too_much(stated)
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadMetadata(f"the metadata cannot be decompressed: {error}") from None


def _too_much(size: int) -> AbsurdSize:
    return AbsurdSize(f"{size:,} bytes of metadata content; the limit is {MAX_METADATA_CONTENT:,}")
