"""TIFF files written tag by tag: every layout is shown right, or refused."""

import io
import logging
import os
import struct
import threading
import zlib
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ddncodec.errors import ImageSize, UnreadableImage
from ddncodec.images import read_picture

Array = npt.NDArray[np.int64]
Tag = tuple[int, int, list[int]]  # number, type, values

BYTE, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
NONE, LZW, DEFLATE = 1, 5, 8
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
LAYOUTS: dict[str, dict[str, int]] = {"strip": {}, "strips": {"rows": 8}, "tiles": {"tile": 16}, "a tile": {"tile": 48}}
HEIGHT, WIDTH = 37, 45
MIRRORED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def noise(top: int, channels: int, height: int = HEIGHT, width: int = WIDTH) -> Array:
    return np.random.default_rng(top).integers(0, top + 1, (height, width, channels))


def packed(rows: Array, bits: int, order: str) -> bytes:
    if bits >= 16:
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    lines = ("".join(f"{sample:0{bits}b}" for sample in row) for row in rows)
    whole = (line + "0" * (-len(line) % 8) for line in lines)
    return b"".join(int(line, 2).to_bytes(len(line) // 8, "big") for line in whole)


def page(samples: Array, bits: int, look: int, order: str = "<", compression: int = NONE, planes: bool = False,
         tile: int = 0, rows: int = 0, mirrored: bool = False, tags: list[Tag] = []) -> tuple[list[Tag], list[bytes]]:  # noqa: B006
    """The tags and blocks of a page; the tag of the blocks' offsets has the number 0, and none yet."""
    height, width, channels = samples.shape
    parts = [samples[:, :, [i]] for i in range(channels)] if planes else [samples]
    blocks = []
    for part in parts:
        for top, left in product(range(0, height, tile or rows or height), range(0, width, tile or width)):
            block = part[top : top + (tile or rows or height), left : left + (tile or width)]
            if tile:
                block = np.pad(block, ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0)))
            data = packed(block.reshape(len(block), -1), bits, order)
            data = data.translate(MIRRORED) if mirrored else data
            blocks.append(zlib.compress(data) if compression == DEFLATE else data)
    sizes = [len(block) for block in blocks]
    found = {number: (number, kind, values) for number, kind, values in [
        (256, LONG, [width]), (257, LONG, [height]), (258, SHORT, [bits] * channels), (259, SHORT, [compression]),
        (262, SHORT, [look]), (266, SHORT, [1 + mirrored]), (277, SHORT, [channels]), (284, SHORT, [1 + planes]),
        *([(322, LONG, [tile]), (323, LONG, [tile]), (324, LONG, []), (325, LONG, sizes)] if tile else
          [(273, LONG, []), (278, LONG, [rows or height]), (279, LONG, sizes)]),
        *tags,
    ]}
    return sorted(found.values()), blocks


def tiff(*pages: tuple[list[Tag], list[bytes]], order: str = "<") -> bytes:
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 0))
    link = 4

    def put(data: bytes) -> int:
        out.extend(bytes(len(out) % 2))
        out.extend(data)
        return len(out) - len(data)

    for tags, blocks in pages:
        offsets = [put(block) for block in blocks]
        entries = b""
        for number, kind, values in tags:
            values = offsets if number in (273, 324) and not values else values
            form = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "I"}[kind]
            data = struct.pack(f"{order}{len(values)}{form}", *values)
            count = len(values) // (2 if kind == RATIONAL else 1)
            stored = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", put(data))
            entries += struct.pack(order + "HHI", number, kind, count) + stored
        place = put(struct.pack(order + "H", len(tags)) + entries + bytes(4))
        out[link : link + 4] = struct.pack(order + "I", place)
        link = len(out) - 4
    return bytes(out)


def shown(data: bytes) -> Array:
    return read_picture(io.BytesIO(data)).pixels.astype(np.int64)


