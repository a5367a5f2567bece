"""JPEG 2000 and AVIF: depth and colours are those that the file states."""

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, features

from ddncodec.errors import UnreadableImage
from ddncodec.images import read_picture

Array = npt.NDArray[np.int64]

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def shown(data: bytes) -> Array:
    return read_picture(io.BytesIO(data)).pixels.astype(np.int64)


def encoded(pixels: npt.NDArray[np.uint8], format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


# JPEG 2000.


def jpeg2000(samples: Array, bits: int, container: str = "JP2") -> bytes:
    imagecodecs = pytest.importorskip("imagecodecs")
    kind = np.uint8 if bits <= 8 else np.uint16
    whole: bytes = imagecodecs.jpeg2k_encode(samples.astype(kind), bitspersample=bits, codecformat=container, level=0,
                                             reversible=True)
    return whole


@pytest.mark.parametrize("container", ["JP2", "J2K"])
@pytest.mark.parametrize("bits", [1, 2, 4, 5, 8, 9, 12, 16])
def test_grey_samples_of_any_depth_are_scaled(bits: int, container: str) -> None:
    white = (1 << bits) - 1
    samples = np.random.default_rng(bits).integers(0, white + 1, (40, 48))
    samples[0, :2] = 0, white
    expected = np.floor(samples * 255 / white + 0.5)
    data = jpeg2000(samples, bits, container)
    if (bits, container) == (9, "JP2"):  # which Pillow takes for 8
        with pytest.raises(UnreadableImage, match="9 bits"):
            shown(data)
    else:
        assert np.array_equal(shown(data), expected[:, :, None].repeat(3, 2))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_colours_of_up_to_8_bits_are_scaled(bits: int) -> None:
    white = (1 << bits) - 1
    samples = np.random.default_rng(bits).integers(0, white + 1, (40, 48, 3))
    assert np.array_equal(shown(jpeg2000(samples, bits)), np.floor(samples * 255 / white + 0.5))


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_colours_of_more_bits_are_refused(bits: int) -> None:
    with pytest.raises(UnreadableImage, match=f"{bits} bits"):
        shown(jpeg2000(np.zeros((40, 48, 3), np.int64), bits))


JP2 = encoded(COLOURS, "JPEG2000")
SIZ = JP2.index(b"\xff\x4f\xff\x51")


def patched(place: int, value: bytes) -> bytes:
    return JP2[:place] + value + JP2[place + len(value) :]


@pytest.mark.parametrize(("data", "why"), [
    (patched(SIZ + 42, b"\x87"), "signed"),
    (patched(SIZ + 45, b"\x06"), "several depths"),
    (patched(JP2.index(b"ihdr") + 4, struct.pack(">I", 41)), "two sizes"),
    (JP2[: SIZ + 30], "the header"),
])
def test_headers_that_cannot_be_trusted_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(UnreadableImage):
        shown(data)


def with_header(old: bytes, new: bytes) -> bytes:
    """JP2 with boxes of its header exchanged."""
    place = JP2.index(b"jp2h") - 4
    size = int.from_bytes(JP2[place : place + 4], "big")
    return JP2[:place] + box(b"jp2h", JP2[place + 8 : place + size].replace(old, new)) + JP2[place + size :]


COLR = box(b"colr", b"\1\0\0" + struct.pack(">I", 16))


def test_an_embedded_profile_is_converted() -> None:
    for method in (2, 3):
        data = with_header(COLR, box(b"colr", bytes([method, 0, 0]) + SWAPPED))
        assert np.abs(shown(data) - COLOURS[:, :, [1, 0, 2]]).max() <= 3


@pytest.mark.parametrize("boxes", [
    box(b"colr", b"\1\0\0" + struct.pack(">I", 14)),  # CIELab
    COLR + box(b"pclr", b"\0\1\3\7\7\7abc"),
    COLR + box(b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1)),  # blue, green, red
    COLR + b"\0\0\7\0junk",
])
def test_colours_that_would_be_mistaken_are_refused(boxes: bytes) -> None:
    with pytest.raises(UnreadableImage):
        shown(with_header(COLR, boxes))


