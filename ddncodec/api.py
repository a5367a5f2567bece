"""Images <-> the bytes of .ddn files, by a model's name; each model is loaded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from os import PathLike
from typing import TypeAlias

from ddncodec import container, zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.encoding import Request, coders_of, encode_pictures
from ddncodec.errors import DdnError
from ddncodec.images import Picture, Pixels, srgb_pixels
from ddncodec.inputs import AnyImage, pixels_of_batch
from ddncodec.weights import WeightsInfo

Model: TypeAlias = str | PathLike[str] | Codec  # what the functions of the package take
Models: TypeAlias = Model | Sequence[Model]  # what those that encode take


def encode(image: AnyImage, model: Models = zoo.DEFAULT, levels: int | None = None, effort: int | None = None, *,
           max_bytes: int | None = None, psnr: float | None = None, bare: bool = False) -> bytes:
    """Encode an image to the bytes of a .ddn file; `decode` is the inverse.

    Args:
        image: A NumPy array of uint8 (H×W×3, H×W grey, H×W×4 RGBA), a PIL image, or a torch tensor (3×H×W in [0, 1]).
        model: A model's name, the path of a weights file, or a codec; a sequence of them, or auto, all that ship and
            are unconditional, encodes by each, which takes the time of all, and keeps the file of the nearest picture.
            Weights are loaded on the first call alone.
        levels: How many levels to encode, 1 to L; None: all.
        effort: How hard to search, 1 to 3, as in `Codec.encode_batch`; it costs encode time alone. None: the highest
            that the model has below 3, which takes ten times as long.
        max_bytes: The most bytes of the whole file, which gets the longest prefix that fits. None: any number.
        psnr: In dB, above 0: the smallest file that some `max_bytes` gives and whose picture is that near to the
            original, both at the model's resolution; all levels where none is. It costs a decoding for each size
            below. None: all levels.
        bare: Make a bare stream, of two bytes more than the picks at most: no checksum, no model's name, of the size
            only the aspect ratio. `to_text` makes it text.

    Returns:
        The whole file.

    Raises:
        TypeError: The image is of another kind.
        ValueError: The image has another shape or range; levels, effort or psnr is out of range; there is no model, or
            there are several for a bare stream.
        UnreadableImage: A PIL image cannot be decoded.
        TooFewBytes: max_bytes do not hold one level.
        AbsurdSize: The image has more than 65,535 pixels a side or 2**26 in all.
        UnknownWeights: There is no such model, or it is conditional.
        BadCheckpoint: The weights file is damaged or none.

    Examples:
        >>> import ddncodec, numpy as np
        >>> data = ddncodec.encode(np.full((48, 40, 3), 200, np.uint8))
        >>> len(data)
        160
        >>> ddncodec.decode(data).shape
        (48, 40, 3)
        >>> len(ddncodec.encode(np.full((48, 40, 3), 200, np.uint8), max_bytes=60))
        60
    """
    return encode_batch([image], model, levels, effort, max_bytes=max_bytes, psnr=psnr, bare=bare)[0]


def decode(data: bytes | str, model: Model | None = None, *, partial: bool = False, bare: bool = False,
           look: str | None = None) -> Pixels:
    """Decode the bytes of a .ddn file to an image; the inverse of `encode`.

    Args:
        data: The whole file; with `bare` a bare stream, or its text.
        model: The name, the weights file or the codec that it was made with; None: the shipped weights that it names.
        partial: Take the whole levels of a file that broke off, whose checksum is lost.
        bare: The data are a bare stream of `model`, which must be given.
        look: How to draw what the picks leave open: `faithful`, nearest to the original on average and so soft, or
            `natural`, with detail that is likely. None: as the codec does, or else `faithful`.

    Returns:
        The image at the original's size, H×W×3, uint8, in sRGB; a bare stream's has the original's aspect ratio, and
        the model's resolution on its longer side.

    Raises:
        ValueError: `bare` without a model.
        UnknownWeights: The file was made with other weights or, without `model`, with none that ship; or they have no
            such look.
        BadCheckpoint: The weights file is damaged or none.
        DdnError: The file is damaged or none; docs/format.md lists the kinds.

    Examples:
        >>> import ddncodec, numpy as np
        >>> data = ddncodec.encode(np.zeros((64, 64), np.uint8), levels=100)
        >>> ddncodec.decode(data).shape
        (64, 64, 3)
    """
    return decode_batch([data], model, partial=partial, bare=bare, look=look)[0]


def encode_batch(images: Iterable[AnyImage], model: Models = zoo.DEFAULT, levels: int | None = None,
                 effort: int | None = None, *, max_bytes: int | None = None, psnr: float | None = None,
                 bare: bool = False) -> list[bytes]:
    """`encode` several images at once, which is faster; memory grows with their number, and 64 is a good one.

    Args:
        images: A list of images of any sizes and kinds, an array N×H×W×3 or a tensor N×3×H×W.
        model: As in `encode`.
        levels: As in `encode`.
        effort: As in `encode`.
        max_bytes: As in `encode`.
        psnr: As in `encode`.
        bare: As in `encode`.

    Returns:
        A whole file for each image.

    Raises:
        TypeError: As in `encode`.
        ValueError: As in `encode`.
        DdnError: Each kind as in `encode`.

    Examples:
        >>> import ddncodec, torch
        >>> files = ddncodec.encode_batch(torch.rand(3, 3, 64, 64), effort=1)
        >>> [len(file) for file in files]
        [160, 160, 160]
    """
    codecs = coders_of(model, _loaded)
    if bare and len(codecs) > 1:
        raise ValueError("a bare stream does not say which of several models made it")
    pictures = [Picture(pixels) for pixels in pixels_of_batch(images)]
    files = []
    for encoded in encode_pictures(codecs, pictures, Request(levels, effort, max_bytes, psnr, bare=bare)):
        if isinstance(encoded, DdnError):
            raise encoded
        files.append(encoded.data)
    return files


def decode_batch(data: Iterable[bytes | str], model: Model | None = None, *, partial: bool = False, bare: bool = False,
                 look: str | None = None) -> list[Pixels]:
    """`decode` several files of one model at once, which is faster; the inverse of `encode_batch`.

    Args:
        data: Whole files.
        model: As in `decode`; None: the shipped weights that the first file names.
        partial: As in `decode`.
        bare: As in `decode`.
        look: As in `decode`.

    Returns:
        The image of each file at its original's size, H×W×3, uint8, in sRGB.

    Raises:
        ValueError: As in `decode`.
        UnknownWeights: As in `decode`; also where the files are not of one model.
        BadCheckpoint: As in `decode`.
        DdnError: As in `decode`.

    Examples:
        >>> import ddncodec, numpy as np
        >>> files = ddncodec.encode_batch([np.zeros((30, 20, 3), np.uint8), np.zeros((64, 64), np.uint8)])
        >>> [image.shape for image in ddncodec.decode_batch(files)]
        [(30, 20, 3), (64, 64, 3)]
    """
    files = [file.encode("ascii", "replace") if isinstance(file, str) else file for file in data]
    if bare:
        if model is None:
            raise ValueError("a bare stream does not name its model: give it")
        codec = codec_of(model, look)
        return [srgb_pixels(picture) for picture in codec.to_pictures([codec.info.bare_stream(file) for file in files])]
    streams = [container.partial_from_bytes(file).stream if partial else container.from_bytes(file) for file in files]
    if not streams:
        return []
    codec = _loaded(zoo.find_id(streams[0].weights_id), look) if model is None else codec_of(model, look)
    return [srgb_pixels(picture) for picture in codec.to_pictures(streams)]


def codec_of(model: Model, look: str | None = None) -> Codec:
    """The codec itself, or the one of a name or a path, loaded on the first call; in a look, where one is named.

    Raises like `load_model` and `Codec.with_look`.
    """
    if isinstance(model, Codec):
        return model if look is None else model.with_look(look)
    return _loaded(zoo.find(model), look)


def _loaded(info: WeightsInfo, look: str | None = None) -> Codec:
    return _faithful(info) if look is None else _in_look(info, look)


@lru_cache(maxsize=8)
def _faithful(info: WeightsInfo) -> Codec:
    return load_weights(info)


@lru_cache(maxsize=8)
def _in_look(info: WeightsInfo, look: str) -> Codec:
    return _faithful(info).with_look(look)
