"""PNG files written chunk by chunk, so that what they hold is known."""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from ddncodec.errors import UnreadableImage
from ddncodec.images import picture_of, read_picture

Array = npt.NDArray[np.int64]
Chunk = tuple[bytes, bytes]

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
HEIGHT, WIDTH = 12, 13
WHITE = 255
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# sRGB with red and green exchanged.
SWAPPED = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: Array, depth: int, kind: int, before: list[Chunk] = [], after: list[Chunk] = [],  # noqa: B006
        height: int | None = None, end: bytes = chunk(b"IEND", b"")) -> bytes:
    """A file of samples (H, W) or (H, W, channels)."""
    rows = b""
    for row in samples.reshape(len(samples), -1):
        bits = "".join(format(int(sample), f"0{depth}b") for sample in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", samples.shape[1], height or len(samples), depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), *after]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks) + end


def noise(top: int, *channels: int) -> Array:
    return np.random.default_rng(top).integers(0, top + 1, (HEIGHT, WIDTH, *channels))


def shown(data: bytes) -> Array:
    return read_picture(io.BytesIO(data)).pixels.astype(np.int64)


def grey(values: npt.NDArray[np.float64]) -> Array:
    return np.rint(values).astype(np.int64)[:, :, None].repeat(3, 2)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_key_is_in_the_scale_of_the_file(depth: int) -> None:
    samples = noise((1 << depth) - 1)
    key = int(samples[3, 4])
    expected = grey(np.where(samples == key, WHITE, samples * 255 / ((1 << depth) - 1)))
    for written in {key, (key + (1 << depth)) & 0xFFFF}:  # bits above the depth do not count
        data = png(samples, depth, GREY, [(b"tRNS", struct.pack(">H", written))])
        assert np.array_equal(shown(data), expected)
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(picture_of(image).pixels, expected)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_key_of_colours_is_compared_whole(depth: int) -> None:
    samples = noise((1 << depth) - 1, 3)
    key = samples[3, 4]
    samples[:2] = key
    samples[1, :, 0] ^= 1  # at 16 bits, the same colour but for a bit that 8 do not show
    colours = samples >> (depth - 8)
    expected = np.where((samples == key).all(axis=2, keepdims=True), WHITE, colours)
    assert np.array_equal(shown(png(samples, depth, RGB, [(b"tRNS", struct.pack(">3H", *key))])), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_has_opacities(depth: int) -> None:
    samples = noise((1 << depth) - 1)
    palette, opacity = np.random.default_rng(1).integers(0, 256, (1 << depth, 3)), np.full(1 << depth, 255)
    opacity[: 1 << (depth - 1)] = 77  # a chunk may be shorter than the palette
    tags = [(b"PLTE", palette.astype(np.uint8).tobytes()), (b"tRNS", bytes([77]) * (1 << (depth - 1)))]
    share = opacity[samples][:, :, None] / 255
    expected = palette[samples] * share + WHITE * (1 - share)
    assert np.abs(shown(png(samples, depth, PALETTE, tags)) - expected).max() <= 1


def test_an_index_beyond_the_palette_is_black() -> None:
    samples = noise(3)
    palette = np.array([[255, 0, 0], [0, 255, 0]])
    expected = np.vstack([palette, np.zeros((2, 3), int)])[samples]
    assert np.array_equal(shown(png(samples, 8, PALETTE, [(b"PLTE", palette.astype(np.uint8).tobytes())])), expected)


def test_opacity_is_blended_after_the_colours_are_converted() -> None:
    samples = np.zeros((8, 8, 4), np.int64)
    samples[..., 0], samples[..., 3] = 200, 100
    profile = (b"iCCP", b"swapped\0\0" + zlib.compress(SWAPPED))
    opaque = np.concatenate([samples[..., :3], np.full((8, 8, 1), 255)], axis=2)
    converted = shown(png(opaque, 8, RGBA, [profile]))
    share = 100 / 255
    assert np.abs(shown(png(samples, 8, RGBA, [profile])) - (converted * share + WHITE * (1 - share))).max() <= 1


# Colour tags, against the formulas that they stand for.


def to_light(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def of_light(light: npt.NDArray[np.float64]) -> Array:
    light = light.clip(0, 1)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(int)


# Linear light of Display P3 to that of sRGB: CSS Color 4.
P3_TO_SRGB = np.array([
    [1.2249401762805598, -0.2249404000000000, 0.0],
    [-0.0420569547096881, 1.0420571000000000, 0.0],
    [-0.0196375545903344, -0.0786360455506319, 1.0982735999999999],
])
COLOURS = noise(255, 3)
P3 = struct.pack(">8I", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
BT709 = struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
GAMMA = struct.pack(">I", 45_455)
LINEAR = struct.pack(">I", 100_000)
IS_P3 = of_light(to_light(COLOURS / 255) @ P3_TO_SRGB.T)
IS_LINEAR = of_light(COLOURS / 255)
ICC = b"swapped\0\0" + zlib.compress(SWAPPED)


@pytest.mark.parametrize(("tags", "expected"), [
    ([(b"cICP", bytes([12, 13, 0, 1]))], IS_P3),
    ([(b"cICP", bytes([1, 13, 0, 1]))], COLOURS),
    ([(b"cICP", bytes([1, 1, 0, 1]))], COLOURS),  # television's curve, which browsers show as sRGB's
    ([(b"cICP", bytes([1, 8, 0, 1]))], IS_LINEAR),
    ([(b"cHRM", P3)], IS_P3),
    ([(b"cHRM", P3), (b"gAMA", GAMMA)], of_light((COLOURS / 255) ** 2.2 @ P3_TO_SRGB.T)),
    ([(b"gAMA", LINEAR)], IS_LINEAR),
    ([(b"gAMA", GAMMA)], COLOURS),
    ([(b"gAMA", GAMMA), (b"cHRM", BT709)], COLOURS),
    ([(b"gAMA", bytes(4))], COLOURS),
    ([(b"cHRM", bytes(32))], COLOURS),
    ([(b"gAMA", b"short")], COLOURS),
    # cICP before iCCP before sRGB before the others
    ([(b"gAMA", LINEAR), (b"sRGB", b"\0")], COLOURS),
    ([(b"gAMA", LINEAR), (b"sRGB", b"\0"), (b"iCCP", ICC)], COLOURS[:, :, [1, 0, 2]]),
    ([(b"iCCP", ICC), (b"cICP", bytes([12, 13, 0, 1]))], IS_P3),
    ([(b"iCCP", b"broken\0\0x"), (b"gAMA", LINEAR)], IS_LINEAR),
])
def test_colour_tags_are_honoured_by_their_precedence(tags: list[Chunk], expected: Array) -> None:
    assert np.abs(shown(png(COLOURS, 8, RGB, tags)) - expected).max() <= 2


@pytest.mark.parametrize("tag", [(b"gAMA", LINEAR), (b"cICP", bytes([1, 8, 0, 1]))])
def test_colour_tags_hold_for_grey_too(tag: Chunk) -> None:
    samples = noise(255)
    assert np.abs(shown(png(samples, 8, GREY, [tag])) - of_light(samples / 255)[:, :, None]).max() <= 1


@pytest.mark.parametrize("coded", [(9, 16, 0, 1), (9, 18, 0, 1), (1, 13, 1, 1), (1, 13, 0, 0), (77, 13, 0, 1)])
def test_colours_that_have_no_look_are_refused(coded: tuple[int, ...]) -> None:
    with pytest.raises(UnreadableImage):
        shown(png(COLOURS, 8, RGB, [(b"cICP", bytes(coded))]))


MEGABYTES = bytes(5_000_000)
RANDOM = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


@pytest.mark.parametrize("metadata", [
    (b"tEXt", b"key\0" + b"x" * 70_000_000),
    (b"zTXt", b"key\0\0" + zlib.compress(MEGABYTES)),
    (b"iTXt", b"key\0\1\0\0\0" + zlib.compress(MEGABYTES)),
    (b"iCCP", b"key\0\0" + zlib.compress(MEGABYTES)),
    (b"iCCP", b"key\0\0" + zlib.compress(RANDOM)),
    (b"zTXt", b"no method"),
    (b"prVt", RANDOM),
], ids=lambda metadata: metadata[0].decode())
def test_metadata_of_megabytes_make_no_picture_unreadable(metadata: Chunk) -> None:
    assert np.array_equal(shown(png(COLOURS, 8, RGB, [metadata])), COLOURS)
    assert np.array_equal(shown(png(COLOURS, 8, RGB, after=[metadata])), COLOURS)


def test_damaged_metadata_make_no_picture_unreadable() -> None:
    data = png(COLOURS, 8, RGB, [(b"tEXt", b"key\0text")])
    assert np.array_equal(shown(data.replace(b"text", b"tExt")), COLOURS)


def test_a_file_without_its_end_shows_all_of_its_pixels() -> None:
    data = png(COLOURS, 8, RGB, end=b"")
    for missing in (0, 4, 8):  # nothing, the checksum, zlib's checksum too
        assert np.array_equal(shown(data[: len(data) - missing]), COLOURS)


@pytest.mark.parametrize("last_row", [0, 255])
def test_missing_pixels_are_told(last_row: int) -> None:
    samples = COLOURS.copy()
    samples[-1] = last_row
    for missing in (1, 40):
        with pytest.raises(UnreadableImage):
            shown(png(samples, 8, RGB, height=HEIGHT + missing))
    assert np.array_equal(shown(png(samples, 8, RGB)), samples)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


@pytest.mark.parametrize("shape", [(8, 16), (9, 16), (13, 11), (8, 8)])
def test_missing_pixels_of_an_interlaced_image_are_told(shape: tuple[int, int]) -> None:
    black = np.zeros(shape, np.uint8)  # nothing but the count of bytes can tell
    passes = [black[top::down, left::across] for top, left, down, across in ADAM7]
    rows = [b"\0" + row.tobytes() for part in passes for row in part if row.size]
    for missing in (0, 1, 2):
        data = [(b"IHDR", struct.pack(">IIBBBBB", *shape[::-1], 8, GREY, 0, 0, 1)),
                (b"IDAT", zlib.compress(b"".join(rows[: len(rows) - missing]))), (b"IEND", b"")]
        file = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in data)
        if not missing:
            assert np.array_equal(shown(file), grey(black))
            continue
        with pytest.raises(UnreadableImage, match="end early"):
            shown(file)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"gAMA"])
def test_a_checksum_that_does_not_match_is_told(name: bytes) -> None:
    data = bytearray(png(noise(1), 8, PALETTE, [(b"PLTE", bytes(6)), (b"tRNS", b"\x77"), (b"gAMA", LINEAR)]))
    place = data.index(name)
    length = int.from_bytes(data[place - 4 : place], "big")
    data[place + 4 + length] ^= 1
    with pytest.raises(UnreadableImage, match=name.decode()):
        shown(bytes(data))


@pytest.mark.parametrize("data", [
    png(noise(1), 8, PALETTE),
    png(noise(1), 8, PALETTE, [(b"PLTE", b"12")]),
    png(COLOURS, 8, RGB, [(b"NEwS", b"")]),
    b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b""),
    b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
], ids=["no palette", "half a palette", "a critical chunk", "no header", "nothing"])
def test_what_is_no_whole_png_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match="the PNG file"):
        shown(data)
