"""Image files <-> arrays: colour, orientation, profiles, transparency, size. Needs no torch.

`docs/images.md` says what is read, what is refused, and why. Each format has a module, which hands over a `Raster`.
What reads files is imported on its first use: a decoder, which writes them, starts faster.
"""

from typing import TYPE_CHECKING

from ddncodec.lazy import lazily

if TYPE_CHECKING:
    from ddncodec.images.picture import MAX_PIXELS, MAX_SIDE, MIN_SIDE, Picture, Pixels, check_size, fit, grid
    from ddncodec.images.reading import READ_SUFFIXES, picture_of, read_picture
    from ddncodec.images.writing import format_of, srgb_pixels, write_picture

__all__ = [
    "MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "READ_SUFFIXES", "Picture", "Pixels", "check_size", "fit", "format_of",
    "grid", "picture_of", "read_picture", "srgb_pixels", "write_picture",
]


if not TYPE_CHECKING:  # else it would seem to have any name
    __getattr__ = lazily(__name__, {
        "picture": ("MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "Picture", "Pixels", "check_size", "fit", "grid"),
        "reading": ("READ_SUFFIXES", "picture_of", "read_picture"),
        "writing": ("format_of", "srgb_pixels", "write_picture"),
    })
