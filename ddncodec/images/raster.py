"""What an image file holds, once decoded: the common ground of the formats."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Image import Transpose

from ddncodec.errors import UnreadableImage
from ddncodec.images.colour import is_rgb_profile, to_srgb

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)


@dataclass
class Raster:
    """Decoded samples and how to show them.

    Attributes:
        image: Loaded, of 8 bits a sample.
        icc: The profile of its colours; None is sRGB.
        opacity: Mode L, of the image's size, where the image does not hold it itself.
        orientation: As EXIF numbers them, 1 to 8; anything else is upright too.
        full: (width, height) as stored, where the image is a reduced copy.
    """

    image: Image.Image
    icc: bytes | None = None
    opacity: Image.Image | None = None
    orientation: int = 1
    full: tuple[int, int] | None = None

    @classmethod
    def of(cls, image: Image.Image) -> "Raster":
        """What Pillow says of a loaded image."""
        return cls(image, image.info.get("icc_profile"), orientation=orientation(image.info.get("exif")))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright image at full scale."""
        width, height = self.full or self.image.size
        return (width, height) if self.orientation in _LYING else (height, width)

    def colours(self, keep_icc: bool) -> tuple[Image.Image, bytes | None]:
        """The image in RGB, over white, and the profile that it is in still. It may be not upright.

        Colours are converted before transparency is blended, as viewers do. Raises UnreadableImage where samples have
        no fixed black and white.
        """
        colours, opacity = _apart(self.image)
        opacity = self.opacity or opacity
        if colours.mode == "L" and is_rgb_profile(self.icc):
            colours = colours.convert("RGB")
        keeps = keep_icc and colours.mode == "RGB" and is_rgb_profile(self.icc)
        if self.icc and not keeps:
            colours = to_srgb(colours, self.icc)
        if colours.mode != "RGB":
            colours = colours.convert("RGB")
        if opacity is not None:
            colours = Image.composite(colours, Image.new("RGB", colours.size, "white"), opacity)
        return colours, self.icc if keeps else None

    def upright(self, image: Image.Image) -> Image.Image:
        """An image that lies as the raster's does, put upright."""
        return image.transpose(_UPRIGHT[self.orientation]) if self.orientation in _UPRIGHT else image


def orientation(exif: bytes | None) -> int:
    """The orientation that EXIF data state, 1 where there is none or it cannot be read."""
    parsed = Image.Exif()
    try:
        parsed.load(exif or b"")
        return int(parsed.get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF does not make an image unreadable
        return 1


def eight_bits(samples: npt.NDArray[Any], white: int) -> Image.Image:
    """Samples of 0 (black) to `white`, unsigned, (H, W) or (H, W, 3), in mode L or RGB; more than white is white."""
    table = ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)
    return Image.fromarray(table[np.minimum(samples, white)])


def _apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in L, RGB or CMYK, and the opacity if the image has any, of a Pillow image of any mode."""
    if image.mode == "F":
        raise UnreadableImage("the image has floating-point samples, which have no fixed white")
    if image.mode == "I":
        raise UnreadableImage("the image has samples of 32 bits, which have no fixed white")
    if image.mode.startswith("I;16"):
        return eight_bits(np.asarray(image), 65_535), None
    colours = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        return image.convert(colours), image.getchannel("A")
    return image if image.mode in ("CMYK", colours) else image.convert(colours), None
