"""Every kind of image file against one picture whose look is known."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from ddncodec.errors import ImageSize, OutputFailed, UnreadableImage
from ddncodec.images import (
    Picture,
    Pixels,
    fit,
    format_of,
    picture_of,
    read_picture,
    srgb_pixels,
    write_picture,
)

# Four colours in quadrants of different sizes, so that no flip or turn leaves it as it is.
QUADRANTS = np.zeros((24, 40, 3), np.uint8)
QUADRANTS[:8, :16] = 255, 0, 0
QUADRANTS[:8, 16:] = 0, 200, 0
QUADRANTS[8:, :16] = 0, 0, 255
QUADRANTS[8:, 16:] = 255, 255, 255
# A grey ramp with every 8-bit value.
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoded(image: Image.Image, format: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def decoded(image: Image.Image, format: str = "PNG", **options: object) -> Pixels:
    return read_picture(encoded(image, format, **options)).pixels


def assert_close(actual: Pixels, expected: Pixels, tolerance: int = 0) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == np.uint8
    assert np.abs(actual.astype(int) - expected).max() <= tolerance


def grey(values: Pixels) -> Pixels:
    return np.repeat(values[:, :, None], 3, axis=2)


LOSSLESS = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
    ("JPEG2000", {}),
]
LOSSY = [("JPEG", {"quality": 100, "subsampling": 0})]
if features.check("avif"):
    LOSSY.append(("AVIF", {"quality": 100, "subsampling": "4:4:4"}))


@pytest.mark.parametrize(("format", "options"), LOSSLESS + LOSSY)
def test_every_format_shows_the_same_picture(format: str, options: dict[str, object]) -> None:
    tolerance = 0 if (format, options) in LOSSLESS else 2
    assert_close(decoded(Image.fromarray(QUADRANTS), format, **options), QUADRANTS, tolerance)


@pytest.mark.parametrize("colors", [4, 256])
def test_a_palette_is_looked_up(colors: int) -> None:
    image = Image.fromarray(QUADRANTS).quantize(colors)
    assert_close(decoded(image), QUADRANTS)


def test_greys_and_one_bit_become_rgb() -> None:
    assert_close(decoded(Image.fromarray(RAMP)), grey(RAMP))
    bits = Image.fromarray(QUADRANTS[:, :, 0]).point(lambda v: 255 * (v > 128), "1")
    expected = grey(np.where(QUADRANTS[:, :, 0] > 128, 255, 0).astype(np.uint8))
    for format in ("PNG", "TIFF", "PPM"):
        assert_close(decoded(bits, format), expected)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    # 8-bit Lab is coarse, and Pillow's sRGB green lies at the edge of what it holds.
    tolerance = {"CMYK": 0, "YCbCr": 1, "LAB": 26}[mode]
    assert_close(decoded(Image.fromarray(QUADRANTS).convert(mode), "TIFF"), QUADRANTS, tolerance)


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    image = Image.fromarray(QUADRANTS).convert("CMYK")
    assert_close(decoded(image, "JPEG", quality=100), QUADRANTS, 12)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_grey_is_scaled_and_not_clipped(format: str) -> None:
    exact = RAMP.astype(np.uint16) * 257
    for offset in (0, 100, -100):  # 257 / 2 away, the next grey is nearer
        values = np.clip(exact.astype(int) + offset, 0, 65_535).astype(np.uint16)
        assert_close(decoded(Image.fromarray(values), format), grey(RAMP))


def test_big_endian_16_bit_grey_is_scaled_too() -> None:
    values = RAMP.astype(">u2") * 257
    image = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    assert_close(decoded(image, "TIFF"), grey(RAMP))


def test_floats_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="floating"):
        decoded(Image.fromarray(np.zeros((16, 16), np.float32)), "TIFF")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    image = Image.fromarray(QUADRANTS).convert("L").convert(mode)
    alpha = np.full((24, 40), 255, np.uint8)
    alpha[:, 20:30], alpha[:, 30:] = 51, 0
    image.putalpha(Image.fromarray(alpha))
    colour = np.asarray(image.convert("RGB")).astype(float)
    share = alpha[:, :, None] / 255
    expected = np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)
    for format in ("PNG", "TIFF"):
        assert_close(decoded(image, format), expected, 1)


def test_a_transparent_palette_entry_and_colour_key_show_white() -> None:
    image = Image.fromarray(QUADRANTS).quantize(4)
    expected = QUADRANTS.copy()
    expected[:8, :16] = 255
    red = image.getpixel((0, 0))
    alphas = bytes(0 if i == red else 255 for i in range(4))
    for format, transparency in (("PNG", red), ("PNG", alphas), ("GIF", red)):
        assert_close(decoded(image, format, transparency=transparency), expected)
    assert_close(decoded(Image.fromarray(QUADRANTS), transparency=(255, 0, 0)), expected)


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "HSV", "RGBX"])
def test_modes_that_few_files_have_are_understood(mode: str) -> None:
    if mode == "La":
        source = Image.fromarray(RAMP).convert("LA").convert("La")
        assert_close(picture_of(source).pixels, grey(RAMP))
        return
    source = Image.fromarray(QUADRANTS)
    source = source.quantize(4) if mode == "PA" else source
    source = source.convert("RGBA") if mode == "RGBa" else source
    assert_close(picture_of(source.convert(mode)).pixels, QUADRANTS)


STORED = {  # what a camera stores for each EXIF orientation, by numpy
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_picture_is_upright(format: str, orientation: int) -> None:
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](QUADRANTS)))
    pixels = decoded(image, format, exif=exif, **options.get(format, {}))
    assert_close(pixels, QUADRANTS, 2 if format == "JPEG" else 0)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    pixels = decoded(Image.fromarray(QUADRANTS), "JPEG", exif=exif, quality=100, subsampling=0)
    assert_close(pixels, QUADRANTS, 2)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_shown(format: str) -> None:
    frames = [Image.fromarray(QUADRANTS), Image.fromarray(255 - QUADRANTS)]
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = decoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert_close(pixels, QUADRANTS)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# sRGB with red and green exchanged.
SWAPPED = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def grey_profile(gamma: float) -> bytes:
    """The smallest grey ICC profile: a header, a white point and a curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63_190, 65_536, 54_061)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 176, len(curve))
    header = struct.pack(">I4xI4s4s4s", 192, 0x0210_0000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63_190, 65_536, 54_061)
    return header.ljust(128, b"\0") + table + white + curve


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_embedded_profile_is_converted_to_srgb(format: str) -> None:
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    picture = read_picture(
        encoded(
            Image.fromarray(QUADRANTS[:, :, [1, 0, 2]]),
            format,
            icc_profile=SWAPPED,
            **options.get(format, {}),
        )
    )
    assert picture.icc is None
    assert_close(picture.pixels, QUADRANTS, 3)


