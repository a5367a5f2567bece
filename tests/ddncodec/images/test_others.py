"""GIF, BMP, WebP and PNM, written byte by byte."""

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ddncodec.errors import UnreadableImage
from ddncodec.images import read_picture

Array = npt.NDArray[np.int64]

HEIGHT, WIDTH = 13, 20
RANDOM = np.random.default_rng(0)
PALETTE = RANDOM.integers(0, 256, (256, 3))
INDICES = RANDOM.integers(0, 256, (HEIGHT, WIDTH))
COLOURS = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3))


def shown(data: bytes) -> Array:
    return read_picture(io.BytesIO(data)).pixels.astype(np.int64)


def on_canvas(colours: Array, height: int, width: int, top: int, left: int) -> Array:
    canvas = np.full((height, width, 3), 255)
    canvas[top : top + len(colours), left : left + colours.shape[1]] = colours
    return canvas


# GIF.


def lzw(samples: Array) -> bytes:
    """Uncompressed: 9 bits a sample, and the table cleared before it grows."""
    runs = [samples.ravel()[i : i + 250].tolist() for i in range(0, samples.size, 250)]
    codes = [code for run in runs for code in (256, *run)] + [257]
    data = sum(code << 9 * i for i, code in enumerate(codes)).to_bytes(-(-9 * len(codes) // 8), "little")
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def frame(samples: Array, top: int = 0, left: int = 0, height: int | None = None) -> bytes:
    return b"," + struct.pack("<4HB", left, top, samples.shape[1], height or len(samples), 0) + b"\x08" + lzw(samples)


def gif(*frames: bytes, height: int = HEIGHT, width: int = WIDTH, key: int | None = None) -> bytes:
    control = b"" if key is None else b"!\xf9\4\1\0\0" + bytes([key, 0])
    header = b"GIF89a" + struct.pack("<HH3B", width, height, 0xF7, 0, 0) + PALETTE.astype(np.uint8).tobytes()
    return header + b"!\xfe\5hello\0" + control + b"".join(frames) + b";"


@pytest.mark.parametrize("key", [None, 7])
def test_a_frame_smaller_than_its_canvas_has_transparency_around_it(key: int | None) -> None:
    colours = np.where((key == INDICES)[:, :, None], 255, PALETTE[INDICES])
    data = gif(frame(INDICES, 4, 6), height=30, width=40, key=key)
    assert np.array_equal(shown(data), on_canvas(colours, 30, 40, 4, 6))


def test_a_gif_without_its_end_shows_all_of_its_pixels() -> None:
    data = gif(frame(INDICES))
    for end in (len(data), -1, -2):
        assert np.array_equal(shown(data[:end]), PALETTE[INDICES])
    for end in (-20, -200):
        with pytest.raises(UnreadableImage):
            shown(data[:end])


def test_a_frame_that_ends_early_is_told_also_before_another_one() -> None:
    half = frame(INDICES[: HEIGHT // 2], height=HEIGHT)
    for data in (gif(half), gif(half, frame(INDICES)), gif(half, *[frame(INDICES)] * 9)):
        with pytest.raises(UnreadableImage):
            shown(data)


@pytest.mark.parametrize("data", [gif(), gif()[:-1], gif(b"?"), gif(frame(INDICES)[:8])])
def test_a_gif_without_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        shown(data)


# BMP.

BITFIELDS = 3
MASKS = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(rows: bytes, bits: int, palette: list[tuple[int, int, int]] = [], compression: int = 0,  # noqa: B006
        masks: bytes = b"") -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40 + len(masks), WIDTH, HEIGHT, 1, bits, compression, 0, 0, 0, len(palette), 0)
    colours = b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette)
    offset = 14 + len(header) + len(masks) + len(colours)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + masks + colours + rows


def bmp_rows(samples: Array, bits: int) -> bytes:
    lines = ("".join(f"{sample:0{bits}b}" for sample in row) for row in samples[::-1])
    return b"".join(int(line + "0" * (-len(line) % 32), 2).to_bytes(-(-len(line) // 32) * 4, "big") for line in lines)


@pytest.mark.parametrize("palette", [
    [(0, 0, 0), (255, 255, 255)], [(255, 255, 255), (0, 0, 0)], [(1, 2, 3), (4, 5, 6)], [(0, 0, 0), (1, 1, 1)],
])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_palette_of_two_is_looked_up_at_any_depth(bits: int, palette: list[tuple[int, int, int]]) -> None:
    samples = INDICES % 2
    assert np.array_equal(shown(bmp(bmp_rows(samples, bits), bits, palette)), np.array(palette)[samples])


@pytest.mark.parametrize(("opacity", "seen"), [(0, 255), (1, 1), (128, 128), (255, 255)])
def test_opacity_that_hides_everything_means_none(opacity: int, seen: int) -> None:
    samples = np.concatenate([COLOURS[:, :, ::-1], np.full((HEIGHT, WIDTH, 1), opacity)], axis=2)
    data = bmp(samples[::-1].astype(np.uint8).tobytes(), 32, compression=BITFIELDS, masks=MASKS)
    assert np.abs(shown(data) - (COLOURS * seen / 255 + 255 - seen)).max() <= 1


def test_32_bits_without_masks_have_no_opacity() -> None:
    samples = np.concatenate([COLOURS[:, :, ::-1], INDICES[:, :, None]], axis=2)
    assert np.array_equal(shown(bmp(samples[::-1].astype(np.uint8).tobytes(), 32)), COLOURS)


# WebP.


@pytest.mark.parametrize("alpha", [0, 16])
def test_an_animations_first_frame_has_transparency_around_it(alpha: int) -> None:
    file = io.BytesIO()
    Image.fromarray(COLOURS.astype(np.uint8)).save(file, "WEBP", lossless=True)

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def short(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    place = b"".join(map(short, (6 // 2, 4 // 2, WIDTH - 1, HEIGHT - 1, 100))) + b"\2"
    body = chunk(b"VP8X", bytes([2 | alpha, 0, 0, 0]) + short(39) + short(29)) + chunk(b"ANIM", bytes(6))
    body += chunk(b"ANMF", place + file.getvalue()[12:]) * 2
    data = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    assert np.array_equal(shown(data), on_canvas(COLOURS, 30, 40, 4, 6))


# PNM.


@pytest.mark.parametrize("white", [1, 3, 100, 255, 256, 1023, 65_535])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_scaled_by_what_white_is(channels: int, white: int) -> None:
    samples = RANDOM.integers(0, white + 1, (HEIGHT, WIDTH, channels))
    expected = np.floor(samples * 255 / white + 0.5).repeat(3 // channels, 2)
    plain, binary = {1: (b"P2", b"P5"), 3: (b"P3", b"P6")}[channels]
    header = b"\n# a comment\n%d %d\n%d\n" % (WIDTH, HEIGHT, white)
    data = samples.astype(">u2" if white > 255 else "u1").tobytes()
    assert np.array_equal(shown(binary + header + data), expected)
    assert np.abs(shown(plain + header + b" ".join(b"%d" % sample for sample in samples.ravel())) - expected).max() <= 1
    with pytest.raises(UnreadableImage):
        shown(binary + header + data[:-1])


def test_more_than_white_is_white() -> None:
    data = b"P5 %d %d 100\n" % (WIDTH, HEIGHT) + bytes([200]) * HEIGHT * WIDTH
    assert (shown(data) == 255).all()
