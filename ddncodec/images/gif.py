"""GIF: the first frame alone, transparent where it leaves its canvas free."""

from io import BytesIO
from typing import IO

from PIL import Image, ImageFile

from ddncodec.errors import UnreadableImage
from ddncodec.images.raster import Raster

_EXTENSION, _IMAGE = b"!", b","
_CONTROL = b"\xf9"  # the extension that names the transparent colour


def read(image: ImageFile.ImageFile) -> Raster:
    """The first frame of an opened GIF file. Raises UnreadableImage, and what Pillow raises."""
    assert image.fp is not None
    with Image.open(BytesIO(_first_frame(image.fp)), formats=["GIF"]) as frame:
        assert isinstance(frame, ImageFile.ImageFile)
        extents = frame.tile[0][1]
        frame.load()
    raster = Raster.of(frame)
    if extents != (0, 0, *frame.size):
        raster.opacity = Image.new("L", frame.size, 0)
        raster.opacity.paste(frame.convert("RGBA").getchannel("A").crop(extents), extents)
    return raster


def _first_frame(file: IO[bytes]) -> bytes:
    """A GIF file of the first frame alone: where that ends early, Pillow would take what follows for pixels."""
    file.seek(0)
    screen = file.read(13)
    parts = [screen, _palette(file, screen[10])]
    while (kind := file.read(1)) == _EXTENSION:
        label = file.read(1)
        blocks = _blocks(file)
        if label == _CONTROL:
            parts[2:] = [kind, label, blocks]
    place = file.read(9)
    if kind != _IMAGE or len(place) < 9:
        raise UnreadableImage("the GIF file has no image")
    parts += [kind, place, _palette(file, place[8]), file.read(1), _blocks(file), b";"]
    return b"".join(parts)


def _palette(file: IO[bytes], flags: int) -> bytes:
    return file.read(3 << (flags & 7) + 1) if flags & 0x80 else b""


def _blocks(file: IO[bytes]) -> bytes:
    """Blocks that begin with their size, up to an empty one, which may be missing at the end of the file."""
    blocks = bytearray()
    while (size := file.read(1)) not in (b"", b"\0"):
        blocks += size + file.read(size[0])
    return bytes(blocks) + b"\0"
