"""What people use today: file codecs, each tuned to a budget of bytes for every image. Imports no torch.

A codec's quality is searched, with free downscaling: for each of a few sizes the highest quality whose whole file fits,
and of these what is nearest to the image once it is enlarged again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from itertools import product
from multiprocessing import get_context
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image, features

from ddncodec.evaluation import payload
from ddncodec.metrics.distortion import Pixels, squared_errors

SIDES = (64, 56, 48, 40, 32, 24, 20, 16)  # of 64: what an image is downscaled to
CHUNK = 8  # images that a process works through before it reports
WORTH_A_POOL = 4 * CHUNK  # images below which processes take longer to start than they save

Advance = Callable[[int], None]  # called with how many more images are done


class Coded(NamedTuple):
    """An image in a file: pixels once decoded (R, R, 3), bytes of the whole file and of its payload, seconds."""

    pixels: Pixels
    size: int
    payload: int
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """Images in files of each budget, `coded[budget][image]`, None where none fits, and each one's smallest file."""

    coded: list[list[Coded | None]]
    smallest: list[int]


Best = tuple[list[Coded | None], int]  # of one image: the best at each budget, and the bytes of its smallest
Work = Callable[[Pixels], list[Best]]  # of a chunk of images
Many = Callable[[Work, Iterable[Pixels]], Iterator[list[Best]]]


class Peer(Protocol):
    """A codec to be compared with."""

    @property
    def name(self) -> str:
        """A word, for files and columns."""
        ...

    @property
    def label(self) -> str:
        """What people call it."""
        ...

    @property
    def settings(self) -> str:
        """What is searched, how, and in which library's version: other settings give other figures."""
        ...

    def unavailable(self, resolution: int) -> str | None:
        """Why it cannot take part here, with images of this side; None if it can."""
        ...

    def tune(self, images: Pixels, budgets: Sequence[int], many: Many, advance: Advance) -> Tuned:
        """The best that it makes of images (N, R, R, 3) in whole files of at most so many bytes."""
        ...


@contextmanager
def workers(images: int) -> Iterator[Many]:
    """What maps work over chunks of images, on all cores where that pays."""
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    if images < WORTH_A_POOL or (cores or 1) == 1:
        yield map
        return
    # Not forked: this process may have threads of torch. The workers import no torch.
    pool = ProcessPoolExecutor(cores, mp_context=get_context("spawn"))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def tune_each(
    tune: Callable[[Pixels, Sequence[int]], Best], images: Pixels, budgets: Sequence[int], many: Many, advance: Advance
) -> Tuned:
    """Tune images one by one, in chunks. `tune` goes to other processes, so it can be pickled."""
    chunks = [images[first : first + CHUNK] for first in range(0, len(images), CHUNK)]
    found: list[Best] = []
    for part in many(partial(_tune_chunk, tune, tuple(budgets)), chunks):
        found += part
        advance(len(part))
    return Tuned([[coded[i] for coded, _ in found] for i in range(len(budgets))], [least for _, least in found])


def _tune_chunk(tune: Callable[[Pixels, Sequence[int]], Best], budgets: Sequence[int], images: Pixels) -> list[Best]:
    return [tune(image, budgets) for image in images]


@dataclass(frozen=True, slots=True)
class FileCodec:
    """A codec of image files.

    encode: pixels and a step of the quality, 0 (worst) to `steps` − 1, → the file. payload: the file's bytes that are
    picture. library: its version, None where it is not installed. sides: of 64, what an image is downscaled to. others:
    more ways to encode, for one decoder.
    """

    name: str
    label: str
    searched: str
    library: Callable[[], str | None]
    steps: int
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes], Pixels]
    payload: Callable[[bytes], int]
    sides: tuple[int, ...] = SIDES
    others: tuple[Callable[[Pixels, int], bytes], ...] = ()

    @property
    def settings(self) -> str:
        least = Fraction(min(self.sides), 64)
        return (f"{self.library()}; {self.searched}; at most {len(self.sides)} sizes, down to {least} of the side")

    def unavailable(self, resolution: int) -> str | None:
        return None if self.library() else "its library is not installed: pip install 'ddncodec[eval]'"

    def tune(self, images: Pixels, budgets: Sequence[int], many: Many, advance: Advance) -> Tuned:
        return tune_each(partial(tune_image, self), images, budgets, many, advance)


