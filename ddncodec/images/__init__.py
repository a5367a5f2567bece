"""Image files <-> arrays: colour, orientation, profiles, transparency, size. Needs no torch.

`docs/images.md` says what is read, what is refused, and why. Each format has a module, which hands over a `Raster`.
"""

from ddncodec.images.picture import MAX_PIXELS, MAX_SIDE, MIN_SIDE, Picture, Pixels, check_size, fit, grid
from ddncodec.images.reading import READ_SUFFIXES, picture_of, read_picture, reason
from ddncodec.images.writing import format_of, srgb_pixels, write_picture

__all__ = [
    "MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "READ_SUFFIXES", "Picture", "Pixels", "check_size", "fit", "format_of",
    "grid", "picture_of", "read_picture", "reason", "srgb_pixels", "write_picture",
]
