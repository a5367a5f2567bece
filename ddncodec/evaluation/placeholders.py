"""What pages show until a picture is there, as peers: each bare, at its natural sizes. Imports no torch.

What never changes is not counted, as a decoder has it already; what it must be told is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate, pairwise, product
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ddncodec.evaluation.peers import (
    SIDES,
    Advance,
    Best,
    Coded,
    FileCodec,
    Many,
    Peer,
    Tuned,
    opened,
    pillows,
    resized,
    saved,
    tune_each,
)
from ddncodec.metrics.distortion import Pixels, squared_errors

Numbers = npt.NDArray[np.float64]

SMALL_SIDES = (*SIDES, 12, 8)


def _installed(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A code with nothing to tune. decode: of a code, at any side. packages: what must be installed."""

    name: str
    label: str
    told: str
    packages: tuple[str, ...]
    encode: Callable[[Pixels], bytes]
    decode: Callable[[bytes, int], Pixels]

    @property
    def settings(self) -> str:
        return "; ".join([*(_installed(package) or package for package in self.packages), self.told])

    def unavailable(self, resolution: int) -> str | None:
        return _missing(self.packages)

    def tune(self, images: Pixels, budgets: Sequence[int], many: Many, advance: Advance) -> Tuned:
        return tune_each(self.tune_image, images, budgets, many, advance)

    def tune_image(self, image: Pixels, budgets: Sequence[int]) -> Best:
        """The one code of an image (R, R, 3), where a budget holds it."""
        began = perf_counter()
        code = self.encode(image)
        between = perf_counter()
        pixels = self.decode(code, len(image))
        coded = Coded(pixels, len(code), len(code), between - began, perf_counter() - between)
        return [coded if len(code) <= budget else None for budget in budgets], len(code)


def _missing(packages: Sequence[str]) -> str | None:
    missing = [package for package in packages if not _installed(package)]
    return f"{', '.join(missing)} is not installed: pip install 'ddncodec[eval]'" if missing else None


# ThumbHash (Evan Wallace, 2023), of squares without alpha, written here because no package on PyPI decodes as the
# reference does at a given size: thumbhash 0.1.2 repeats one pixel, thash 1.2.1 scales components otherwise,
# thumbhash-python 1.0.1 wants Pillow below 11.
LUMINANCE, COLOUR = 7, 3  # cosines a side
SATURATION = 1.25  # by which the reference's decoder lifts what varies in colour
CONSTANTS = 5  # bytes


@cache
def _cosines(count: int, side: int) -> Numbers:
    """(count, side): cos(π·k·(x + ½)/side)."""
    cosines: Numbers = np.cos(np.pi / side * np.outer(np.arange(count), np.arange(side) + 0.5))
    return cosines


def _varying(count: int) -> npt.NDArray[np.bool_]:
    """Which of count × count components a hash has: those in a triangle, without the constant one."""
    index = np.add.outer(np.arange(count), np.arange(count))
    return (index < count) & (index > 0)


def _rounded(value: float) -> int:
    """Half goes up, as in JavaScript."""
    return int(np.floor(value + 0.5))


def thumbhash(image: Pixels) -> bytes:
    """The ThumbHash of a square (R, R, 3)."""
    red, green, blue = np.moveaxis(image / 255, 2, 0)
    constants, scales, varying = [], [], []
    for channel, count in (((red + green + blue) / 3, LUMINANCE), ((red + green) / 2 - blue, COLOUR),
                           (red - green, COLOUR)):
        cosines = _cosines(count, len(image))
        spectrum = cosines @ channel @ cosines.T / channel.size
        some = spectrum[_varying(count)]
        scale = float(np.abs(some).max())
        constants.append(float(spectrum[0, 0]))
        scales.append(scale)
        varying += [_rounded(15 * value) for value in (0.5 + 0.5 / scale * some if scale else some)]
    first = (_rounded(63 * constants[0]) | _rounded(31.5 + 31.5 * constants[1]) << 6
             | _rounded(31.5 + 31.5 * constants[2]) << 12 | _rounded(31 * scales[0]) << 18)
    second = LUMINANCE | _rounded(63 * scales[1]) << 3 | _rounded(63 * scales[2]) << 9
    pairs = zip(varying[::2], [*varying[1::2], 0], strict=True)
    return first.to_bytes(3, "little") + second.to_bytes(2, "little") + bytes(low | high << 4 for low, high in pairs)


