"""JPEG 2000: pixels by Pillow; the depth, the colours and the profile that the file states, by us."""

import struct
from io import SEEK_END, BytesIO
from typing import IO

import numpy as np
from PIL import Image, ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.boxes import find, first, inside
from ddncodec.images.raster import Raster, eight_bits

_START = b"\xff\x4f\xff\x51"  # of a codestream, up to the content of SIZ
_END = b"\xff\xd9"
_SIGNED = 0x80
_SHOWN = (16, 17, 18)  # sRGB, grey, sYCC
_COLOUR, _OPACITY = 0, 1


def read(image: ImageFile.ImageFile) -> Raster:
    """The picture of an opened JPEG 2000 file. Raises UnreadableImage, and what Pillow raises."""
    assert image.fp is not None
    file = image.fp
    file.seek(-len(_END), SEEK_END)
    if file.read() != _END:  # without it nothing would be decoded
        file.seek(0)
        with Image.open(BytesIO(file.read() + _END), formats=["JPEG2000"]) as ended:
            assert isinstance(ended, ImageFile.ImageFile)
            return _read(ended)
    return _read(image)


def _read(image: ImageFile.ImageFile) -> Raster:
    assert image.fp is not None
    header = find(image.fp, b"jp2h", 2**26)
    icc = _profile(header) if header else None
    depth = _depth(image.fp, image.size)
    grey = image.mode.startswith("I;16")
    if depth > (16 if grey else 8):
        raise UnreadableImage(f"the JPEG 2000 file has {depth} bits a sample, more than can be read of its kind")
    image.load()
    raster = Raster.of(image)
    raster.icc = icc
    white = (1 << depth) - 1
    if grey:
        raster.image = eight_bits(np.asarray(image) >> (16 - depth), white)
    elif depth < 8:  # Pillow shifts samples up, which leaves white grey
        table = [((i >> (8 - depth)) * 255 + white // 2) // white for i in range(256)]
        raster.image = image.point(table * len(image.getbands()))
    return raster


def _depth(file: IO[bytes], size: tuple[int, int]) -> int:
    """The bits of every sample, as SIZ states them."""
    file.seek(0)
    stream = file.read(2**16)
    if not stream.startswith(_START):
        stream = find(file, b"jp2c", 2**16)
    try:
        right, bottom, left, top, count = struct.unpack_from(">4xIIII16xH", stream, len(_START))
        depths = {stream[len(_START) + 38 + 3 * i] for i in range(count)}
    except (struct.error, IndexError):
        raise UnreadableImage("the JPEG 2000 file is damaged: it ends in its header") from None
    if size != (right - left, bottom - top):
        raise UnreadableImage("the JPEG 2000 file is damaged: it states two sizes")
    if len(depths) != 1 or min(depths) & _SIGNED:
        raise UnreadableImage("the JPEG 2000 file has samples that are signed or of several depths")
    return depths.pop() + 1


def _profile(header: bytes) -> bytes | None:
    """The embedded profile. Raises UnreadableImage for colours that Pillow would mistake."""
    kinds = [box.kind for box in inside(header)]
    if b"pclr" in kinds:
        raise UnreadableImage("the JPEG 2000 file has a palette, which cannot be read")
    definitions = first(header, b"cdef")
    channels = sorted(struct.iter_unpack(">HHH", definitions[2 : 2 + len(definitions[2:]) // 6 * 6]))
    if any(entry not in ((number, _COLOUR, number + 1), (len(channels) - 1, _OPACITY, 0))
           for number, entry in enumerate(channels)):
        raise UnreadableImage("the JPEG 2000 file has its channels in an order that cannot be read")
    colours = first(header, b"colr")
    if colours[:1] == b"\x01" and int.from_bytes(colours[3:7], "big") not in _SHOWN:
        raise UnreadableImage("the JPEG 2000 file is in a colour space that cannot be read")
    return colours[3:] if colours[:1] in (b"\x02", b"\x03") else None
