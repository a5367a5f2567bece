"""Pictures -> the bytes of .ddn files, as long as is asked for, by the model that suits each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import NamedTuple, TypeAlias

from ddncodec import bare, container, zoo
from ddncodec.coding import Near, StreamCoder
from ddncodec.container import Stream
from ddncodec.effort import CLOSED_LOOP
from ddncodec.errors import DdnError
from ddncodec.images import Picture, Pixels, fit
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.sizes import ladder, longest
from ddncodec.weights import WeightsInfo

Model: TypeAlias = str | PathLike[str] | StreamCoder


@dataclass(frozen=True, slots=True)
class Request:
    """What a file is to be. Each limit holds together with the others.

    Args:
        levels: The first so many; None: all.
        effort: As in `StreamCoder.encode_batch`.
        max_bytes: Of the whole file: the longest prefix that fits.
        psnr: In dB: the smallest file that `max_bytes` could give and whose picture is that near to the original, at
            the model's resolution; the longest where none is.
        comment: Kept in the file.
        bare: A bare stream in the file's place, without comment and profile.

    Raises:
        ValueError: psnr is not a finite number above 0.
    """

    levels: int | None = None
    effort: int | None = None
    max_bytes: int | None = None
    psnr: float | None = None
    comment: str | None = None
    bare: bool = False

    def __post_init__(self) -> None:
        if self.psnr is not None and not 0 < self.psnr < math.inf:
            raise ValueError(f"psnr must be a finite number above 0, not {self.psnr}")


class Encoded(NamedTuple):
    """A file, and what was reached.

    data: the file. stream: what it holds. codec: whose weights made it. psnr: of its picture to the original, both at
    the model's resolution, in dB. pixels: of that picture, R×R×3. Both None where nothing asked for them.
    """

    data: bytes
    stream: Stream
    codec: StreamCoder
    psnr: float | None
    pixels: Pixels | None


def coders_of(model: Model | Sequence[Model], load: Callable[[WeightsInfo], StreamCoder]) -> list[StreamCoder]:
    """The coders of one model, of several, or of `auto`.

    Args:
        model: A name, the path of a weights file, or a coder; or several.
        load: Gives the coder of weights.

    Raises:
        ValueError: There is no model.
        UnknownWeights, BadCheckpoint: As `zoo.find`, and what `load` raises.
    """
    if model == zoo.AUTO:
        return [load(info) for info in zoo.unconditional()]
    each = [model] if isinstance(model, str | PathLike | StreamCoder) else model
    if not each:
        raise ValueError("there must be a model")
    return [one if isinstance(one, StreamCoder) else load(zoo.find(one)) for one in each]


def encode_pictures(codecs: Sequence[StreamCoder], pictures: Sequence[Picture], request: Request, measured: bool = False
                    ) -> list[Encoded | DdnError]:
    """Encode pictures, each of which may fail alone, and each by the model that brings it back best.

    That is the one that reaches `request.psnr` in the fewest bytes, or else whose picture is the nearest. Pictures of
    models of different resolutions are compared at the largest of these.

    Args:
        codecs: Of unconditional models, one or more: the time is that of all.
        pictures: Of any sizes, or fitted to the largest of the resolutions.
        request: How long the files are to be; of its levels, a model with fewer gives all.
        measured: Decode the files too, so that their PSNR is known.

    Returns:
        A file for each picture, or why there is none.

    Raises:
        ValueError: The levels or the effort are out of range.
        UnknownWeights: A model is conditional.
    """
    several = len(codecs) > 1
    by_model = [_encode(codec, pictures, _within(request, codec) if several else request, measured or several)
                for codec in codecs]
    side = max(codec.resolution for codec in codecs)
    return [_best(picture, found, request.psnr, side)
            for picture, found in zip(pictures, zip(*by_model, strict=True), strict=True)]


def _within(request: Request, codec: StreamCoder) -> Request:
    return replace(request, levels=None if request.levels is None else min(request.levels, codec.levels))


def _encode(codec: StreamCoder, pictures: Sequence[Picture], request: Request, measured: bool
            ) -> list[Encoded | DdnError]:
    looped = request.effort == CLOSED_LOOP
    latents = codec.encode_batch([picture.pixels for picture in pictures], request.levels,
                                 None if looped else request.effort)
    results: dict[int, Encoded | DdnError] = {}
    streams: dict[int, Stream] = {}
    steps: list[list[int]] = []  # for each stream, the numbers of levels that it may get, rising
    for number, (picture, latent) in enumerate(zip(pictures, latents, strict=True)):
        try:
            stream = codec.to_stream(picture, latent, request.comment)
            steps.append(_steps(stream, request))
            streams[number] = stream
        except DdnError as error:
            results[number] = error
    latents = [stream.latent.prefix(step[-1]) for stream, step in zip(streams.values(), steps, strict=True)]
    images = [fit(pictures[number].pixels, codec.resolution) for number in streams]
    nears: Sequence[Near | None] = [None] * len(latents)
    if looped:
        nears = found = codec.closed_loop(images, latents)
        latents = [near.latent for near in found]
    if request.psnr is not None:
        nears = codec.shortest(images, latents, request.psnr, steps)
    elif measured and not looped:
        nears = codec.nearness(images, latents)
    for (number, whole), latent, near in zip(streams.items(), latents, nears, strict=True):
        stream = replace(whole, latent=latent if near is None else near.latent)
        psnr, pixels = (None, None) if near is None else (near.psnr, near.pixels)
        results[number] = Encoded(_written(stream, request), stream, codec, psnr, pixels)
    return [results[number] for number in range(len(pictures))]


def _written(stream: Stream, request: Request) -> bytes:
    return bare.to_bytes(stream) if request.bare else container.to_bytes(stream)


def _steps(stream: Stream, request: Request) -> list[int]:
    levels = stream.latent.levels
    if request.max_bytes is None and request.psnr is None:
        return [levels]
    size_of = (lambda count: bare.size(stream.latent.k, count)) if request.bare else container.sizes(stream)
    most = levels if request.max_bytes is None else longest(size_of, levels, request.max_bytes)
    return [most] if request.psnr is None else list(ladder(size_of, most))


def _best(picture: Picture, found: Sequence[Encoded | DdnError], wanted: float | None, side: int
          ) -> Encoded | DdnError:
    files = [one for one in found if isinstance(one, Encoded)]
    if len(files) < 2:
        return next(iter(files), found[0])
    original = fit(picture.pixels, side)

    def rank(one: Encoded) -> tuple[bool, int, float]:
        assert one.psnr is not None  # several models are measured
        assert one.pixels is not None
        reached = wanted is not None and one.psnr >= wanted
        error = squared_errors(original[None], fit(one.pixels, side)[None])
        return reached, -len(one.data) if reached else 0, psnr(float(error[0]))

    return max(files, key=rank)
