"""PNM: samples of any depth, which the file's maxval states."""

from math import prod

import numpy as np
from PIL import ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.raster import Raster, eight_bits

_PILLOWS_WHITE = 65_535  # of grey samples that Pillow has scaled to more than 8 bits


def read(image: ImageFile.ImageFile) -> Raster:
    """The picture of an opened PNM file. Raises UnreadableImage, and what Pillow raises."""
    decoder, _, offset, arguments = image.tile[0]
    if decoder == "ppm":  # binary samples up to an odd maxval, which Pillow scales one by one
        assert isinstance(arguments, tuple)
        assert image.fp is not None
        white = arguments[1]
        kind = np.dtype(">u2" if white > 255 else "u1")
        shape = (image.height, image.width, 3) if image.mode == "RGB" else (image.height, image.width)
        image.fp.seek(offset)
        data = image.fp.read(prod(shape) * kind.itemsize)
        if len(data) < prod(shape) * kind.itemsize:
            raise UnreadableImage("the PNM file is damaged: its samples end early")
        return Raster(eight_bits(np.frombuffer(data, kind).reshape(shape), white))
    image.load()
    return Raster(eight_bits(np.asarray(image), _PILLOWS_WHITE) if image.mode == "I" else image)