def test_a_grey_profile_is_converted_to_srgb() -> None:
    linear = (RAMP / 255) ** 1.8
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    expected = grey(np.rint(255 * srgb).astype(np.uint8))
    for keep_icc in (False, True):  # a profile that is not RGB cannot be kept
        file = encoded(Image.fromarray(RAMP), "PNG", icc_profile=grey_profile(1.8))
        picture = read_picture(file, keep_icc=keep_icc)
        assert picture.icc is None
        assert_close(picture.pixels, expected, 3)


def test_a_palette_with_a_profile_is_converted_too() -> None:
    image = Image.fromarray(QUADRANTS[:, :, [1, 0, 2]]).quantize(4)
    assert_close(decoded(image, icc_profile=SWAPPED), QUADRANTS, 3)


def test_an_rgb_profile_is_kept_on_request() -> None:
    file = encoded(Image.fromarray(QUADRANTS), "PNG", icc_profile=SWAPPED)
    picture = read_picture(file, keep_icc=True)
    assert picture.icc == SWAPPED
    assert_close(picture.pixels, QUADRANTS)


@pytest.mark.parametrize("icc", [b"garbage", SRGB[:200], bytes(500), grey_profile(1.8)])
@pytest.mark.parametrize("keep_icc", [False, True])
def test_a_profile_that_is_broken_or_of_another_kind_is_ignored(icc: bytes, keep_icc: bool) -> None:
    file = encoded(Image.fromarray(QUADRANTS), "PNG", icc_profile=icc)
    picture = read_picture(file, keep_icc=keep_icc)
    assert picture.icc is None
    assert_close(picture.pixels, QUADRANTS)


@pytest.mark.parametrize(("format", "options"), LOSSLESS + LOSSY)
def test_a_truncated_image_is_refused(format: str, options: dict[str, object]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format, **options).getvalue()
    for end in {*range(0, len(data) - 32, len(data) // 16), len(data) - 32}:
        with pytest.raises(UnreadableImage) as caught:
            read_picture(io.BytesIO(data[:end]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"hello, world\n", b"\0" * 1000, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n"]
)
def test_what_is_no_image_is_refused(data: bytes, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(UnreadableImage) as caught:
        read_picture(io.BytesIO(data))
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)
    assert not recwarn.list


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_damaged_bytes_raise_nothing_else(format: str) -> None:
    data = encoded(Image.fromarray(QUADRANTS), format).getvalue()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for position in random.integers(0, len(data), 3):
            damaged[position] = random.integers(256)
        try:
            assert read_picture(io.BytesIO(bytes(damaged))).pixels.ndim == 3
        except (UnreadableImage, ImageSize):
            continue


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7), (20_000, 1), (16_385, 8)])
def test_sizes_out_of_range_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageSize, match=f"{size[0]} x {size[1]}"):
        decoded(Image.new("1", size))


