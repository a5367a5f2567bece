"""Image files to pictures."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ddncodec.errors import DdnError, ImageSize, UnreadableImage, reason
from ddncodec.images import avif, bmp, gif, jpeg, jpeg2000, png, pnm, tiff, webp
from ddncodec.images.picture import MAX_PIXELS, Picture, check_size, fit, fit_reduced
from ddncodec.images.raster import Raster

# Formats that Pillow opens: rasters with a signature; nothing that runs programs (EPS) or matches any bytes (TGA).
_FORMATS = ("JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "TIFF", "PPM")
_READERS: dict[str, Callable[[Any], Raster]] = {
    "JPEG": jpeg.read, "MPO": jpeg.read, "WEBP": webp.read, "AVIF": avif.read, "JPEG2000": jpeg2000.read,
    "GIF": gif.read, "BMP": bmp.read, "TIFF": tiff.read, "PPM": pnm.read,
}
_KNOWN = {"PNG", *_READERS}

# Which files of a folder are taken for images; what is in them decides how they are read.
READ_SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".avifs"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}

_AMPLE = 8  # times the pixels a side that are asked for: what a JPEG decoded at a reduced scale has at least

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or its lines would reach stderr


def read_picture(file: BinaryIO, *, keep_icc: bool = False, resolution: int | None = None) -> Picture:
    """Decode an image file of any common raster format, as a viewer would show it.

    The first frame, upright, over white where it is transparent, in 8 bits and in sRGB. docs/images.md says the rest.

    Args:
        file: Read from its beginning.
        keep_icc: Leave pixels with an RGB profile in it, and keep it.
        resolution: Fit the pixels to so many a side; a large JPEG is then decoded at a reduced scale, which is several
            times faster.

    Raises:
        UnreadableImage: No image, a damaged one, or of a kind that cannot be shown.
        ImageSize: A side is not 8..16,384 pixels, or the area above 2**26; told before any pixel is decoded.
    """
    with _refusals():
        raster = _decode(file if file.seekable() else io.BytesIO(file.read()), check_size, resolution)
        colours, icc = raster.colours(keep_icc)
        if resolution is None:
            return Picture(np.array(raster.upright(colours)), icc)
        pixels = np.asarray(colours)
        fitted = fit_reduced(pixels, raster.full[::-1], resolution) if raster.full else fit(pixels, resolution)
        return Picture(np.array(raster.upright(Image.fromarray(fitted))), icc, raster.size)


def picture_of(image: Image.Image, *, keep_icc: bool = False) -> Picture:
    """The picture in a Pillow image of any mode and size; one that was opened and not yet loaded, as its file has it.

    Raises UnreadableImage for what is damaged or cannot be shown.
    """
    with _refusals():
        if file := _file_of(image):
            raster = _decode(file, lambda width, height: None)
        else:
            image.load()
            raster = Raster.of(image)
        colours, icc = raster.colours(keep_icc)
        return Picture(np.array(raster.upright(colours)), icc)


def _file_of(image: Image.Image) -> BinaryIO | None:
    """The file of a Pillow image whose first frame was not decoded yet, if we read such files."""
    if isinstance(image, ImageFile.ImageFile) and image.tile and not image.tell() and image.format in _KNOWN:
        return cast(BinaryIO | None, image.fp)
    return None


def _decode(file: BinaryIO, check: Callable[[int, int], None], resolution: int | None = None) -> Raster:
    """What a file holds.

    Args:
        file: One that can be sought in.
        check: Told width and height before pixels are decoded.
        resolution: How many pixels a side are wanted; several times as many are enough. None: all.
    """
    file.seek(0)
    if file.read(len(png.MAGIC)) == png.MAGIC:
        return png.read(file, check)
    file.seek(0)
    with Image.open(file, formats=_FORMATS) as image:
        assert isinstance(image, ImageFile.ImageFile)
        if isinstance(image, TiffImageFile):
            tiff.turn_to_full_page(image)
        size = image.size
        check(*size)
        if resolution is not None:
            image.draft(None, (_AMPLE * resolution, _AMPLE * resolution))  # which JPEG alone can
        full = size if image.size != size else None
        raster = _READERS[image.format or ""](image)
        raster.full = full
        return raster


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn whatever Pillow raises within the block into UnreadableImage or ImageSize, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hostile file is not to write on the terminal
            yield
    except (DdnError, MemoryError):  # which says nothing of the file
        raise
    except Image.DecompressionBombError:
        raise ImageSize(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImage("not an image, or not of a kind that can be read") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise UnreadableImage(f"the image cannot be decoded: {reason(error)}") from None