def from_thumbhash(code: bytes, side: int) -> Pixels:
    """The square that a ThumbHash of a square shows, as the reference's decoder draws it."""
    first, second = int.from_bytes(code[:3], "little"), int.from_bytes(code[3:CONSTANTS], "little")
    constants = (first & 63) / 63, (first >> 6 & 63) / 31.5 - 1, (first >> 12 & 63) / 31.5 - 1
    scales = (first >> 18 & 31) / 31, (second >> 3 & 63) / 63 * SATURATION, (second >> 9 & 63) / 63 * SATURATION
    values = iter([part / 7.5 - 1 for byte in code[CONSTANTS:] for part in (byte & 15, byte >> 4)])
    planes = []
    for constant, scale, count in zip(constants, scales, (LUMINANCE, COLOUR, COLOUR), strict=True):
        chosen = _varying(count)
        spectrum = np.zeros((count, count))
        spectrum[chosen] = [2 * scale * next(values) for _ in range(int(chosen.sum()))]
        spectrum[0, 0] = constant
        cosines = _cosines(count, side)
        planes.append(cosines.T @ spectrum @ cosines)
    luminance, yellow, red_green = planes
    blue = luminance - 2 / 3 * yellow
    red = (3 * luminance - blue + red_green) / 2
    return np.clip(255 * np.stack([red, red - red_green, blue], 2), 0, 255).astype(np.uint8)


def blurhash(columns: int, rows: int, image: Pixels) -> bytes:
    """The BlurHash, which is text, of so many components."""
    from blurhash import encode

    return str(encode(Image.fromarray(image), columns, rows)).encode()


def from_blurhash(code: bytes, side: int) -> Pixels:
    """The square that a BlurHash shows."""
    from blurhash import decode

    return np.asarray(decode(code.decode(), side, side))


BLOCKS = 8  # pixels a side of a texture, of 4×4 in a block of 8 bytes


def bc1(image: Pixels) -> bytes:
    """A BC1 texture of 8×8 pixels (Lanczos), without a header."""
    from quicktex import RawTexture
    from quicktex.s3tc.bc1 import BC1Encoder

    small = Image.fromarray(resized(image, BLOCKS, Image.Resampling.LANCZOS)).convert("RGBA")
    return bytes(BC1Encoder(18).encode(RawTexture.frombytes(small.tobytes(), BLOCKS, BLOCKS)).tobytes())


def from_bc1(code: bytes, side: int) -> Pixels:
    """The texture, enlarged (bicubic)."""
    from quicktex.s3tc.bc1 import BC1Decoder, BC1Texture

    texture = BC1Decoder().decode(BC1Texture.from_bytes(code, BLOCKS, BLOCKS))
    pixels = np.frombuffer(bytes(texture.tobytes()), np.uint8).reshape(BLOCKS, BLOCKS, 4)[..., :3]
    return resized(np.ascontiguousarray(pixels), side, Image.Resampling.BICUBIC)


# JPEG as Facebook's preview photos (2015): tables and all else of the header are known. What is told is the number of
# the tables, width and height, a byte each.
QUALITIES = 95
SUBSAMPLINGS = (2, 0)  # as Pillow numbers them: 4:2:0, and 4:4:4, whose blocks are smaller
TABLES = QUALITIES * len(SUBSAMPLINGS)
TOLD = 3  # bytes


def shared_jpeg(subsampling: int, image: Pixels, step: int) -> bytes:
    """Number of the tables, width, height, and the entropy-coded scan with the standard's Huffman tables."""
    tables = len(SUBSAMPLINGS) * step + SUBSAMPLINGS.index(subsampling)
    file = _plain_jpeg(image, tables)
    return bytes([tables, image.shape[1], image.shape[0]]) + file[_scan_at(file) : -2]


