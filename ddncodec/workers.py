"""Batches of images <-> .ddn files in worker processes: what multiprocessing, Ray and Spark are given.

An `Encoder` or a `Decoder` is its arguments and nothing else, so that it travels to other processes in a few bytes. The
weights are loaded where it is first used, once in each process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from io import BytesIO
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ddncodec import container, zoo
from ddncodec.batches import BATCH, halved, made
from ddncodec.container import Stream
from ddncodec.encoding import Encoded, Request, encode_pictures
from ddncodec.errors import DdnError, UnreadableImage, memory_errors
from ddncodec.exported import exported, exported_coder
from ddncodec.images import Picture, Pixels, read_picture, write_picture
from ddncodec.inputs import AnyImage, pixels_of
from ddncodec.weights import WeightsInfo

if TYPE_CHECKING:
    from ddncodec.codec import Codec
    from ddncodec.coding import StreamCoder
    from ddncodec.decoding import StreamDecoder

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")
Image: TypeAlias = "bytes | AnyImage"  # bytes: of a PNG, JPEG or any other file that is read
MODELS = 8  # whose weights a process keeps


@dataclass(frozen=True, slots=True)
class Encoder:
    """Images to .ddn files, in whichever process it is called.

    Args:
        model: As `ddncodec encode --model`: a name, the path of a weights file, several with commas between them, auto.
        request: How long the files are to be, how hard to search, and whether they are bare.
        device: auto, cpu, cuda or cuda:n. On the CPU the exported encoder is used where there is one, without torch.
        keep_icc: Leave pixels with an RGB profile in it, and keep it.

    Examples:
        >>> import multiprocessing, pathlib
        >>> from ddncodec.encoding import Request
        >>> from ddncodec.workers import Encoder
        >>> encoder = Encoder("binddn", Request(levels=576, effort=1))
        >>> batch = [pathlib.Path("examples/face.png").read_bytes(), b"not an image"]
        >>> with multiprocessing.get_context("spawn").Pool(1) as pool:
        ...     (file, error), = pool.imap(encoder, [batch])
        >>> len(file), str(error)
        (88, 'not an image, or not of a kind that can be read')
    """

    model: str = zoo.DEFAULT
    request: Request = field(default_factory=Request)
    device: str = "auto"
    keep_icc: bool = False

    def __call__(self, images: Sequence[Image]) -> list[bytes | DdnError]:
        """The file of each image, or the error that says why there is none.

        Args:
            images: Any number, of any sizes.

        Raises:
            ValueError: The request asks for what the model does not have; there is no such device.
            UnknownWeights: There is no such model, or it is conditional.
            BadCheckpoint: The weights file is damaged or none.
        """
        return [one if isinstance(one, DdnError) else one.data for one in self.encode(images)]

    def encode(self, images: Sequence[Image]) -> list[Encoded | DdnError]:
        """As calling it, with all that is known of each file in the file's place."""
        infos = zoo.find_several(self.model)
        codecs = [_coder(info, self.device) for info in infos]
        read = partial(self._read, resolution=max(info.config.resolution for info in infos))
        return _each(images, read, lambda pictures: encode_pictures(codecs, pictures, self.request))

    def _read(self, image: Image, resolution: int) -> Picture:
        if isinstance(image, bytes):
            return read_picture(BytesIO(image), keep_icc=self.keep_icc, resolution=resolution)
        try:
            return Picture(pixels_of(image))
        except (TypeError, ValueError) as error:
            raise UnreadableImage(str(error)) from None


