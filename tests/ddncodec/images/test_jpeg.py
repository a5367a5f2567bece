"""JPEG: good files of many kinds are read as Pillow decodes them, and damaged ones told."""

import io
from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ddncodec.errors import UnreadableImage
from ddncodec.images import fit, read_picture

Array = npt.NDArray[np.int64]
EOI = b"\xff\xd9"


def scene(width: int, height: int, noise: float = 6) -> Image.Image:
    """Areas, edges, and some noise, as photographs have."""
    y, x = np.mgrid[:height, :width]
    red = 128 + 100 * np.sin(x / 37) * np.cos(y / 23)
    green = np.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2, 200, 60)
    pixels = np.stack([red, green, 255 * x / width], axis=2)
    pixels += np.random.default_rng(0).normal(0, noise, (height, width, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def shown(data: bytes) -> Array:
    return read_picture(io.BytesIO(data)).pixels.astype(np.int64)


CODINGS = {
    "baseline": {},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts by rows": {"restart_marker_rows": 1},
    "restarts by blocks": {"restart_marker_blocks": 3},
    "a restart for each block": {"restart_marker_blocks": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}


def good() -> Iterator[tuple[str, Image.Image, dict[str, object]]]:
    for coding, mode, quality, subsampling, size in product(
        CODINGS.values(), ("RGB", "L", "CMYK"), (10, 75, 100), (0, 1, 2), ((64, 48), (33, 47), (8, 8), (97, 9)),
    ):
        if mode == "RGB" or not subsampling:
            yield mode, scene(*size).convert(mode), {**coding, "quality": quality, "subsampling": subsampling}
    for coding, colour in product(CODINGS.values(), ("white", "black", "grey", "red")):
        yield colour, Image.new("RGB", (200, 160), colour), {**coding, "quality": 90}
    checks = Image.fromarray((np.indices((128, 128)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8))
    for coding in CODINGS.values():
        yield "checks", checks, {**coding, "quality": 90}


def test_good_files_are_decoded_as_pillow_does() -> None:
    count = 0
    for name, image, options in good():
        try:
            data = jpeg(image, **options)
        except OSError:  # Pillow's encoder fails on some of the smallest
            continue
        with Image.open(io.BytesIO(data)) as opened:
            expected = np.asarray(opened.convert("RGB"))
        for whole in (data, data[:-2], data + b"trailing bytes" * 50, data[:-2] + b"\xff\xff" + EOI):
            assert np.array_equal(shown(whole), expected), (name, options)
        count += 1
    assert count > 400


def test_a_lossless_jpeg_is_read() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.asarray(scene(64, 48))
    assert np.array_equal(shown(imagecodecs.jpeg8_encode(pixels, lossless=True)), pixels)


def test_the_first_picture_of_several_is_read() -> None:
    file = io.BytesIO()
    first = scene(64, 48)
    first.save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))], quality=95)
    assert np.abs(shown(file.getvalue()) - np.asarray(first)).mean() < 6


# Damage.

CODED = {name: jpeg(scene(320, 240), quality=85, **options) for name, options in CODINGS.items()}


def entropy_coded(data: bytes) -> int:
    """Where the data of the first scan begin."""
    scan = data.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")


def told(data: bytes) -> bool:
    try:
        read_picture(io.BytesIO(data))
    except UnreadableImage as error:
        assert "\n" not in str(error)
        return True
    return False


@pytest.mark.parametrize("coding", CODINGS)
def test_a_file_that_is_cut_is_told(coding: str) -> None:
    data = CODED[coding]
    start = entropy_coded(data)
    for end in np.linspace(start, len(data) - 12, 40).astype(int):
        assert told(data[:end])
        assert told(data[:end] + EOI)
        assert told(data[:end] + bytes(1000))  # as a download that never came


@pytest.mark.parametrize("coding", CODINGS)
def test_a_file_that_lacks_bits_of_its_last_pixels_is_told(coding: str) -> None:
    data = CODED[coding]
    whole = shown(data)
    for missing in range(2, 12):
        part = data[:-missing]
        assert told(part) == (missing > 2) or np.array_equal(shown(part), whole)  # a byte of padding is none of pixels


@pytest.mark.parametrize("coding", CODINGS)
def test_a_zeroed_block_is_told(coding: str) -> None:
    data = CODED[coding]
    start = entropy_coded(data)
    for place in np.linspace(start, len(data) - 600, 20).astype(int):
        assert told(data[:place] + bytes(512) + data[place + 512 :])


@pytest.mark.parametrize("coding", ["baseline", "optimized", "restarts by rows", "restarts by blocks"])
def test_a_block_that_is_overwritten_or_missing_is_told_nearly_always(coding: str) -> None:
    data, random = CODED[coding], np.random.default_rng(0)
    start = entropy_coded(data)
    places = random.integers(start, len(data) - 600, 30)
    for block in (random.integers(0, 256, 512, np.uint8).tobytes(), b"\xff" * 512, b""):
        assert sum(told(data[:place] + block + data[place + 512 :]) for place in places) >= 27


def test_a_progressive_file_without_its_last_scans_is_told() -> None:
    data = CODED["progressive"]
    last = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
    assert told(data[:last] + EOI)


@pytest.mark.parametrize("header", [
    b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xda\0\2", b"\xff\xd8\xff\xc0\0\2\xff\xd9", CODED["baseline"][:300],
])
def test_what_has_no_scan_is_told(header: bytes) -> None:
    assert told(header)


def test_arithmetic_coding_is_refused() -> None:
    data = CODED["baseline"].replace(b"\xff\xc0", b"\xff\xc9", 1)
    with pytest.raises(UnreadableImage, match="arithmetic"):
        shown(data)


def test_restart_markers_out_of_order_are_told() -> None:
    data = CODED["restarts by rows"]
    assert told(data.replace(b"\xff\xd2", b"\xff\xd3", 1))


# A reduced scale.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1300, 1100), (1301, 1099)])
def test_a_large_jpeg_at_a_reduced_scale_hardly_differs(size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(scene(*size), quality=90, exif=exif)
    whole = read_picture(io.BytesIO(data))
    fitted = read_picture(io.BytesIO(data), resolution=64)
    assert fitted.pixels.shape == (64, 64, 3)
    assert fitted.size == whole.size == whole.pixels.shape[:2]
    assert np.abs(fitted.pixels.astype(int) - fit(whole.pixels, 64)).mean() < 0.5


def test_a_reduced_scale_is_one_of_means() -> None:
    """Areas are weighed exactly: a ramp's means are known."""
    ramp = Image.fromarray(np.linspace(0, 255, 1203).round().astype(np.uint8)[None].repeat(1101, 0))
    fitted = read_picture(io.BytesIO(jpeg(ramp, quality=100)), resolution=64).pixels[0, :, 0]
    assert np.abs(fitted - (np.arange(64) + 0.5) * 255 / 64).max() <= 1


@pytest.mark.parametrize("coding", CODINGS)
def test_damage_is_told_at_a_reduced_scale_too(coding: str) -> None:
    data = jpeg(scene(1300, 1100), quality=80, **CODINGS[coding])
    with pytest.raises(UnreadableImage):
        read_picture(io.BytesIO(data[: len(data) // 2] + EOI), resolution=64)


def test_other_files_are_fitted_whole() -> None:
    file = io.BytesIO()
    image = scene(200, 100)
    image.save(file, "PNG")
    picture = read_picture(file, resolution=32)
    assert picture.size == (100, 200)
    assert np.array_equal(picture.pixels, fit(np.asarray(image), 32))
