"""Image files <-> arrays: colour, orientation, profiles, transparency, size. Needs no torch."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.Image import Resampling, Transpose

from ddncodec.errors import DdnError, ImageSize, OutputFailed, UnreadableImage

Pixels = npt.NDArray[np.uint8]

MIN_SIDE = 8
MAX_SIDE = 16_384
MAX_PIXELS = 2**26

# Raster formats with a signature; nothing that runs programs (EPS) or matches any bytes (TGA).
# JPEG includes MPO.
_READ_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "TIFF", "PPM")

# Which files of a folder are taken for images; what is in them decides how they are read.
READ_SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".avifs"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}

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


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels (H x W x 3, uint8), in sRGB unless `icc` is the RGB profile that they are in."""

    pixels: Pixels
    icc: bytes | None = None


def read_picture(file: BinaryIO, *, keep_icc: bool = False) -> Picture:
    """Decode an image file of any common raster format, as a viewer would show it.

    The first frame, upright, over white where it is transparent, 16-bit grey scaled to 8 bits,
    and in sRGB. With `keep_icc`, pixels with an embedded RGB profile stay in it and keep it.
    Raises UnreadableImage for what is no image, damaged, or of a kind that has no look (floats);
    ImageSize, before any pixel is decoded, unless each side is 8..16,384 and the area <= 2**26.
    """
    with _refusals(), Image.open(file, formats=_READ_FORMATS) as image:
        check_size(*image.size)
        return picture_of(image, keep_icc=keep_icc)


def picture_of(image: Image.Image, *, keep_icc: bool = False) -> Picture:
    """The picture in a Pillow image of any mode and size, as `read_picture` reads it from a file.

    Raises UnreadableImage for what cannot be decoded or has no look.
    """
    with _refusals():
        image.load()
        upright = _UPRIGHT.get(_orientation(image))
        icc = image.info.get("icc_profile")
        image = _flatten(image)
        if upright is not None:
            image = image.transpose(upright)
        keeps = keep_icc and image.mode == "RGB" and _is_rgb_profile(icc)
        if icc and not keeps:
            image = _to_srgb(image, icc)
        return Picture(np.array(image.convert("RGB")), icc if keeps else None)


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


def grid(images: Sequence[Pixels], columns: int) -> Pixels:
    """Images of one size, row by row in so many columns; white where the last row ends early."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.full((rows, columns, height, width, 3), 255, np.uint8)
    for index, image in enumerate(images):
        sheet[divmod(index, columns)] = image
    return np.ascontiguousarray(sheet.transpose(0, 2, 1, 3, 4)).reshape(rows * height, columns * width, 3)


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
        image, icc = _to_srgb(image, icc), None
    options = _SAVE_OPTIONS[format] | ({"icc_profile": icc} if icc else {})
    encoded = io.BytesIO()  # so that a full disk is told as such, not as an encoder's error
    try:
        image.save(encoded, format, **options)
    except (OSError, ValueError) as error:
        raise OutputFailed(f"cannot write the image as {format}: {reason(error)}") from None
    file.write(encoded.getbuffer())


def srgb_pixels(picture: Picture) -> Pixels:
    """A picture's pixels in sRGB: H x W x 3, uint8."""
    return np.array(_to_srgb(Image.fromarray(picture.pixels), picture.icc)) if picture.icc else picture.pixels


def check_size(width: int, height: int) -> None:
    """Raise ImageSize unless each side is 8..16,384 pixels and the area <= 2**26."""
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise ImageSize(
            f"the image has {width} x {height} pixels; each side must be {MIN_SIDE} to {MAX_SIDE}"
        )
    if width * height > MAX_PIXELS:
        raise ImageSize(
            f"the image has {width} x {height} pixels; the limit is {MAX_PIXELS:,} in all"
        )


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn whatever Pillow raises within the block into UnreadableImage or ImageSize, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hostile file is not to write on the terminal
            yield
    except (DdnError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageSize(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImage("not an image, or not of a kind that can be read") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise UnreadableImage(f"the image cannot be decoded: {reason(error)}") from None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF does not make an image unreadable
        return 1


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode as 8 bits a channel and opaque: L, CMYK or RGB."""
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode == "F":
        raise UnreadableImage("the image has floating-point pixels, which have no fixed white")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "CMYK" else image.convert("L" if grey else "RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """16-bit grey, which Pillow's own conversion would clip, as L."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImage("the image has integer pixels beyond 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _is_rgb_profile(icc: bytes | None) -> bool:
    try:
        profile = ImageCms.getOpenProfile(io.BytesIO(icc or b""))
    except (ImageCms.PyCMSError, OSError):
        return False
    return profile.profile.xcolor_space.strip() == "RGB"


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """The image taken from its profile to sRGB; unchanged if the profile is broken or not its."""
    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # browsers ignore such a profile too
        return image
    return converted or image


def reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
