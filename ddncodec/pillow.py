"""Pillow reads and writes .ddn files once this module is imported.

    import ddncodec.pillow
    from PIL import Image
    image = Image.open("face.ddn")
    image.save("again.ddn", max_bytes=60)

An image is opened without decoding it. Loading takes the exported decoder where there is one and onnxruntime is
installed, and else torch; saving likewise the exported encoder.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from ddncodec import container, zoo
from ddncodec.coding import StreamCoder
from ddncodec.decoding import StreamDecoder
from ddncodec.errors import DdnError, UnknownWeights
from ddncodec.exported import exported, exported_coder
from ddncodec.images import fit, picture_of
from ddncodec.looks import FAITHFUL
from ddncodec.weights import WeightsInfo

if TYPE_CHECKING:
    from ddncodec.codec import Codec

FORMAT = "DDN"
MIME_TYPE = "image/x-ddn"
EXTENSION = ".ddn"

_own: dict[bytes, WeightsInfo] = {}  # by id


class DdnImageFile(ImageFile.ImageFile):
    """A .ddn file as Pillow's `Image.open` gives it: mode RGB, at the original's size.

    `info` has `weights` (the id, hexadecimal), `model` (its name; None if it is not here), `levels` (how many there are
    in the file), and where the file has them `icc_profile` and `comment`, text of unknown origin.

    A file that broke off opens too. Loading it raises OSError, or, if `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` is set,
    draws the whole levels that there are, unchecked.

    Raises:
        UnidentifiedImageError: On opening: it is damaged, or none.
        OSError: On loading: it broke off, or its weights are not here.
    """

    format = FORMAT
    format_description = "ddncodec image"
    _decoded = True  # but while it is open and not yet loaded

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read(container.MAX_FILE + 1)
        try:
            self._found = container.partial_from_bytes(data)
        except DdnError as error:
            raise UnidentifiedImageError(str(error)) from error
        self._bytes = len(data)
        self._levels: int | None = None  # all
        self._look = FAITHFUL
        self._decoded = False
        stream = self._found.stream
        self._size = stream.width, stream.height
        self._mode = "RGB"
        info = _known(stream.weights_id)
        self.info |= {"weights": stream.weights_hex, "model": info and info.name, "levels": stream.latent.levels}
        if stream.icc:
            self.info["icc_profile"] = stream.icc
        if stream.comment is not None:
            self.info["comment"] = stream.comment

    def draft(self, mode: str | None, size: tuple[int, int] | None, levels: int | None = None, look: str | None = None
              ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Have the image loaded smaller, coarser or with another look, said before it is loaded; as Pillow's draft.

        Args:
            mode: Has no effect: the image is RGB.
            size: (width, height) that it is wanted at. It will be at least as large as that in both, of its aspect
                ratio, and no larger than the original.
            levels: Decode the first so many alone, 1 or more; None: all.
            look: Draw with this look of the model; None: `faithful`. Loading raises OSError where it has no such look.

        Returns:
            The mode, and the box (0, 0, width, height) of the image; None where nothing is left to change.

        Raises:
            ValueError: A number is below 1.
        """
        if min(size or (1, 1)) <= 0 or (levels is not None and levels < 1):
            raise ValueError(f"size and levels must be above 0, not {size} and {levels}")
        if self._decoded:
            return None
        self._levels, self._look = levels or self._levels, look or self._look
        if size:
            width, height = self.size
            scale = min(1, max(size[0] / width, size[1] / height))
            self._size = max(1, ceil(width * scale)), max(1, ceil(height * scale))
        return self.mode, (0, 0, *self.size)

    def load(self) -> Any:
        """Decode the image, if that was not done yet. Raises OSError."""
        if not self._decoded:
            self._require_whole()
            stream = self._found.stream
            try:
                decoder = _decoder(_known(stream.weights_id) or zoo.find_id(stream.weights_id), self._look)
                (pixels,) = decoder.decode_streams([stream], self._levels)
            except DdnError as error:
                raise OSError(str(error)) from error
            self.im = Image.fromarray(fit(pixels, self.size[::-1])).im
            self.readonly = 0
            self._decoded = True
            if self._exclusive_fp and self.fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def verify(self) -> None:
        """Check that the file is whole; opening it has checked the rest. Raises OSError."""
        self._require_whole()
        super().verify()

    def _require_whole(self) -> None:
        if self._bytes < self._found.bytes and not ImageFile.LOAD_TRUNCATED_IMAGES:
            raise OSError(f"image file is truncated: {self._bytes:,} of {self._found.bytes:,} bytes, "
                          f"{self._found.stream.latent.levels:,} of {self._found.levels:,} levels")


def register() -> None:
    """Let Pillow read and write .ddn files; importing the module does it."""
    Image.register_open(FORMAT, DdnImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME_TYPE)


def use(weights: str | PathLike[str]) -> None:
    """Let Pillow decode files of weights that do not ship: of a model of one's own.

    Args:
        weights: The path of the weights file.

    Raises:
        UnknownWeights: There is no such file.
        BadCheckpoint: The weights file is damaged or none.
    """
    info = zoo.find(weights)
    _own.update(dict.fromkeys(info.ids, info))


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image; `save`'s options are those of `ddncodec.encode`, `comment` and `keep_icc`."""
    from ddncodec.encoding import Encoded, Request, coders_of, encode_pictures

    options: dict[str, Any] = image.encoderinfo
    request = Request(options.get("levels"), options.get("effort"), options.get("max_bytes"), options.get("psnr"),
                      options.get("comment"))
    try:
        coders = coders_of(options.get("model", zoo.DEFAULT), _coder)
        picture = picture_of(image, keep_icc=options.get("keep_icc", False))
        (result,) = encode_pictures(coders, [picture], request)
    except DdnError as error:
        raise OSError(str(error)) from error
    if not isinstance(result, Encoded):
        raise OSError(str(result)) from result
    file.write(result.data)


def _known(weights_id: bytes) -> WeightsInfo | None:
    try:
        return _own.get(weights_id) or zoo.find_id(weights_id)
    except UnknownWeights:
        return None


@lru_cache(maxsize=8)
def _decoder(info: WeightsInfo, look: str) -> StreamDecoder:
    return exported(info, look=look) or _codec(info).with_look(look)


@lru_cache(maxsize=8)
def _coder(info: WeightsInfo) -> StreamCoder:
    return exported_coder(info) or _codec(info)


@lru_cache(maxsize=8)
def _codec(info: WeightsInfo) -> Codec:
    from ddncodec.codec import load_weights

    return load_weights(info)


register()
