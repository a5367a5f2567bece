"""The .ddn file, version 1: header, metadata, payload, checksum. docs/format.md is its spec.

Imports neither torch nor numpy, so that looking at a file takes milliseconds.
"""

import zlib
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from ddncodec.errors import (
    AbsurdSize,
    BadMagic,
    BadMetadata,
    BadVarint,
    ChecksumMismatch,
    DdnError,
    ReservedBits,
    TrailingBytes,
    Truncated,
    UnknownVersion,
)
from ddncodec.latent import MAX_K, MAX_LEVELS, Latent, check_payload, cut_payload, payload_bytes
from ddncodec.sizes import SizeOf, kept

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
        check_size(self.width, self.height)
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
    file.write(to_bytes(stream))


def read(file: BinaryIO) -> Stream:
    """Read a .ddn file, from the file's position to its end; at most about 1.2 MB are read.

    Args:
        file: Open for reading bytes.

    Returns:
        What it holds.

    Raises:
        DdnError: The kind that docs/format.md gives for each defect, the first in its order.
    """
    return from_bytes(file.read(MAX_FILE + 1))


def from_bytes(data: bytes) -> Stream:
    """The stream in a whole .ddn file; raises like `read`."""
    return _unframed(data).stream


class Partial(NamedTuple):
    """What there is of a file that broke off.

    stream: with the levels that are whole. levels, bytes: of the whole file.
    """

    stream: Stream
    levels: int
    bytes: int


def partial_from_bytes(data: bytes) -> Partial:
    """What there is of a .ddn file that may have broken off in its payload or checksum, which then says nothing.

    Args:
        data: The file, or its first bytes.

    Returns:
        A whole file's stream is that of `from_bytes`, checked as there.

    Raises:
        Truncated: Not even one level is whole.
        DdnError: Another defect, as `read`.
    """
    header = _read_header(data)
    if len(data) >= header.end:
        return Partial(from_bytes(data), header.levels, header.end)
    icc, comment = _unpack_metadata(header.metadata) if header.metadata is not None else (None, None)
    latent = Latent.unpack_start(data[header.payload : header.end - _CRC_BYTES], header.k, header.levels)
    if latent is None:
        raise _broken_off(data, header)
    stream = Stream(latent, header.width, header.height, header.weights_id, icc, comment)
    return Partial(stream, header.levels, header.end)


def cut(data: bytes, levels: int | None = None, max_bytes: int | None = None) -> bytes:
    """Shorten a .ddn file to fewer levels, a coarser picture; needs no torch and no weights.

    Args:
        data: The whole file.
        levels: The first so many, 1 or more; a file that has no more stays as it is. None: all.
        max_bytes: Of the whole file: the longest prefix that fits. None: any number.

    Returns:
        The whole, shorter file, with the same size, weights id and metadata.

    Raises:
        ValueError: levels is below 1.
        TooFewBytes: max_bytes do not hold one level.
        DdnError: The file is damaged or none; docs/format.md lists the kinds.

    Examples:
        >>> import ddncodec, numpy as np
        >>> data = ddncodec.encode(np.zeros((64, 64), np.uint8))
        >>> short = ddncodec.cut(data, max_bytes=60)
        >>> len(data), len(short)
        (160, 60)
        >>> short == ddncodec.cut(data, levels=352) == ddncodec.encode(np.zeros((64, 64), np.uint8), levels=352)
        True
    """
    header = _read_header(data)
    _require_whole(data, header)
    if header.metadata is not None:
        _unpack_metadata(header.metadata)  # which may be refused
    payload = data[header.payload : -_CRC_BYTES]
    check_payload(payload, header.k, header.levels)
    count = kept(_sizes(header), header.levels, levels, max_bytes)
    return _assemble(header._replace(levels=count), cut_payload(payload, header.k, header.levels, count))


class Packed(NamedTuple):
    """A stream whose latent stays packed: what archives hold, without looking at each pick.

    payload: as `Latent.pack` gives it. icc, comment: as in `Stream`.
    """

    weights_id: bytes
    width: int
    height: int
    k: int
    levels: int
    payload: bytes
    icc: bytes | None = None
    comment: str | None = None

    @property
    def stream(self) -> Stream:
        """With the latent unpacked. Raises as `Latent.unpack`, and AbsurdSize."""
        latent = Latent.unpack(self.payload, self.k, self.levels)
        return Stream(latent, self.width, self.height, self.weights_id, self.icc, self.comment)


def packed_from_bytes(data: bytes) -> Packed:
    """What a whole .ddn file holds, checked as by `from_bytes`, which raises alike."""
    packed = _unframed(data)
    check_payload(packed.payload, packed.k, packed.levels)
    return packed


