"""TIFF: pixels by Pillow and libtiff, of the kinds that they are right about."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END
from threading import Lock

import numpy as np
from PIL import TiffImagePlugin as Tiff

from ddncodec.errors import UnreadableImage
from ddncodec.images import jpeg
from ddncodec.images.raster import Raster, eight_bits

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _INK_SET, _YCBCR_COEFFICIENTS = 254, 255, 332, 529  # tags that Pillow has no name for
_WHITE_IS_ZERO, _RGB, _CMYK, _YCBCR = 0, 2, 5, 6  # photometric interpretations
_COLOURS = {_RGB: 3, _CMYK: 4}
_UNCOMPRESSED, _CCITT, _JPEG = 1, (2, 3, 4), 7
_COMPRESSIONS = {_UNCOMPRESSED, *_CCITT, 5, _JPEG, 8, 32_773, 32_946, 34_925, 50_000, 50_001}
_UNSIGNED, _FLOATS = 1, 3  # sample formats
_REVERSED = 2  # fill order
_PLANES = 2  # planar configuration
_REDUCED, _MASK = 1, 4  # bits of the subfile type

_stderr = Lock()


def turn_to_full_page(image: Tiff.TiffImageFile) -> None:
    """Seek the first page that is neither a reduced copy nor a mask. Raises UnreadableImage if there is none."""
    page = 0
    while image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK) or image.tag_v2.get(_SUBFILE_TYPE) == 2:
        page += 1
        try:
            image.seek(page)
        except EOFError:
            raise UnreadableImage("the TIFF file has no page of full size") from None


def read(image: Tiff.TiffImageFile) -> Raster:
    """The picture on an opened TIFF file's page. Raises UnreadableImage, and what Pillow raises."""
    tags = image.tag_v2
    if mistaken := _mistaken(image):
        raise UnreadableImage(f"the TIFF file {mistaken}, which cannot be read")
    _check_blocks(image)
    white = (1 << tags.get(Tiff.BITSPERSAMPLE, (1,))[0]) - 1
    with _silenced():
        image.load()
    raster = Raster.of(image)
    if image.mode.startswith("I;16"):
        samples, inverted = np.asarray(image), tags[Tiff.PHOTOMETRIC_INTERPRETATION] == _WHITE_IS_ZERO
        raster.image = eight_bits(white - samples if inverted else samples, white)
    return raster


def _mistaken(image: Tiff.TiffImageFile) -> str | None:
    """What Pillow would mistake about a page, if anything."""
    tags = image.tag_v2
    compression, look = tags.get(Tiff.COMPRESSION, _UNCOMPRESSED), tags.get(Tiff.PHOTOMETRIC_INTERPRETATION)
    raw = compression == _UNCOMPRESSED
    planes, reversed_bits = tags.get(Tiff.PLANAR_CONFIGURATION) == _PLANES, tags.get(Tiff.FILLORDER) == _REVERSED
    formats, bits = tags.get(Tiff.SAMPLEFORMAT, (_UNSIGNED,)), tags.get(Tiff.BITSPERSAMPLE, (1,))
    if _FLOATS in formats:
        return "has floating-point samples, without a fixed white"
    if max(formats) > _UNSIGNED or max(bits) > 16:
        return "has samples that are signed or of more than 16 bits, without a fixed black or white"
    if look is None:
        return "does not say how its samples look"
    if compression not in _COMPRESSIONS:
        return f"is compressed in a rare way ({compression})"
    if reversed_bits and not (raw or compression in _CCITT):
        return "is compressed with its bits in reverse"
    if planes and len(bits) > 1 and (look not in _COLOURS or (raw and (reversed_bits or set(bits) != {8}))):
        return "has its samples in planes of a rare kind"
    if look in _COLOURS and len(bits) > _COLOURS[look] and Tiff.EXTRASAMPLES not in tags:
        return "does not say what its samples beyond colours are"
    if look == _CMYK and tags.get(_INK_SET, 1) != 1:
        return "has inks other than CMYK"
    if look == _YCBCR and raw and len(bits) > 1 and not (
        tags.get(Tiff.YCBCRSUBSAMPLING) == (1, 1)
        and np.allclose(tags.get(_YCBCR_COEFFICIENTS, (0.299, 0.587, 0.114)), (0.299, 0.587, 0.114), atol=0.001)
        and tuple(tags.get(Tiff.REFERENCEBLACKWHITE, ())) in ((), (0, 255, 128, 255, 128, 255))
    ):
        return "has YCbCr samples of a rare kind"
    return None


def _check_blocks(image: Tiff.TiffImageFile) -> None:
    """Raise UnreadableImage if a strip or tile is not there, or is a damaged JPEG."""
    tags = image.tag_v2
    width, height = tags[Tiff.IMAGEWIDTH], tags[Tiff.IMAGELENGTH]
    if Tiff.STRIPOFFSETS in tags:
        across, down = width, min(height, tags.get(Tiff.ROWSPERSTRIP, height))
        offsets, sizes = tags[Tiff.STRIPOFFSETS], tags.get(Tiff.STRIPBYTECOUNTS)
    else:
        across, down = tags[Tiff.TILEWIDTH], tags[Tiff.TILELENGTH]
        offsets, sizes = tags[Tiff.TILEOFFSETS], tags.get(Tiff.TILEBYTECOUNTS)
    count = -(-width // across) * -(-height // down)
    if tags.get(Tiff.PLANAR_CONFIGURATION) == _PLANES:
        count *= tags.get(Tiff.SAMPLESPERPIXEL, 1)
    if len(offsets) < count or not all(offsets[:count]) or not all((sizes or offsets)[:count]):
        raise UnreadableImage("the TIFF file is damaged: a part of its image is not there")
    if tags.get(Tiff.COMPRESSION) == _JPEG and sizes:
        assert image.fp is not None
        if sum(sizes[:count]) > image.fp.seek(0, SEEK_END):
            raise UnreadableImage("the TIFF file is damaged: it is shorter than its parts")
        tables = tags.get(Tiff.JPEGTABLES, b"")[:-2]  # without the mark of their end
        for offset, size in zip(offsets[:count], sizes, strict=False):
            image.fp.seek(offset)
            data = image.fp.read(size)
            jpeg.check(tables + data[2:] if tables else data, across, down)


@contextmanager
def _silenced() -> Iterator[None]:
    """Libtiff writes what it thinks of a file on file descriptor 2; within the block that leads nowhere."""
    with _stderr:  # two threads at once would not find back to it
        try:
            kept = os.dup(2)
        except OSError:  # it is closed
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