@dataclass(frozen=True, slots=True)
class Decoder:
    """.ddn files to image files, in whichever process it is called; the inverse of `Encoder`.

    Args:
        model: A model's name or the path of a weights file; None: the shipped weights that each file names.
        levels: How many levels to decode, where a file has more, 1 or more; None: all.
        bare: They are bare streams of `model`, which must be given.
        device: auto, cpu, cuda or cuda:n. On the CPU the exported decoder is used where there is one, without torch.
        kind: The format of the images, as Pillow calls it.

    Raises:
        ValueError: `bare` without a model.
    """

    model: str | None = None
    levels: int | None = None
    bare: bool = False
    device: str = "auto"
    kind: str = "PNG"

    def __post_init__(self) -> None:
        if self.bare and self.model is None:
            raise ValueError("a bare stream does not name its model: give it")

    def __call__(self, files: Sequence[bytes]) -> list[bytes | DdnError]:
        """The image file of each .ddn file, at the original's size, or the error that says why there is none.

        Args:
            files: Any number.

        Raises:
            ValueError: There is no such device.
            UnknownWeights: There is no such model.
            BadCheckpoint: The weights file is damaged or none.
        """
        parse = zoo.find(self.model).bare_stream if self.bare and self.model is not None else container.from_bytes
        return _each(files, parse, self.decode)

    def decode(self, streams: Sequence[Stream]) -> list[bytes | DdnError]:
        """As calling it, for streams that have been read."""
        results: dict[int, bytes | DdnError] = {}
        by_weights: dict[bytes, list[int]] = defaultdict(list)
        for number, stream in enumerate(streams):
            by_weights[stream.weights_id].append(number)
        for weights_id, numbers in by_weights.items():
            ours = [streams[number] for number in numbers]
            found = _attempt(zoo.find_id, weights_id) if self.model is None else zoo.find(self.model)
            images = [found] * len(ours) if isinstance(found, DdnError) else self._images(ours, found)
            results.update(zip(numbers, images, strict=True))
        return [results[number] for number in range(len(streams))]

    def _images(self, streams: Sequence[Stream], info: WeightsInfo) -> list[bytes | DdnError]:
        """The image files of streams that should be of these weights."""
        decoder = _decoder(info, self.device)

        def checked(stream: Stream) -> Stream:
            info.check(stream)
            return stream

        def written(drawn: tuple[Stream, Pixels | DdnError]) -> bytes:
            stream, pixels = drawn
            file = BytesIO()
            write_picture(decoder.to_picture(stream, made(pixels)), file, self.kind)
            return file.getvalue()

        drawn = _each(streams, checked, partial(decoder.decode_streams, levels=self.levels))
        return [_attempt(written, pair) for pair in zip(streams, drawn, strict=True)]


def _each(items: Sequence[T], prepare: Callable[[T], S], work: Callable[[Sequence[S]], Sequence[R | DdnError]]
          ) -> list[R | DdnError]:
    """What `work` makes of batches of what `prepare` makes of each; an error of one stands in its place."""
    results: list[R | DdnError] = []
    for first in range(0, len(items), BATCH):
        prepared = [_attempt(prepare, item) for item in items[first : first + BATCH]]
        good = [one for one in prepared if not isinstance(one, DdnError)]
        worked = iter(halved(good, work) if good else ())
        results += [one if isinstance(one, DdnError) else next(worked) for one in prepared]
    return results


def _attempt(work: Callable[[T], R], item: T) -> R | DdnError:
    """What `work` makes of an item, or why it refuses it."""
    try:
        with memory_errors():
            return work(item)
    except DdnError as error:
        return error


@lru_cache(maxsize=MODELS)
def _codec(info: WeightsInfo, device: str) -> Codec:
    from ddncodec.codec import load_weights

    return load_weights(info, device)


@lru_cache(maxsize=MODELS)
def _coder(info: WeightsInfo, device: str) -> StreamCoder:
    coder = exported_coder(info, many=True) if device in ("auto", "cpu") else None
    return coder or _codec(info, device)


@lru_cache(maxsize=MODELS)
def _decoder(info: WeightsInfo, device: str) -> StreamDecoder:
    decoder = exported(info, many=True) if device in ("auto", "cpu") else None
    return decoder or _codec(info, device)
