"""Pictures to image files."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ddncodec.errors import OutputFailed, reason
from ddncodec.images.picture import Picture, Pixels

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "PPM": {},
    "JPEG": {"quality": 95, "subsampling": 0},
}
_WITHOUT_ICC = ("BMP", "PPM")

_SUFFIXES = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


def format_of(path: Path) -> str:
    """The format that a file's suffix asks for, as `write_picture` takes it; else ValueError."""
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        known = ", ".join(suffix[1:] for suffix in _SUFFIXES)
        raise ValueError(f"cannot tell the image format of {path.name}; known: {known}") from None


def write_picture(picture: Picture, file: BinaryIO, format: str = "PNG") -> None:
    """Write an image file in a format of `format_of`: lossless, except JPEG at quality 95.

    Embeds the picture's profile, or converts to sRGB where the format has no place for one.
    Raises OutputFailed if the format cannot hold the picture, OSError if the file cannot.
    """
    image = Image.fromarray(picture.pixels)
    icc = picture.icc
    if icc and format in _WITHOUT_ICC:
        from ddncodec.images.colour import to_srgb  # imports LittleCMS, which few pictures want

        image, icc = to_srgb(image, icc), None
    options = _SAVE_OPTIONS[format] | ({"icc_profile": icc} if icc else {})
    encoded = io.BytesIO()  # so that a full disk is told as such, not as an encoder's error
    try:
        image.save(encoded, format, **options)
    except (OSError, ValueError) as error:
        raise OutputFailed(f"cannot write the image as {format}: {reason(error)}") from None
    file.write(encoded.getbuffer())


def srgb_pixels(picture: Picture) -> Pixels:
    """A picture's pixels in sRGB: H x W x 3, uint8."""
    if not picture.icc:
        return picture.pixels
    from ddncodec.images.colour import to_srgb

    return np.array(to_srgb(Image.fromarray(picture.pixels), picture.icc))