def look_of(samples: Array, bits: int, look: int, colours: Array) -> npt.NDArray[np.float64]:
    """What samples look like: (H, W, 3), 0 to 255."""
    share = samples / ((1 << bits) - 1)
    if look == PALETTE:
        return colours[samples[:, :, 0]].astype(float)
    if look == CMYK:
        return 255 * (1 - share[:, :, :3]) * (1 - share[:, :, 3:])
    return 255 * np.repeat(1 - share if look == WHITE_IS_ZERO else share, 3 // share.shape[2], axis=2)


# Of these Pillow and libtiff know enough to be right; of the rest of the product below, some are refused.
READ = {
    *product((WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE), (1, 4, 8), "<>", (NONE, DEFLATE), [False]),
    *product((RGB, CMYK), (8, 16), "<>", (NONE, DEFLATE), [False]),
    *product((WHITE_IS_ZERO, BLACK_IS_ZERO), (16,), "<", (NONE, DEFLATE), [False]),
    (BLACK_IS_ZERO, 12, "<", NONE, False), (BLACK_IS_ZERO, 12, "<", DEFLATE, False), (RGB, 8, "<", NONE, True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("look", "bits"), list(product(CHANNELS, (1, 2, 4, 8, 12, 16, 32))))
def test_a_file_is_shown_right_or_refused(look: int, bits: int, layout: str) -> None:
    if look == PALETTE and bits > 8:
        return
    samples = noise((1 << bits) - 1, CHANNELS[look])
    colours = np.random.default_rng(2).integers(0, 256, (1 << min(bits, 8), 3))
    expected = look_of(samples, bits, look, colours)
    tags = [(320, SHORT, (colours.T.ravel() * 257).tolist())] if look == PALETTE else []
    for order, compression, planes, mirrored in product("<>", (NONE, DEFLATE), (False, True), (False, True)):
        if planes and CHANNELS[look] == 1:
            continue
        data = tiff(page(samples, bits, look, order, compression, planes, mirrored=mirrored, tags=tags,
                         **LAYOUTS[layout]), order=order)
        try:
            pixels = shown(data)
        except UnreadableImage as error:
            assert (look, bits, order, compression, planes) not in READ or mirrored, error
        else:
            worst = np.abs(pixels - expected).max()
            assert worst < (2.5 if look == CMYK else 1.1), (order, compression, planes, mirrored)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("look", "extra"), [
    (RGB, 0), (RGB, 1), (RGB, 2), (RGB, None), (BLACK_IS_ZERO, 2), (PALETTE, 2),
])
def test_a_sample_beyond_the_colours_is_opacity_where_the_file_says_so(look: int, extra: int | None, bits: int) -> None:
    top = (1 << bits) - 1
    samples = noise(top, CHANNELS[look] + 1)
    share = samples[:, :, -1:] / top
    if extra == 1:  # associated: colours are multiplied already
        samples[:, :, :-1] = np.rint(samples[:, :, :-1] * share)
    colours = np.random.default_rng(2).integers(0, 256, (256, 3))
    expected = look_of(samples[:, :, :-1] % (256 if look == PALETTE else 1 << bits), bits, look, colours)
    if extra == 2:
        expected = expected * share + 255 * (1 - share)
    elif extra == 1:
        expected = expected + 255 * (1 - share)
    tags = [] if extra is None else [(338, SHORT, [extra])]
    tags += [(320, SHORT, (colours.T.ravel() * 257).tolist())] if look == PALETTE else []
    for compression, planes, layout in product((NONE, DEFLATE), (False, True), LAYOUTS.values()):
        data = tiff(page(samples, bits, look, "<", compression, planes, tags=tags, **layout))
        try:
            pixels = shown(data)
        except UnreadableImage:
            assert planes or (look != RGB and bits > 8) or extra is None
        else:
            assert extra is not None
            assert np.abs(pixels - expected).max() < 3.5, (compression, planes, layout)


GREY = noise(255, 1)


@pytest.mark.parametrize(("bits", "tag"), [
    (32, (339, SHORT, [1])), (32, (339, SHORT, [3])), (16, (339, SHORT, [2])), (8, (339, SHORT, [2])),
])
def test_samples_without_a_fixed_black_and_white_are_refused(bits: int, tag: Tag) -> None:
    with pytest.raises(UnreadableImage, match="without a fixed"):
        shown(tiff(page(GREY, bits, BLACK_IS_ZERO, tags=[tag])))


@pytest.mark.parametrize(("subsampling", "reference"), [
    ((1, 1), None), ((2, 2), None), ((1, 1), [15, 235, 128, 240, 128, 240]),
])
def test_ycbcr_is_converted_or_refused(subsampling: tuple[int, int], reference: list[int] | None) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).convert("YCbCr")
    tags = [(530, SHORT, list(subsampling))]
    tags += [(532, RATIONAL, [part for value in reference for part in (value, 1)])] if reference else []
    data = tiff(page(np.asarray(image).astype(np.int64), 8, YCBCR, tags=tags))
    if subsampling == (1, 1) and not reference:
        assert np.array_equal(shown(data), np.asarray(image.convert("RGB")))
    else:
        with pytest.raises(UnreadableImage):
            shown(data)