def test_channels_in_their_usual_order_are_read() -> None:
    usual = box(b"cdef", struct.pack(">H9H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3))
    assert np.array_equal(shown(with_header(COLR, COLR + usual)), COLOURS)


def test_a_codestream_without_its_end_shows_all_of_its_pixels() -> None:
    stream = JP2[SIZ:]
    for whole in (JP2, JP2[:-2], stream, stream[:-2], JP2 + bytes(9)):
        assert np.array_equal(shown(whole), COLOURS)
    for missing in (3, 4, 50, 2000):
        with pytest.raises(UnreadableImage):
            shown(JP2[:-missing])
        with pytest.raises(UnreadableImage):
            shown(JP2[:-missing] + b"\xff\xd9")


# AVIF.


AVIF = encoded(COLOURS // 64 * 64, "AVIF", quality=100, subsampling="4:4:4") if features.check("avif") else b""
avif = pytest.mark.skipif(not AVIF, reason="Pillow without AVIF")
NCLX = b"nclx\0\1\0\x0d"  # of sRGB: how Pillow writes it


def coded(primaries: int, transfer: int) -> bytes:
    assert NCLX in AVIF
    return AVIF.replace(NCLX, b"nclx" + struct.pack(">HH", primaries, transfer))


def to_light(values: Array) -> npt.NDArray[np.float64]:
    share = values / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def of_light(light: npt.NDArray[np.float64]) -> Array:
    light = light.clip(0, 1)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(int)


# Linear light of Display P3 and of Rec. 2020 to that of sRGB: CSS Color 4.
P3_TO_SRGB = np.array([[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]])
REC2020_TO_SRGB = np.array([[1.66049, -0.58764, -0.07285], [-0.12455, 1.1329, -0.00835], [-0.01815, -0.10058, 1.11873]])


@avif
@pytest.mark.parametrize(("primaries", "transfer", "convert"), [
    (12, 13, lambda v: of_light(to_light(v) @ P3_TO_SRGB.T)),
    (9, 13, lambda v: of_light(to_light(v) @ REC2020_TO_SRGB.T)),
    (1, 8, lambda v: of_light(v / 255)),
    (1, 4, lambda v: of_light((v / 255) ** 2.2)),
    (1, 1, lambda v: v),
    (2, 2, lambda v: v),
])
def test_coded_colours_are_honoured(primaries: int, transfer: int, convert: object) -> None:
    assert callable(convert)
    assert np.abs(shown(coded(primaries, transfer)) - convert(shown(AVIF))).max() <= 3


@avif
@pytest.mark.parametrize("code", [(9, 16), (9, 18), (1, 99), (99, 13)])
def test_coded_colours_that_have_no_look_are_refused(code: tuple[int, int]) -> None:
    with pytest.raises(UnreadableImage):
        shown(coded(*code))


@avif
def test_a_profile_goes_before_coded_colours() -> None:
    data = encoded(COLOURS // 64 * 64, "AVIF", quality=100, subsampling="4:4:4", icc_profile=SWAPPED)
    assert np.abs(shown(data) - shown(AVIF)[:, :, [1, 0, 2]]).max() <= 4


@avif
def test_a_cropped_image_is_refused() -> None:
    clap = box(b"clap", struct.pack(">8I", 24, 1, 20, 1, 0, 1, 0, 1))
    pixels = AVIF.index(b"mdat") + 4
    data = AVIF.replace(struct.pack(">I", pixels), struct.pack(">I", pixels + len(clap)))  # in iloc
    for kind in (b"meta", b"iprp", b"ipco"):
        place = data.index(kind) - 4
        size = int.from_bytes(data[place : place + 4], "big")
        data = data[:place] + struct.pack(">I", size + len(clap)) + data[place + 4 :]
    end = data.index(b"ipma") - 4
    data = data[:end] + clap + data[end:].replace(b"\x04\x01\x02\x83\x04", b"\x04\x01\x85\x83\x04")
    with pytest.raises(UnreadableImage, match="part of its image"):
        shown(data)


@avif
def test_properties_that_are_not_there_are_told() -> None:
    place = AVIF.index(b"ipma")
    with pytest.raises(UnreadableImage):
        shown(AVIF[: place + 15] + b"\x7f" * 4 + AVIF[place + 19 :])