def tune_image(codec: FileCodec, image: Pixels, budgets: Sequence[int]) -> Best:
    """For each budget the best of an image (R, R, 3) in a file of at most so many bytes; and its smallest file."""
    side = len(image)
    best: list[Coded | None] = [None] * len(budgets)
    least = [np.inf] * len(budgets)
    smallest = np.iinfo(np.int64).max
    sides = sorted({max(1, side * part // 64) for part in codec.sides}, reverse=True)
    for small_side, encode in product(sides, (codec.encode, *codec.others)):
        ladder = Ladder(codec, resized(image, small_side, Image.Resampling.LANCZOS), encode)
        smallest = min(smallest, ladder.size(0))
        decoded: dict[int, tuple[float, Coded]] = {}
        for i, budget in enumerate(budgets):
            step = ladder.highest_within(budget)
            if step is None:
                continue
            if step not in decoded:
                coded = ladder.coded(step, side)
                decoded[step] = float(squared_errors(image[None], coded.pixels[None])[0]), coded
            if decoded[step][0] < least[i]:
                least[i], best[i] = decoded[step]
    return best, int(smallest)


class Ladder:
    """The files of one image at the steps of a codec's quality, each made once, whichever budgets ask for it.

    encode: one of the codec's ways, by default the first.
    """

    def __init__(self, codec: FileCodec, image: Pixels, encode: Callable[[Pixels, int], bytes] | None = None) -> None:
        self._codec, self._image, self._encode = codec, image, encode or codec.encode
        self._files: dict[int, tuple[bytes, float]] = {}

    def size(self, step: int) -> int:
        """Bytes of the file at a step."""
        if step not in self._files:
            began = perf_counter()
            file = self._encode(self._image, step)
            self._files[step] = file, perf_counter() - began
        return len(self._files[step][0])

    def highest_within(self, budget: int) -> int | None:
        """The highest step whose file fits, by bisection: sizes rise with the steps, but for a few bytes."""
        fits = [step for step in self._files if self.size(step) <= budget]
        low = max(fits, default=-1)
        high = min((step for step in self._files if step > low), default=self._codec.steps)
        if low < 0:
            if self.size(0) > budget:
                return None
            low = 0
        while high - low > 1:
            middle = (low + high) // 2
            if self.size(middle) <= budget:
                low = middle
            else:
                high = middle
        return low

    def coded(self, step: int, side: int) -> Coded:
        """The file at a step, decoded and enlarged."""
        file, encode_seconds = self._files[step]
        began = perf_counter()
        shown = self._codec.decode(file)
        decode_seconds = perf_counter() - began
        pixels = resized(shown, side, Image.Resampling.BICUBIC)
        return Coded(pixels, len(file), self._codec.payload(file), encode_seconds, decode_seconds)


def resized(image: Pixels, side: int, method: Image.Resampling) -> Pixels:
    """An image (R, R, 3) at another side."""
    return image if len(image) == side else np.asarray(Image.fromarray(image).resize((side, side), method))


def saved(image: Pixels, kind: str, **options: object) -> bytes:
    """A file as Pillow writes it."""
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def opened(file: bytes) -> Pixels:
    """Pixels of a file, as Pillow reads it."""
    return np.asarray(Image.open(BytesIO(file)).convert("RGB"))


def jpeg(image: Pixels, step: int) -> bytes:
    """Baseline JPEG, 4:2:0, with Huffman tables of its own."""
    return saved(image, "JPEG", quality=step + 1, optimize=True, subsampling=2)


def webp(image: Pixels, step: int) -> bytes:
    """Lossy WebP by its slowest method."""
    return saved(image, "WEBP", quality=step, method=6)


def avif(image: Pixels, step: int) -> bytes:
    """AVIF, 4:2:0."""
    return saved(image, "AVIF", quality=step, speed=4, subsampling="4:2:0", max_threads=1)


DISTANCES = np.geomspace(25, 0.5, 48)


def jpegxl(image: Pixels, step: int) -> bytes:
    """A bare JPEG XL codestream; effort 9 takes five times as long for 0.05 to 0.2 dB at these rates."""
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(image, distance=float(DISTANCES[step]), effort=7, usecontainer=False,
                                           numthreads=1))


def _from_jpegxl(file: bytes) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(file, numthreads=1))


DECIBELS = np.arange(8, 45, 0.5)


def jpeg2000(image: Pixels, step: int) -> bytes:
    """A bare JPEG 2000 codestream, 9/7 wavelet, three resolutions (fewer tables), no comment."""
    import imagecodecs

    decibels: Any = float(DECIBELS[step])  # its stub says int, but it takes fractions
    return payload.without_comments(bytes(imagecodecs.jpeg2k_encode(
        image, level=decibels, codecformat="j2k", reversible=False, mct=True, resolutions=3)))


def _from_jpeg2000(file: bytes) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg2k_decode(file))


def pillows(feature: str, library: str) -> str | None:
    """The version of a library that Pillow was built with, None where it was not."""
    return f"Pillow, {library} {features.version(feature)}" if features.check(feature) else None


def _imagecodecs(library: str) -> str | None:
    if not find_spec("imagecodecs"):
        return None
    import imagecodecs

    return f"imagecodecs, {library} {imagecodecs.version(dict)[library]}"


FILE_CODECS = (
    FileCodec("jpeg", "JPEG", "quality 1 to 95, 4:2:0, own Huffman tables",
              partial(pillows, "libjpeg_turbo", "libjpeg-turbo"), 95, jpeg, opened, payload.jpeg),
    FileCodec("webp", "WebP", "quality 0 to 100, method 6",
              partial(pillows, "webp", "libwebp"), 101, webp, opened, payload.webp),
    FileCodec("avif", "AVIF", "quality 0 to 100, speed 4, 4:2:0",
              partial(pillows, "avif", "libavif"), 101, avif, opened, payload.avif),
    FileCodec("jpegxl", "JPEG XL", f"distance 25 to 0.5 in {len(DISTANCES)} steps, effort 7, bare codestream",
              partial(_imagecodecs, "libjxl"), len(DISTANCES), jpegxl, _from_jpegxl, len),
    FileCodec("jpeg2000", "JPEG 2000", "8 to 44.5 dB by half dB, 9/7 wavelet, bare codestream without comment",
              partial(_imagecodecs, "openjpeg"), len(DECIBELS), jpeg2000, _from_jpeg2000, payload.jpeg2000),
)