@pytest.mark.parametrize("tag", [
    (332, SHORT, [2]),  # inks other than CMYK
    (259, SHORT, [6]),  # JPEG of the old style
])
def test_rare_kinds_are_refused(tag: Tag) -> None:
    with pytest.raises(UnreadableImage):
        shown(tiff(page(noise(255, 4), 8, CMYK, tags=[tag])))


def test_a_file_that_does_not_say_how_it_looks_is_refused() -> None:
    tags, blocks = page(GREY, 8, BLACK_IS_ZERO)
    with pytest.raises(UnreadableImage, match="does not say"):
        shown(tiff(([tag for tag in tags if tag[0] != 262], blocks)))


@pytest.mark.parametrize("mark", [(254, LONG, [1]), (254, LONG, [4]), (255, SHORT, [2])])
def test_the_first_page_of_full_size_is_shown(mark: Tag) -> None:
    full, copy = noise(255, 3), noise(200, 3, 8, 9)
    pages = [page(copy, 8, RGB, tags=[mark])] * 2 + [page(full, 8, RGB), page(copy, 8, RGB)]
    assert np.array_equal(shown(tiff(*pages)), full)
    with pytest.raises(UnreadableImage, match="full size"):
        shown(tiff(*pages[:2]))


def test_a_page_of_full_size_that_is_too_large_is_told_before_it_is_decoded() -> None:
    tags, blocks = page(noise(255, 1), 8, BLACK_IS_ZERO)
    huge = [(number, kind, [60_000] if number == 256 else values) for number, kind, values in tags]
    with pytest.raises(ImageSize, match="60000"):
        shown(tiff(page(noise(255, 1), 8, BLACK_IS_ZERO, tags=[(254, LONG, [1])]), (huge, blocks)))


@pytest.mark.parametrize("layout", ["strips", "tiles"])
@pytest.mark.parametrize("what", ["an offset is 0", "a size is 0", "one is missing"])
def test_a_block_that_is_not_there_is_told(layout: str, what: str) -> None:
    tags, blocks = page(GREY, 8, BLACK_IS_ZERO, **LAYOUTS[layout])
    sizes = [len(block) for block in blocks]
    places = [8] * len(blocks)
    if what == "an offset is 0":
        places[1] = 0
    elif what == "a size is 0":
        sizes[1] = 0
    else:
        places, sizes = places[:-1], sizes[:-1]
    changed = {273: places, 324: places, 279: sizes, 325: sizes}
    with pytest.raises(UnreadableImage, match="not there"):
        shown(tiff(([(number, kind, changed.get(number, values)) for number, kind, values in tags], blocks)))


# JPEG inside, and libtiff's own lines.


def with_jpeg(mode: str = "RGB") -> bytes:
    y, x = np.mgrid[:240, :320]
    pixels = np.stack([x % 256, y, (x + y) % 256], axis=2) + np.random.default_rng(0).integers(0, 20, (240, 320, 1))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF", compression="jpeg", quality=90)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
def test_jpeg_inside_is_read_and_its_damage_told(mode: str) -> None:
    data = with_jpeg(mode)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
        offset, size = image.tag_v2[273][0], image.tag_v2[279][0]  # type: ignore[attr-defined]
    assert np.array_equal(shown(data), expected)
    for place in range(offset + 40, offset + size - 600, 400):
        with pytest.raises(UnreadableImage, match="JPEG"):
            shown(data[:place] + bytes(512) + data[place + 512 :])


DAMAGED = with_jpeg().replace(b"\xff\xd8", b"\xff\xff")


@pytest.mark.parametrize("data", [
    DAMAGED, tiff(page(noise(255, 9), 8, RGB)), tiff(page(GREY, 8, BLACK_IS_ZERO, compression=LZW)),
])
def test_no_library_writes_lines_of_its_own(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnreadableImage):
        shown(data)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("PIL").handlers


def test_stderr_is_there_again_after_many_threads_have_read(capfd: pytest.CaptureFixture[str]) -> None:
    data = tiff(page(GREY, 8, BLACK_IS_ZERO))
    threads = [threading.Thread(target=shown, args=(data,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"here")
    assert capfd.readouterr().err == "here"


def test_a_file_is_read_where_stderr_is_closed() -> None:
    data = tiff(page(GREY, 8, BLACK_IS_ZERO))
    kept = os.dup(2)
    os.close(2)
    try:
        pixels = shown(data)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert np.array_equal(pixels, GREY.repeat(3, 2))
