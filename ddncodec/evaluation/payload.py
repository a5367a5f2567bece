"""How many bytes of a compressed file are picture: what is left without containers, headers and tables."""

from __future__ import annotations


def jpeg(data: bytes) -> int:
    """The entropy-coded scans: all between a start-of-scan header and the next marker (ITU-T T.81, Annex B)."""
    position, total = 2, 0
    while position + 4 <= len(data) and data[position + 1] != 0xD9:
        marker = data[position + 1]
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == 0xDA:
            start = position
            while position + 1 < len(data) and not (data[position] == 0xFF and _is_marker(data[position + 1])):
                position += 1
            total += position - start
    return total


def _is_marker(byte: int) -> bool:
    return byte != 0 and not 0xD0 <= byte <= 0xD7  # a stuffed 0 and restarts belong to the scan


def webp(data: bytes) -> int:
    """The chunks VP8, VP8L and ALPH, without their headers (RFC 9649, Sec. 2)."""
    position, total = 12, 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] in (b"VP8 ", b"VP8L", b"ALPH"):
            total += size
        position += 8 + size + size % 2
    return total


def avif(data: bytes) -> int:
    """The boxes mdat, without their headers (ISO/IEC 14496-12, Sec. 4.2)."""
    position, total = 0, 0
    while position + 8 <= len(data):
        size, header = int.from_bytes(data[position : position + 4]), 8
        if size == 1:
            size, header = int.from_bytes(data[position + 8 : position + 16]), 16
        size = size if size >= header else len(data) - position  # 0: to the end
        if data[position + 4 : position + 8] == b"mdat":
            total += size - header
        position += size
    return total


def jpeg2000(data: bytes) -> int:
    """The tile-parts' packets, between SOD and the next tile-part or EOC (ITU-T T.800, Annex A)."""
    position, total = 2, 0
    while position + 4 <= len(data):
        marker = data[position : position + 2]
        length = int.from_bytes(data[position + 2 : position + 4])
        if marker != b"\xff\x90":
            position += 2 + length
            continue
        part = int.from_bytes(data[position + 6 : position + 10]) or len(data) - 2 - position
        end, position = position + part, position + 2 + length
        while data[position : position + 2] != b"\xff\x93":
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
        total += end - position - 2
        position = end
    return total


def without_comments(data: bytes) -> bytes:
    """A JPEG 2000 codestream without the COM segments of its main header, which no decoder needs."""
    kept, position = data[:2], 2
    while (marker := data[position : position + 2]) != b"\xff\x90":
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        kept += b"" if marker == b"\xff\x64" else data[position:end]
        position = end
    return kept + data[position:]
