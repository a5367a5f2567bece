"""AVIF: pixels by Pillow; the colours that nclx codes, which Pillow drops, by us."""

import struct

from PIL import ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.boxes import Box, find, first, inside
from ddncodec.images.colour import coded_profile
from ddncodec.images.raster import Raster

_MAX_META = 2**26  # bytes


def read(image: ImageFile.ImageFile) -> Raster:
    """The picture, or first frame, of an opened AVIF file. Raises UnreadableImage, and what Pillow raises."""
    assert image.fp is not None
    properties = _properties(find(image.fp, b"meta", _MAX_META)[4:])
    image.load()
    raster = Raster.of(image)
    for kind, content in properties:
        if kind == b"clap":
            raise UnreadableImage("the AVIF file shows a part of its image alone, which cannot be told apart")
        if kind == b"colr" and content.startswith(b"nclx") and len(content) >= 8 and not raster.icc:
            raster.icc = coded_profile(*struct.unpack_from(">4xHH", content))
    return raster


def _properties(meta: bytes) -> list[Box]:
    """The properties of the primary item: ipco holds all of them, and ipma says which of them an item has."""
    if not meta:
        return []
    primary = int.from_bytes(first(meta, b"pitm")[4:], "big")
    properties = first(meta, b"iprp")
    held, given = list(inside(first(properties, b"ipco"))), first(properties, b"ipma")
    try:
        id_bytes = 4 if given[0] else 2
        index_bytes = 2 if given[3] & 1 else 1
        at = 8
        for _ in range(int.from_bytes(given[4:8], "big")):
            item, at = int.from_bytes(given[at : at + id_bytes], "big"), at + id_bytes
            places = range(at + 1, at + 1 + given[at] * index_bytes, index_bytes)
            at = places.stop
            if item == primary:
                essential = 0x80 << 8 * (index_bytes - 1)  # a flag above the index
                indices = [int.from_bytes(given[i : i + index_bytes], "big") & ~essential for i in places]
                return [held[index - 1] for index in indices if index]
    except IndexError:
        raise UnreadableImage("the AVIF file is damaged: it has not the properties that it says") from None
    return []
