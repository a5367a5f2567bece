"""Colours to sRGB: by ICC profiles, and by profiles made of the plain tags that PNG and AVIF have in their place."""

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ddncodec.errors import UnreadableImage

Point = tuple[float, float]  # CIE x, y
Primaries = tuple[Point, ...]  # red, green, blue

D65: Point = (0.3127, 0.3290)
BT709: Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))

# ITU-T H.273, table 2: red, green and blue, and white. What is unspecified (2) is taken for BT.709.
_PRIMARIES: dict[int, tuple[Primaries, Point]] = {
    1: (BT709, D65),
    2: (BT709, D65),
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), (0.310, 0.316)),
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), D65),
    6: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), D65),
    7: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), D65),
    8: (((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)), (0.310, 0.316)),
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), D65),
    11: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.314, 0.351)),
    12: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65),
    22: (((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)), D65),
}

# ITU-T H.273, table 3: parameters g, a, b, c, d of y = (a x + b)^g, c x below d; a gamma has g alone. Browsers show the
# curves of television (1, 6, 14, 15) as sRGB's, and so is what is unspecified (2).
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES: dict[int, tuple[float, ...]] = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), _SRGB_CURVE),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
}
_HDR = {16: "PQ", 18: "HLG"}

_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of profiles
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """The image taken from its profile to sRGB; unchanged if the profile is broken or not its."""
    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # browsers ignore such a profile too
        return image
    return converted or image


def is_rgb_profile(icc: bytes | None) -> bool:
    """Whether these are the bytes of an ICC profile of RGB colours."""
    try:
        profile = ImageCms.getOpenProfile(io.BytesIO(icc or b""))
    except (ImageCms.PyCMSError, OSError):
        return False
    return profile.profile.xcolor_space.strip() == "RGB"


def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """A profile for two code points of ITU-T H.273; None for those of sRGB.

    Raises UnreadableImage for the HDR curves, which have no look on a screen of sRGB, and for codes that are not known.
    """
    if transfer in _HDR:
        raise UnreadableImage(f"the image is HDR ({_HDR[transfer]}), which cannot be shown in sRGB")
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        raise UnreadableImage(f"the image's colours, coded as {primaries}/{transfer}, are of an unknown kind")
    chromaticities, white = _PRIMARIES[primaries]
    if chromaticities == BT709 and _CURVES[transfer] == _SRGB_CURVE:
        return None
    return _profile(chromaticities, white, _CURVES[transfer])


def gamma_profile(gamma: float | None, white: Point = D65, *primaries: Point) -> bytes | None:
    """A profile for a PNG's gAMA and cHRM; None where they say sRGB or nothing that can be.

    Args:
        gamma: That of the file: the exponent that makes samples of light. sRGB's curve if None; 1 / 2.2 stands for that
            too beside the primaries of sRGB, as the PNG specification writes sRGB for programs that know gAMA alone.
        white: Used with primaries alone.
        primaries: Red, green, blue; those of sRGB if there are none.
    """
    if gamma is not None and not 0.01 <= gamma <= 100:
        gamma = None
    if not primaries or np.allclose([*primaries, white], [*BT709, D65], atol=0.002):
        white, primaries = D65, BT709
        if gamma is None or abs(2.2 * gamma - 1) < 0.05:  # libpng's threshold
            return None
    try:
        return _profile(primaries, white, _SRGB_CURVE if gamma is None else (1 / gamma,))
    except (ZeroDivisionError, np.linalg.LinAlgError, struct.error):  # no triangle; browsers ignore it too
        return None


def _profile(primaries: Primaries, white: Point, curve: tuple[float, ...]) -> bytes:
    """An ICC profile, version 4, of a matrix and a curve.

    Raises ZeroDivisionError, LinAlgError, struct.error where there is none.
    """
    matrix = _to_d50(primaries, white)
    kind = 3 if len(curve) > 1 else 0
    tags = {b"wtpt": _xyz(_D50), b"rTRC": b"para" + struct.pack(f">4xHH{len(curve)}i", kind, 0, *map(_fixed, curve))}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)}
    names = [(name, name) for name in tags] + [(b"gTRC", b"rTRC"), (b"bTRC", b"rTRC")]
    at, offsets, content = 128 + 4 + 12 * len(names), {}, b""
    for name, data in tags.items():
        offsets[name] = at + len(content)
        content += data
    table = b"".join(struct.pack(">4sII", name, offsets[stored], len(tags[stored])) for name, stored in names)
    header = struct.pack(">I4xI4s4s4s12x4s28x", at + len(content), 0x0430_0000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (header + _xyz(_D50)[8:]).ljust(128, b"\0") + struct.pack(">I", len(names)) + table + content


def _to_d50(primaries: Primaries, white: Point) -> npt.NDArray[np.float64]:
    """The matrix from linear RGB to XYZ under D50."""
    columns = np.array([_from_xy(point) for point in primaries]).T
    source = _from_xy(white)
    matrix = columns * np.linalg.solve(columns, source)
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ source)
    adapted: npt.NDArray[np.float64] = np.linalg.solve(_BRADFORD, scale[:, None] * _BRADFORD) @ matrix
    return adapted


def _from_xy(point: Point) -> npt.NDArray[np.float64]:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", *map(_fixed, values))


def _fixed(value: float) -> int:
    """As a number of 16 bits before and 16 after the point."""
    return round(value * 65_536)