@pytest.mark.parametrize("size", [(8, 8), (16_384, 8)])
def test_sizes_at_the_limits_are_read(size: tuple[int, int]) -> None:
    assert decoded(Image.new("1", size)).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("size", [(9_000, 9_000), (16_384, 16_384), (60_000, 60_000)])
def test_a_huge_area_is_refused_before_it_is_decoded(
    size: tuple[int, int], recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(ImageSize):  # a header alone: decoding would say that it is truncated
        read_picture(io.BytesIO(b"P6 %d %d 255\n" % size))
    assert not recwarn.list


def test_a_pipe_can_be_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, encoded(Image.fromarray(QUADRANTS), "PNG").getvalue())
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert_close(read_picture(file).pixels, QUADRANTS)


def test_fit_averages_areas_where_no_side_grows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    means = pixels.reshape(12, 2, 10, 4, 3).mean(axis=(1, 3))
    assert_close(fit(pixels, (12, 10)), np.rint(means).astype(np.uint8), 1)
    means = pixels.reshape(24, 10, 4, 3).mean(axis=2)
    assert_close(fit(pixels, (24, 10)), np.rint(means).astype(np.uint8), 1)


def test_fit_is_bicubic_where_a_side_grows() -> None:
    expected = np.asarray(Image.fromarray(QUADRANTS).resize((20, 48), Image.Resampling.BICUBIC))
    assert_close(fit(QUADRANTS, (48, 20)), expected)
    assert fit(QUADRANTS, 64).shape == (64, 64, 3)


def test_fit_leaves_the_right_size_alone() -> None:
    assert fit(QUADRANTS, (24, 40)) is QUADRANTS


@pytest.mark.parametrize("name", ["a.png", "a.WEBP", "a.bmp", "a.tif", "a.tiff", "a.ppm", "a.jpg"])
def test_what_is_written_reads_back(name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    write_picture(Picture(noise), file, format_of(Path(name)))
    assert_close(read_picture(file).pixels, noise, 24 if name == "a.jpg" else 0)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_a_profile_is_embedded(format: str) -> None:
    file = io.BytesIO()
    write_picture(Picture(QUADRANTS, SWAPPED), file, format)
    assert read_picture(file, keep_icc=True).icc == SWAPPED


@pytest.mark.parametrize("format", ["BMP", "PPM"])
def test_a_profile_is_applied_where_it_cannot_be_embedded(format: str) -> None:
    file = io.BytesIO()
    write_picture(Picture(QUADRANTS[:, :, [1, 0, 2]], SWAPPED), file, format)
    assert_close(read_picture(file).pixels, QUADRANTS, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"])
def test_an_image_of_pillow_is_seen_as_a_file_of_it(mode: str) -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257 if mode == "I;16" else QUADRANTS)
    image = image if mode == "I;16" else image.convert(mode)
    assert image.mode == mode
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.new("L", image.size, 77))
    assert_close(picture_of(image).pixels, decoded(image, "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"))


def test_an_opened_file_is_seen_upright_and_in_srgb() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(QUADRANTS[:, :, [1, 0, 2]]).copy())
    with Image.open(encoded(turned, "PNG", exif=exif, icc_profile=SWAPPED)) as image:
        assert_close(picture_of(image).pixels, QUADRANTS, 3)


def test_an_image_of_pillow_that_cannot_be_decoded_is_refused() -> None:
    half = encoded(Image.fromarray(QUADRANTS), "BMP").getvalue()[:1_500]
    for image in (Image.open(io.BytesIO(half)), Image.new("F", (8, 8)), Image.new("I", (8, 8))):
        with pytest.raises(UnreadableImage):
            picture_of(image)


def test_pixels_of_a_picture_come_in_srgb() -> None:
    assert_close(srgb_pixels(Picture(QUADRANTS[:, :, [1, 0, 2]], SWAPPED)), QUADRANTS, 3)
    assert srgb_pixels(Picture(QUADRANTS)) is QUADRANTS


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.gz", ".png"])
def test_an_unknown_suffix_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"known: png, webp"):
        format_of(Path(name))


def test_a_picture_too_large_for_its_format_is_refused() -> None:
    with pytest.raises(OutputFailed, match="cannot write the image as WEBP"):
        write_picture(Picture(np.zeros((8, 16_384, 3), np.uint8)), io.BytesIO(), "WEBP")
