"""PNG: its pixels by Pillow, its tags by us.

Pillow refuses a file for its metadata (megabytes of text, a checksum in them), takes tRNS keys for 8-bit values, and
knows no cICP. So it is given a file of the pixels' chunks alone.
"""

import struct
import zlib
from collections import defaultdict
from collections.abc import Callable
from io import SEEK_CUR, BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.colour import coded_profile, gamma_profile
from ddncodec.images.raster import Raster, orientation

MAGIC = b"\x89PNG\r\n\x1a\n"

# The chunks that count, until the pixels begin and from there on.
_BEFORE = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf")
_AFTER = (b"IDAT", b"eXIf")
_GREY, _RGB, _PALETTE = 0, 2, 3  # colour types
_MAX_PROFILE = 2**26  # bytes
_ANCILLARY = 0x20  # the bit of a chunk's name that says that a reader may ignore it


def read(file: BinaryIO, check: Callable[[int, int], None]) -> Raster:
    """The picture in a PNG file; the default image of an animation.

    Args:
        file: Read from its beginning.
        check: Told width and height before pixels are decoded.

    Raises:
        UnreadableImage: It is damaged, or cannot be shown. Pillow raises other errors.
    """
    chunks = _chunks(file)
    header = chunks.get(b"IHDR", b"")
    if len(header) != 13 or b"IDAT" not in chunks:
        raise UnreadableImage("the PNG file has no pixels")
    width, height, depth, kind = struct.unpack(">IIBB", header[:10])
    check(width, height)
    data = _pixels_alone(chunks, kind)
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        image.load()
    _check_rows(image, chunks[b"IDAT"], header)
    raster = Raster(image, _profile(chunks), orientation=orientation(chunks.get(b"eXIf")))
    if b"tRNS" in chunks:
        raster.opacity = _opacity(image, data, depth, kind, chunks[b"tRNS"])
    return raster


def _chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The data of the chunks that count, those of all IDAT as one; what follows the pixels may be missing.

    Raises UnreadableImage if one of them is damaged, or there is one that a reader must understand but we do not.
    """
    file.seek(len(MAGIC))
    chunks: dict[bytes, list[bytes]] = defaultdict(list)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IEND" or not name.isalpha():
            break
        if name in (_AFTER if b"IDAT" in chunks else _BEFORE):
            data, checksum = file.read(length), file.read(4)
            if len(checksum) == 4 and int.from_bytes(checksum, "big") != zlib.crc32(data, zlib.crc32(name)):
                raise UnreadableImage(f"the PNG file is damaged: the checksum of its {name.decode()} does not match")
            chunks[name].append(data)
        elif name[0] & _ANCILLARY:
            file.seek(length + 4, SEEK_CUR)
        else:
            raise UnreadableImage(f"the PNG file has a chunk {name.decode()}, which is not known here")
    return {name: b"".join(data) if name == b"IDAT" else data[0] for name, data in chunks.items()}


def _pixels_alone(chunks: dict[bytes, bytes], kind: int) -> bytes:
    """A PNG file without metadata; a palette's missing colours are black, as in browsers."""
    kept = [(b"IHDR", chunks[b"IHDR"])]
    if kind == _PALETTE:
        palette = chunks.get(b"PLTE", b"")
        if not palette or len(palette) % 3:
            raise UnreadableImage("the PNG file has no whole palette")
        kept.append((b"PLTE", palette.ljust(3 * 256, b"\0")))
    kept += [(b"IDAT", chunks[b"IDAT"]), (b"IEND", b"")]
    return MAGIC + b"".join(
        struct.pack(">I", len(data)) + name + data + zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big")
        for name, data in kept
    )


def _check_rows(image: Image.Image, compressed: bytes, header: bytes) -> None:
    """Raise UnreadableImage if the data end before the image does, where Pillow leaves black."""
    *_, interlaced = fields = struct.unpack(">IIBBBBB", header)
    last = image.height - 1 - (interlaced and image.height % 2)  # an interlaced image ends with its odd rows
    if np.asarray(image.crop((0, last, image.width, last + 1))).any():
        return
    missing = _raw_size(*fields)
    inflate = zlib.decompressobj()
    for start in range(0, len(compressed), 2**16):
        missing -= len(inflate.decompress(compressed[start : start + 2**16]))
        if missing <= 0:
            return
    raise UnreadableImage("the PNG file is damaged: its pixels end early")


def _raw_size(width: int, height: int, depth: int, kind: int, _method: int, _filter: int, interlaced: int) -> int:
    """Bytes of all rows, each with its filter's number."""
    bits = depth * {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}[kind]
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, and steps
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    size = 0
    for left, top, across, down in passes:
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        size += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return size


def _opacity(image: Image.Image, data: bytes, depth: int, kind: int, tag: bytes) -> Image.Image | None:
    """The opacity that tRNS gives: that of each colour of a palette, or one colour, in samples of the file's depth."""
    if kind == _PALETTE:
        table = np.full(256, 255, np.uint8)
        table[: len(tag)] = np.frombuffer(tag[:256], np.uint8)
        return Image.fromarray(table[np.asarray(image)])
    if kind not in (_GREY, _RGB) or len(tag) < (6 if kind == _RGB else 2):
        return None
    keys = [key & ((1 << depth) - 1) for key in struct.unpack(f">{len(tag) // 2}H", tag[: len(tag) // 2 * 2])]
    if kind == _GREY:
        samples = np.asarray(image.convert("L") if image.mode == "1" else image)
        hidden = samples == (keys[0] if depth == 16 else keys[0] * 255 // ((1 << depth) - 1))
    elif depth == 8:
        hidden = (np.asarray(image) == keys[:3]).all(axis=2)
    else:
        high, low = np.asarray(image), np.asarray(_low_bytes(data))
        hidden = ((high == [key >> 8 for key in keys[:3]]) & (low == [key & 255 for key in keys[:3]])).all(axis=2)
    return Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))


def _low_bytes(data: bytes) -> Image.Image:
    """The second bytes of 16-bit colours, of which Pillow keeps the first."""
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        image.load()
    return image


def _profile(chunks: dict[bytes, bytes]) -> bytes | None:
    """The profile of the tags, by the specification's precedence. Raises UnreadableImage for what cannot be shown."""
    if len(coded := chunks.get(b"cICP", b"")) == 4:
        primaries, transfer, matrix, full_range = coded
        if matrix or not full_range:
            raise UnreadableImage("the PNG file's cICP says that its samples are not RGB of full range")
        return coded_profile(primaries, transfer)
    if embedded := _inflated(chunks.get(b"iCCP", b"")):
        return embedded
    if b"sRGB" in chunks:
        return None
    gamma, points = _decimals(chunks.get(b"gAMA", b""), 1), _decimals(chunks.get(b"cHRM", b""), 8)
    places = list(zip(points[::2], points[1::2], strict=True))
    return gamma_profile(gamma[0] if gamma else None, *places)


def _inflated(tag: bytes) -> bytes:
    """The profile in an iCCP chunk, after its name and its method's number; empty if it is broken."""
    _, _, compressed = tag.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(compressed[1:], _MAX_PROFILE)
    except zlib.error:
        return b""


def _decimals(data: bytes, count: int) -> tuple[float, ...]:
    """So many numbers in hundred-thousandths; none if the data have another length."""
    return tuple(value / 100_000 for value in struct.unpack(f">{count}I", data)) if len(data) == 4 * count else ()