def _unframed(data: bytes) -> Packed:
    """All of `packed_from_bytes`, but that the payload is not checked."""
    header = _read_header(data)
    _require_whole(data, header)
    icc, comment = _unpack_metadata(header.metadata) if header.metadata is not None else (None, None)
    return Packed(header.weights_id, header.width, header.height, header.k, header.levels,
                  data[header.payload : -_CRC_BYTES], icc, comment)


def packed_to_bytes(packed: Packed) -> bytes:
    """The .ddn file; the inverse of `packed_from_bytes`. Raises as `write`, and as `Latent.unpack` for the payload."""
    check_size(packed.width, packed.height)
    check_payload(packed.payload, packed.k, packed.levels)
    header = _Header(packed.weights_id, packed.width, packed.height, packed.levels, packed.k,
                     _pack_metadata(packed.icc, packed.comment))
    return _assemble(header, packed.payload)


class _Header(NamedTuple):
    """All before the payload. metadata: as stored. payload, end: where it begins, and the whole file ends."""

    weights_id: bytes
    width: int
    height: int
    levels: int
    k: int
    metadata: bytes | None
    payload: int = 0
    end: int = 0


def _read_header(data: bytes) -> _Header:
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
    check_size(width, height)
    payload_size = payload_bytes(k, levels)  # raises AbsurdSize

    metadata = None
    if flags & _METADATA_BIT:
        metadata_bytes = cursor.varint()
        if metadata_bytes > MAX_METADATA:
            raise AbsurdSize(f"{metadata_bytes:,} bytes of metadata; the limit is {MAX_METADATA:,}")
        metadata = cursor.take(metadata_bytes)

    end = cursor.position + payload_size + _CRC_BYTES
    return _Header(weights_id, width, height, levels, k, metadata, cursor.position, end)


def _require_whole(data: bytes, header: _Header) -> None:
    """Raise Truncated, TrailingBytes or ChecksumMismatch unless the file is as long as it says, and undamaged."""
    if len(data) < header.end:
        raise _broken_off(data, header)
    if len(data) > header.end:
        raise TrailingBytes(f"the file goes on after the {header.end:,} bytes its header speaks of")
    stored, computed = data[-_CRC_BYTES:], _checksum(data[:-_CRC_BYTES])
    if stored != computed:
        raise ChecksumMismatch(
            f"the file is damaged: its CRC32 is {computed[::-1].hex()}, "
            f"but it says {stored[::-1].hex()}"
        )


def _broken_off(data: bytes, header: _Header) -> Truncated:
    try:
        latent = Latent.unpack_start(data[header.payload : header.end - _CRC_BYTES], header.k, header.levels)
    except DdnError:  # damaged too
        latent = None
    whole = f"{latent.levels:,}" if latent else "none"
    return Truncated(f"the file ends after {len(data):,} of {header.end:,} bytes; "
                     f"of its {header.levels:,} levels {whole} {'is' if whole in ('1', 'none') else 'are'} whole")


def to_bytes(stream: Stream) -> bytes:
    """The whole .ddn file; raises like `write`."""
    return _assemble(_header_of(stream), stream.latent.pack())


def _header_of(stream: Stream) -> _Header:
    return _Header(stream.weights_id, stream.width, stream.height, stream.latent.levels, stream.latent.k,
                   _pack_metadata(stream.icc, stream.comment))


def _assemble(header: _Header, payload: bytes) -> bytes:
    log2_k = _short_log2(header.k)
    body = bytearray(MAGIC)
    body += bytes([VERSION, log2_k | (0 if header.metadata is None else _METADATA_BIT)])
    body += header.weights_id
    body += _varint(header.width) + _varint(header.height) + _varint(header.levels)
    if not log2_k:
        body += _varint(header.k)
    if header.metadata is not None:
        body += _varint(len(header.metadata)) + header.metadata
    body += payload
    return bytes(body) + _checksum(body)


def sizes(stream: Stream) -> SizeOf:
    """The size of the file of a stream's first levels.

    Args:
        stream: Says all else that the file holds.

    Returns:
        A function of the number of levels, 1 or more, that gives bytes.

    Raises:
        AbsurdSize, BadMetadata: As `write`.
    """
    return _sizes(_header_of(stream))


def _sizes(header: _Header) -> SizeOf:
    fixed = len(_assemble(header, b"")) - len(_varint(header.levels))
    return lambda levels: fixed + len(_varint(levels)) + payload_bytes(header.k, levels)


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


def check_size(width: int, height: int) -> None:
    """Raise AbsurdSize unless an image of so many pixels is within the limits."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise AbsurdSize(
            f"an image of {width} x {height} pixels; "
            f"the limits are 1 to {MAX_SIDE} a side and {MAX_PIXELS:,} in all"
        )


def _pack_metadata(icc: bytes | None, comment: str | None) -> bytes | None:
    """One zstd frame with an entry for each that is not None; None when there is none."""
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
        return None
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
