"""Pictures: 8-bit pixels in memory, their limits, and their size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Image import Resampling

from ddncodec.errors import ImageSize

Pixels = npt.NDArray[np.uint8]

MIN_SIDE = 8
MAX_SIDE = 16_384
MAX_PIXELS = 2**26


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of an image.

    Attributes:
        pixels: (H, W, 3), uint8, in sRGB unless `icc` is given.
        icc: The RGB profile that the pixels are in.
        fitted_from: (height, width) of the image whose pixels were fitted to another size, if they were.
    """

    pixels: Pixels
    icc: bytes | None = None
    fitted_from: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.fitted_from or (self.pixels.shape[0], self.pixels.shape[1])


def fit(pixels: Pixels, size: int | tuple[int, int]) -> Pixels:
    """Resample H x W x 3 pixels to `size`, (height, width) or one number for both.

    Area averages where no side grows, bicubic otherwise; the same array if the size is the same.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    method = Resampling.BOX if shrinks else Resampling.BICUBIC
    return np.array(Image.fromarray(pixels).resize((width, height), method))


def fit_reduced(pixels: Pixels, full: tuple[int, int], side: int) -> Pixels:
    """Fit a copy at 1/2, 1/4 or 1/8 of an image to a square, as `fit` would the image.

    Args:
        pixels: (H, W, 3), each the mean of an area of the image; the last ones of a row and column, of what is left.
        full: (height, width) of the image.
        side: Of the square, smaller than H and W. Areas are averaged exactly: `fit` takes pixels as wholes, which those
            of a copy are too few for.
    """
    height, width, channels = pixels.shape
    rows = _averaged(pixels.reshape(height, -1), full[0], side).reshape(side, width, channels)
    columns = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(width, -1)
    means = _averaged(columns, full[1], side).reshape(side, side, channels).transpose(1, 0, 2)
    fitted: Pixels = np.rint(means).astype(np.uint8)
    return fitted


def _averaged(pixels: npt.NDArray[Any], full: int, cells: int) -> npt.NDArray[np.float32]:
    """The means (cells, N) of equal parts of what `full` rows have, of which `pixels` (H, N) is a reduced copy."""
    means = np.empty((cells, pixels.shape[1]), np.float32)
    for mean, (part, shares) in zip(means, _shares(len(pixels), full, cells), strict=True):
        np.matmul(shares, pixels[part].astype(np.float32), out=mean)
    return means


@lru_cache(maxsize=16)
def _shares(count: int, full: int, cells: int) -> list[tuple[slice, npt.NDArray[np.float32]]]:
    """Of each of so many equal cells, which pixels of a reduced copy are in it, and the share of each."""
    pixels = np.minimum(np.arange(count + 1) * round(full / count), full)  # their borders, in pixels of the image
    borders = np.linspace(0, full, cells + 1)[:, None]
    overlaps = np.minimum(borders[1:], pixels[1:]) - np.maximum(borders[:-1], pixels[:-1])
    shares = (overlaps.clip(0) * cells / full).astype(np.float32)
    touched = [np.flatnonzero(row) for row in shares]  # a few that stand together
    return [(part := slice(some[0], some[-1] + 1), row[part]) for some, row in zip(touched, shares, strict=True)]


def grid(images: Sequence[Pixels], columns: int) -> Pixels:
    """Images of one size, row by row in so many columns; white where the last row ends early."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.full((rows, columns, height, width, 3), 255, np.uint8)
    for index, image in enumerate(images):
        sheet[divmod(index, columns)] = image
    return np.ascontiguousarray(sheet.transpose(0, 2, 1, 3, 4)).reshape(rows * height, columns * width, 3)


def check_size(width: int, height: int) -> None:
    """Raise ImageSize unless each side is 8..16,384 pixels and the area <= 2**26."""
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise ImageSize(f"the image has {width} x {height} pixels; each side must be {MIN_SIDE} to {MAX_SIDE}")
    if width * height > MAX_PIXELS:
        raise ImageSize(f"the image has {width} x {height} pixels; the limit is {MAX_PIXELS:,} in all")
