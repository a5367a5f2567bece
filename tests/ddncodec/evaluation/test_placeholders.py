"""Placeholders as peers: they are what others write and read, and their bytes are counted to the last."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddncodec.evaluation import placeholders
from ddncodec.evaluation.peers import FileCodec, Peer
from ddncodec.evaluation.placeholders import PLACEHOLDERS
from ddncodec.metrics.distortion import Pixels, squared_errors

ROOT = Path(__file__).parents[3]
BUDGETS = (24, 52, 200)
NATURAL = {"thumbhash": 24, "blurhash-4x3": 28, "blurhash-6x4": 52, "bc1": 32}


@pytest.fixture(scope="module")
def face() -> Pixels:
    return np.asarray(Image.open(ROOT / "examples/face.png").convert("RGB"))


def here(peer: Peer) -> Peer:
    if why := peer.unavailable(64):
        pytest.skip(why)
    return peer


def test_a_thumbhash_is_what_the_reference_makes_and_shows() -> None:
    """Of the package thumbhash 0.1.1 on npm, by its author: the hash of examples/face.png, and pixels at 32×32."""
    image = np.asarray(Image.open(ROOT / "examples/face.png").convert("RGB"))
    code = placeholders.thumbhash(image)
    assert code.hex() == "53180a07049989889d8a787c79f966c67779d91c8f077705"
    shown = placeholders.from_thumbhash(code, 32)
    assert shown[[0, 0, 31, 31, 16], [0, 31, 0, 31, 16]].tolist() == [
        [208, 227, 205], [210, 223, 205], [88, 102, 83], [54, 67, 48], [93, 54, 61]]


def test_a_thumbhash_at_any_size_is_one_picture(face: Pixels) -> None:
    code = placeholders.thumbhash(face)
    large = placeholders.from_thumbhash(code, 64).reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(large - placeholders.from_thumbhash(code, 32)).max() < 3


def test_a_flat_picture_is_one_colour() -> None:
    flat = np.full((64, 64, 3), (200, 90, 30), np.uint8)
    shown = placeholders.from_thumbhash(placeholders.thumbhash(flat), 64)
    assert np.ptp(shown, (0, 1)).tolist() == [0, 0, 0]
    assert np.abs(shown[0, 0].astype(int) - flat[0, 0]).max() < 8


def test_a_blurhash_is_what_the_reference_makes(face: Pixels) -> None:
    """Of the package blurhash 2.0.5 on npm, by its authors."""
    pytest.importorskip("blurhash")
    assert placeholders.blurhash(4, 3, face) == b"LAB3j2%Ku1tk~pxr-:t6?uV[%LjG"


def test_a_bc1_texture_is_read_alike_by_another_decoder(face: Pixels) -> None:
    pytest.importorskip("quicktex")
    imagecodecs = pytest.importorskip("imagecodecs")
    code = placeholders.bc1(face)
    other = imagecodecs.bcn_decode(code, 1, shape=(8, 8, 4))[..., :3]
    enlarged = np.asarray(Image.fromarray(np.ascontiguousarray(other)).resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(enlarged.astype(int) - placeholders.from_bc1(code, 64)).max() <= 2


@pytest.mark.parametrize("peer", PLACEHOLDERS, ids=lambda peer: peer.name)
def test_each_keeps_to_its_budget_and_more_bytes_are_no_worse(peer: Peer, face: Pixels) -> None:
    tuned = here(peer).tune(face[None], BUDGETS, map, lambda count: None)
    rows = [row[0] for row in tuned.coded]
    for budget, coded in zip(BUDGETS, rows, strict=True):
        assert (coded is None) == (tuned.smallest[0] > budget)
        if coded is not None:
            assert 0 < coded.payload <= coded.size <= budget
            assert coded.pixels.shape == face.shape
    assert rows[-1] is not None
    errors = [squared_errors(face[None], coded.pixels[None])[0] for coded in rows if coded]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < np.square(face - face.mean((0, 1))).mean()
    assert rows[-1].size == NATURAL.get(peer.name, rows[-1].size)


@pytest.mark.parametrize("name", ["jpeg-shared", "webp-bare"])
@pytest.mark.parametrize("side", [8, 23, 64])
def test_what_is_left_out_of_a_file_is_known_without_it(name: str, side: int, face: Pixels) -> None:
    """The bare code shows what the whole file shows, and the whole file holds every byte of it but what is told."""
    codec = next(peer for peer in PLACEHOLDERS if peer.name == name)
    assert isinstance(codec, FileCodec)
    image = np.ascontiguousarray(face[:side, :side])
    options = {"jpeg-shared": {"subsampling": 2, "quality": 41}, "webp-bare": {"quality": 40, "method": 6}}[name]
    whole = placeholders.saved(image, "JPEG" if name == "jpeg-shared" else "WEBP", **options)
    code = codec.encode(image, 40)
    assert code[3:] in whole
    assert (codec.decode(code) == placeholders.opened(whole)).all()
    for encode in codec.others:
        assert codec.decode(encode(image, 40)).shape == image.shape


def test_a_traced_svg_is_polygons_that_a_renderer_draws_as_the_whole_file(face: Pixels) -> None:
    vtracer = pytest.importorskip("vtracer")
    resvg = pytest.importorskip("resvg_py")
    shapes = placeholders.traced(face, 4, 32, 6)
    assert all(re.fullmatch(r"(M-?\d+[ -]\d+l[\d -]+)+#[\da-f]{3}", shape) for shape in shapes)
    side = placeholders.TRACED_SIDE
    small = placeholders.resized(face, side, Image.Resampling.BOX).reshape(-1, 3).tolist()
    svg = vtracer.convert_pixels_to_svg([(*pixel, 255) for pixel in small], (side, side), mode="polygon",
                                        filter_speckle=4, layer_difference=32, color_precision=6, path_precision=0)
    svg = svg.replace(f'width="{side}" height="{side}"', f'viewBox="0 0 {side} {side}"')
    whole = placeholders.opened(bytes(resvg.svg_to_bytes(svg_string=svg, width=64, height=64)))
    assert np.abs(whole.astype(int) - placeholders.rendered("".join(shapes), 64)).max() <= 9  # colours of three digits


def test_a_placeholder_whose_package_is_not_here_says_which() -> None:
    peer = placeholders.Placeholder("none", "None", "nothing", ("no-such-package",), bytes, partial(np.zeros))
    assert peer.unavailable(64) == "no-such-package is not installed: pip install 'ddncodec[eval]'"