def from_shared_jpeg(code: bytes) -> Pixels:
    """The picture, by the header that any picture of its size and tables has."""
    return opened(known_header(code[0], code[1], code[2]) + code[TOLD:] + b"\xff\xd9")


def known_header(tables: int, width: int, height: int | None = None) -> bytes:
    """All that is before the scan of a file of that size, or that square, with the tables of that number."""
    file = _plain_jpeg(np.zeros((height or width, width, 3), np.uint8), tables)
    return file[: _scan_at(file)]


def scan_size(code: bytes) -> int:
    """Bytes of the scan."""
    return len(code) - TOLD


def _plain_jpeg(image: Pixels, tables: int) -> bytes:
    step, subsampling = divmod(tables, len(SUBSAMPLINGS))
    return saved(image, "JPEG", quality=step + 1, optimize=False, subsampling=SUBSAMPLINGS[subsampling])


def _scan_at(file: bytes) -> int:
    marker = file.index(b"\xff\xda")
    return marker + 2 + int.from_bytes(file[marker + 2 : marker + 4])


VP8_AT = 20  # after RIFF, its size, WEBP, VP8 and its size
VP8_KNOWN = VP8_AT + 3  # bytes: what is left out
START_CODE = b"\x9d\x01\x2a"  # of every key frame, after its tag of three bytes (RFC 6386, Sec. 9.1)


def bare_webp(image: Pixels, step: int) -> bytes:
    """A VP8 key frame, which knows its width and height, without container and start code."""
    file = saved(image, "WEBP", quality=step, method=6)
    frame = file[VP8_AT : VP8_AT + int.from_bytes(file[VP8_AT - 4 : VP8_AT], "little")]
    return frame[:3] + frame[3 + len(START_CODE) :]


def from_bare_webp(code: bytes) -> Pixels:
    """The picture of the frame."""
    frame = code[:3] + START_CODE + code[3:]
    chunk = b"VP8 " + len(frame).to_bytes(4, "little") + frame + bytes(len(frame) % 2)
    return opened(b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk)


# A traced SVG: polygons painted one over another. What never changes in it (the elements and their attributes' names)
# is left out, numbers are relative and whole, colours have three digits: "M4 9l8-3 2 7#fb0".
TRACED_SIDE = 32  # of the view box
TRACED = tuple(product((2, 4, 8, 16, 32), (16, 32, 64, 128), (3, 6)))  # speckles dropped, step of layers, colour's bits
TRANSLATED = re.compile(r'<path d="([^"]*)" fill="#(\w{6})" transform="translate\((-?\d+),(-?\d+)\)"/>')


def traced(image: Pixels, speckle: int, layers: int, precision: int) -> list[str]:
    """The polygons of an image (R, R, 3), from the one behind all to the front."""
    from vtracer import convert_pixels_to_svg

    small = resized(image, TRACED_SIDE, Image.Resampling.BOX).reshape(-1, 3).tolist()
    svg: Any = convert_pixels_to_svg(
        [(red, green, blue, 255) for red, green, blue in small], (TRACED_SIDE, TRACED_SIDE), mode="polygon",
        filter_speckle=speckle, layer_difference=layers, color_precision=precision, path_precision=0)
    return [_polygons(path, int(x), int(y)) + "#" + "".join(f"{round(int(colour[i : i + 2], 16) / 17):x}"
                                                            for i in (0, 2, 4))
            for path, colour, x, y in TRANSLATED.findall(svg)]


def _polygons(path: str, x: int, y: int) -> str:
    """An SVG path of absolute polygons, moved, its lines relative and without what can be left out."""
    text = ""
    for polygon in path.split("Z")[:-1]:
        corners = [(int(a) + x, int(b) + y) for a, b in re.findall(r"(-?\d+),(-?\d+)", polygon)]
        steps = [number for (a, b), (c, d) in pairwise(corners) for number in (c - a, d - b)]
        text += _command("M", corners[0]) + _command("l", steps)
    return text


