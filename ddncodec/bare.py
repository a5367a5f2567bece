"""Bare streams: a latent and an aspect ratio, and nothing else. docs/format.md is their spec. Needs no torch."""

from __future__ import annotations

import base64
import binascii
import math

from ddncodec.container import Stream
from ddncodec.errors import BadMagic, PayloadLength, TooFewBytes, Truncated
from ddncodec.latent import MAX_K, MAX_LEVELS, Latent, packed_bits
from ddncodec.sizes import kept, longest

MAX_BARE = 2 + -(-packed_bits(MAX_K, MAX_LEVELS) // 8)
MAX_TEXT = MAX_BARE * 4 // 3 + 64  # characters, with white space around them

_NOT_TEXT = 0x80  # set in the first byte, which so is not ASCII
_STEPS = 16  # of the aspect ratio, in an octave
_SQUARE = 64


def size(k: int, levels: int) -> int:
    """The bytes of the bare stream of so many levels."""
    return 2 + packed_bits(k, levels) // 8


def to_bytes(stream: Stream) -> bytes:
    """Write a bare stream; `from_bytes` is the inverse, up to size, metadata and a rounded aspect ratio.

    Args:
        stream: Its latent and aspect ratio are kept.

    Returns:
        One byte of the aspect ratio, the packed latent with its end marked.
    """
    latent = stream.latent
    step = _SQUARE + round(_STEPS * math.log2(stream.width / stream.height))
    aspect = _NOT_TEXT | min(max(step, 0), 2 * _SQUARE - 1)
    free = 8 - latent.bits % 8  # 1 to 8 bits after the last level: a one, the mark of the end, and zeros
    value = int.from_bytes(latent.pack(), "big") >> -latent.bits % 8
    return bytes([aspect]) + ((value << 1 | 1) << free - 1).to_bytes((latent.bits + free) // 8, "big")


def from_bytes(data: bytes, k: int, resolution: int, weights_id: bytes) -> Stream:
    """Read a bare stream, in bytes or as text; nothing in it says whose it is.

    Args:
        data: The stream, or its base64url in ASCII, with white space around it.
        k: K of the model that made it.
        resolution: Of that model, which the longer side gets.
        weights_id: Of that model.

    Returns:
        The stream.

    Raises:
        Truncated: It has less than two bytes.
        BadMagic: It is neither of the two.
        PayloadLength: Its end is not marked, or not that of a number of levels of K.
        IndexOutOfRange, AbsurdSize: As `Latent.unpack`.
    """
    data = _binary(data)
    levels = _levels(data, k)
    bits = packed_bits(k, levels)
    payload = int.from_bytes(data[1:], "big") >> 8 * (len(data) - 1) - bits
    latent = Latent.unpack((payload << -bits % 8).to_bytes(-(-bits // 8), "big"), k, levels)
    ratio = 2 ** ((data[0] - _NOT_TEXT - _SQUARE) / _STEPS)
    width, height = (max(1, round(resolution * part)) for part in (min(ratio, 1), min(1 / ratio, 1)))
    return Stream(latent, width, height, weights_id)


def cut(data: bytes, k: int, levels: int | None = None, max_bytes: int | None = None) -> bytes:
    """Shorten a bare stream; needs no torch and no weights.

    Args:
        data: The stream, or its text.
        k: K of the model that made it.
        levels: The first so many, 1 or more. None: all.
        max_bytes: Of the stream, not of its text: the longest prefix that fits. None: any number.

    Returns:
        The shorter stream, in bytes.

    Raises:
        ValueError: levels is below 1.
        TooFewBytes: max_bytes do not hold one level.
        DdnError: As `from_bytes`.
    """
    data = _binary(data)
    latent = from_bytes(data, k, 1, bytes(4)).latent
    shorter = latent.prefix(kept(lambda count: size(k, count), latent.levels, levels, max_bytes))
    return data[:1] + to_bytes(Stream(shorter, 1, 1, bytes(4)))[1:]


def to_text(data: bytes) -> str:
    """A bare stream as base64url (RFC 4648, Sec. 5) without padding: letters, digits, - and _.

    Args:
        data: The stream.

    Returns:
        Four characters for three bytes.

    Examples:
        >>> import ddncodec, numpy as np
        >>> data = ddncodec.encode(np.zeros((48, 64, 3), np.uint8), levels=40, bare=True)
        >>> text = ddncodec.to_text(data)
        >>> len(data), len(text)
        (7, 10)
        >>> ddncodec.decode(text, "binddn", bare=True).shape
        (47, 64, 3)
    """
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _binary(data: bytes) -> bytes:
    """The stream that data are or whose text they are: the first byte tells."""
    if len(data) and data[0] & _NOT_TEXT:
        binary = data
    else:
        text = data.strip()
        try:
            binary = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadMagic("not a bare stream: neither its bytes nor base64url") from None
        if text.rstrip(b"=") != to_text(binary).encode():
            raise BadMagic("not a bare stream: its base64url is not as it was written")
    if len(binary) < 2:
        raise Truncated(f"a bare stream has two bytes or more, not {len(binary)}")
    if not binary[0] & _NOT_TEXT:
        raise BadMagic(f"not a bare stream: it begins with {binary[0]:02x}, which is below 80")
    return binary


def _levels(data: bytes, k: int) -> int:
    """How many levels end at the mark, the last one bit, which is in the last byte."""
    if len(data) > MAX_BARE:
        raise PayloadLength(f"a bare stream has at most {MAX_BARE:,} bytes")
    if not data[-1]:
        raise PayloadLength("the end of the bare stream is not marked")
    bits = 8 * (len(data) - 1) - (data[-1] & -data[-1]).bit_length()
    try:
        levels = longest(lambda count: packed_bits(k, count), min(bits or 1, MAX_LEVELS), bits)
    except TooFewBytes:
        levels = 0
    if not levels or packed_bits(k, levels) != bits:
        raise PayloadLength(f"the bare stream has {bits:,} bits, which no number of levels of K = {k:,} has")
    return levels
