"""BMP, with two corrections of how Pillow reads it."""

from PIL import ImageFile, ImagePalette

from ddncodec.images.raster import Raster

_CORE_HEADER = 12  # bytes of the oldest header, where the depth stands elsewhere
_PALETTED = {4: "P;4", 8: "P"}  # bits a sample -> Pillow's name for such data


def read(image: ImageFile.ImageFile) -> Raster:
    """The picture of an opened BMP file. Raises what Pillow raises."""
    assert image.fp is not None
    image.fp.seek(14)
    header = image.fp.read(16)
    bits = int.from_bytes(header[10:12] if header[0] == _CORE_HEADER else header[14:16], "little")
    if image.mode == "1" and bits in _PALETTED:  # a palette of black and white: Pillow takes its indices for bits
        image._mode, image.palette = "P", ImagePalette.raw("RGB", b"\0\0\0\xff\xff\xff")
        image.tile = [tile._replace(args=(_PALETTED[bits], *(tile.args or ())[1:])) for tile in image.tile]
    image.load()
    raster = Raster.of(image)
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):  # a program that wrote no opacity
        raster.image = image.convert("RGB")
    return raster
