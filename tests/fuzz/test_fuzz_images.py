"""Image files, damaged: each is read or refused with one line, and nothing else happens."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from fuzzing import damaged, fuzz
from PIL import Image, ImageCms, features

from ddncodec.errors import ImageSize, UnreadableImage
from ddncodec.images import MAX_PIXELS, MAX_SIDE, MIN_SIDE, Picture, read_picture

ROOT = Path(__file__).parents[2]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def corpus() -> dict[str, list[bytes]]:
    """Small files of every format, by format; the pictures of the repository, and what Pillow makes of one."""
    whole = Image.open(ROOT / "examples" / "face.png").convert("RGB")
    face = whole.resize((40, 32))
    grey, clear = face.convert("L"), face.copy()
    clear.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    few = face.quantize(7)
    variants: dict[str, list[tuple[Image.Image, dict[str, object]]]] = {
        "PNG": [(face, {"icc_profile": SRGB}), (grey, {"transparency": 9}), (clear, {}), (deep, {}),
                (few, {"transparency": 3}), (face, {"save_all": True, "append_images": [face]})],
        "JPEG": [(face, {}), (face, {"progressive": True}), (grey, {"restart_marker_rows": 1}),
                 (face.convert("CMYK"), {"icc_profile": SRGB})],
        "TIFF": [(face, {}), (deep, {}), (few, {}), (clear, {"compression": "tiff_lzw"}),
                 (face, {"compression": "jpeg"}), (grey.convert("1"), {"compression": "group4"}),
                 (face.convert("YCbCr"), {"compression": "tiff_adobe_deflate"}), (face.convert("CMYK"), {})],
        "GIF": [(few, {}), (few, {"transparency": 3, "save_all": True, "append_images": [few.rotate(90)]})],
        "BMP": [(face, {}), (few, {}), (clear, {}), (grey.convert("1"), {})],
        "WEBP": [(face, {}), (clear, {"lossless": True}), (face, {"save_all": True, "append_images": [grey]})],
        "JPEG2000": [(face, {}), (deep, {}), (clear, {"no_jp2": True})],
        "PPM": [(face, {}), (grey, {}), (deep, {}), (grey.convert("1"), {})],
    }
    if features.check("avif"):
        variants["AVIF"] = [(face, {"speed": 10}), (clear, {"speed": 10, "icc_profile": SRGB})]
    files: dict[str, list[bytes]] = {format: [] for format in variants}
    for format, images in variants.items():
        for image, options in images:
            file = io.BytesIO()
            image.save(file, format, **options)
            files[format].append(file.getvalue())
    files["PNG"] += [path.read_bytes() for path in sorted(ROOT.glob("tests/golden/*.png"))]
    files["PPM"] += [b"P3 8 8 999\n" + b"7 " * 192, b"P6 8 8 1000\n" + bytes(384)]
    return files


CORPUS = corpus()


def read(data: bytes, **options: int) -> Picture | None:
    """The picture, or None if it was refused as it should be."""
    try:
        picture = read_picture(io.BytesIO(data), **options)
    except (UnreadableImage, ImageSize) as error:
        assert str(error)
        assert str(error).isprintable()
        return None
    height, width = picture.size
    assert min(height, width) >= MIN_SIDE
    assert max(height, width) <= MAX_SIDE
    assert height * width <= MAX_PIXELS
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3
    assert picture.pixels.shape[2] == 3
    return picture


def leaves_no_file_open(data: bytes) -> bool:
    before = open_files()
    read(data)
    read(data, resolution=8)
    return open_files() == before


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize("format", CORPUS)
def test_a_damaged_file_is_read_or_refused(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    @fuzz(damaged(CORPUS[format]))
    def test(data: bytes) -> None:
        picture = read(data)
        fitted = read(data, resolution=8)
        assert (picture is None) == (fitted is None)
        if picture is not None and fitted is not None:
            assert fitted.size == picture.size
            assert fitted.pixels.shape == (8, 8, 3)
        assert any(leaves_no_file_open(data) for _ in range(3))  # other threads may open one meanwhile

    test()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", CORPUS)
def test_the_corpus_is_read(format: str) -> None:
    assert all(read(data) for data in CORPUS[format])