def _command(letter: str, numbers: Sequence[int]) -> str:
    return letter + " ".join(map(str, numbers)).replace(" -", "-")


def rendered(shapes: str, side: int) -> Pixels:
    """What a renderer of SVG draws."""
    from resvg_py import svg_to_bytes

    return opened(bytes(svg_to_bytes(svg_string=svg(shapes), width=side, height=side, skip_system_fonts=True)))


def svg(shapes: str) -> str:
    """The whole file."""
    paths = re.sub(r"([^#]+)(#\w{3})", r'<path d="\1" fill="\2"/>', shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {TRACED_SIDE} {TRACED_SIDE}">{paths}</svg>'


@dataclass(frozen=True, slots=True)
class TracedSvg:
    """Polygons by vtracer, drawn by resvg; tuned over its settings, and over how many of the polygons are kept."""

    name: str = "svg"
    label: str = "Traced SVG"

    @property
    def settings(self) -> str:
        return (f"{_installed('vtracer')}, {_installed('resvg_py')}; polygons on {TRACED_SIDE}×{TRACED_SIDE}, "
                f"{len(TRACED)} settings, the first so many polygons; relative numbers and colours alone")

    def unavailable(self, resolution: int) -> str | None:
        return _missing(("vtracer", "resvg_py"))

    def tune(self, images: Pixels, budgets: Sequence[int], many: Many, advance: Advance) -> Tuned:
        return tune_each(self.tune_image, images, budgets, many, advance)

    def tune_image(self, image: Pixels, budgets: Sequence[int]) -> Best:
        """For each budget the nearest of all settings, each with as many polygons as it has room for."""
        best: list[Coded | None] = [None] * len(budgets)
        least = [np.inf] * len(budgets)
        smallest = np.iinfo(np.int64).max
        drawn: dict[str, tuple[float, Coded]] = {}
        for options in TRACED:
            began = perf_counter()
            shapes = traced(image, *options)
            encode_seconds = perf_counter() - began
            sizes = list(accumulate(map(len, shapes)))
            smallest = min(smallest, sizes[0])
            for i, budget in enumerate(budgets):
                text = "".join(shapes[: sum(size <= budget for size in sizes)])
                if not text:
                    continue
                if text not in drawn:
                    began = perf_counter()
                    pixels = rendered(text, len(image))
                    coded = Coded(pixels, len(text), len(text), encode_seconds, perf_counter() - began)
                    drawn[text] = float(squared_errors(image[None], pixels[None])[0]), coded
                if drawn[text][0] < least[i]:
                    least[i], best[i] = drawn[text]
        return best, int(smallest)


PLACEHOLDERS: tuple[Peer, ...] = (
    Placeholder("thumbhash", "ThumbHash", "as the reference's encoder and decoder; 24 bytes of a square", (),
                thumbhash, from_thumbhash),
    Placeholder("blurhash-4x3", "BlurHash 4×3, text", "a byte a character", ("blurhash-python",),
                partial(blurhash, 4, 3), from_blurhash),
    Placeholder("blurhash-6x4", "BlurHash 6×4, text", "a byte a character", ("blurhash-python",),
                partial(blurhash, 6, 4), from_blurhash),
    Placeholder("bc1", "BC1, 8×8", "level 18, downscaled by Lanczos, enlarged bicubic", ("quicktex",), bc1, from_bc1),
    FileCodec("jpeg-shared", "JPEG, shared header",
              "quality 1 to 95, 4:2:0 or 4:4:4, the standard's Huffman tables; 3 bytes of tables and size, scan",
              partial(pillows, "libjpeg_turbo", "libjpeg-turbo"), QUALITIES, partial(shared_jpeg, SUBSAMPLINGS[0]),
              from_shared_jpeg, scan_size, SMALL_SIDES, (partial(shared_jpeg, SUBSAMPLINGS[1]),)),
    FileCodec("webp-bare", "WebP, bare", "quality 0 to 100, method 6; VP8 key frame without RIFF and start code",
              partial(pillows, "webp", "libwebp"), 101, bare_webp, from_bare_webp, len, SMALL_SIDES),
    TracedSvg(),
)
