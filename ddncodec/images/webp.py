"""WebP: transparency around the first frame of an animation."""

from PIL.WebPImagePlugin import WebPImageFile

from ddncodec.images.raster import Raster


def read(image: WebPImageFile) -> Raster:
    """The picture, or first frame, of an opened WebP file. Raises what Pillow raises."""
    if image.is_animated and image.mode == "RGB":  # a frame may be smaller than its canvas
        image.rawmode = image._mode = "RGBA"
    image.load()
    return Raster.of(image)
