"""Targets: the file of at most so many bytes, the smallest that is near enough, and the best of several models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ddncodec
from ddncodec import Codec, container
from ddncodec.encoding import Encoded, Request, encode_pictures
from ddncodec.errors import TooFewBytes
from ddncodec.images import Picture, Pixels, fit, read_picture
from ddncodec.metrics.distortion import mean_psnr

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["k2-planes", "k3-conv", "k8-principal"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return ddncodec.load_model(ROOT / f"tests/golden/{request.param}.safetensors", "cpu")


@pytest.fixture(scope="module")
def face() -> Pixels:
    with open(ROOT / "examples/face.png", "rb") as file:
        return read_picture(file).pixels


def nearness(codec: Codec, face: Pixels, data: bytes) -> float:
    """At the model's resolution."""
    picture = codec.decode(container.from_bytes(data).latent)
    return mean_psnr(fit(face, codec.resolution)[None], picture[None])


def by_bytes(codec: Codec, face: Pixels) -> dict[int, bytes]:
    """The file of every number of bytes that holds a level, by trying the prefixes one by one: the oracle."""
    latent, picture = codec.encode(face), Picture(face)
    files = [container.to_bytes(codec.to_stream(picture, latent.prefix(n))) for n in range(1, latent.levels + 1)]
    return {most: max((file for file in files if len(file) <= most), key=files.index)
            for most in range(len(files[0]), len(files[-1]) + 3)}


def test_the_longest_prefix_that_fits_is_taken(codec: Codec, face: Pixels) -> None:
    for most, file in by_bytes(codec, face).items():
        assert ddncodec.encode(face, codec, max_bytes=most) == file


def test_fewer_bytes_than_one_level_takes_are_refused(codec: Codec, face: Pixels) -> None:
    least = min(by_bytes(codec, face))
    with pytest.raises(TooFewBytes, match=f"{least - 1} bytes are too few"):
        ddncodec.encode(face, codec, max_bytes=least - 1)


def test_the_smallest_file_that_is_near_enough_is_taken(codec: Codec, face: Pixels) -> None:
    files = by_bytes(codec, face)
    psnrs = {most: nearness(codec, face, file) for most, file in files.items()}
    for wanted in np.linspace(min(psnrs.values()) - 1, max(psnrs.values()), 7)[:-1]:
        first = next(most for most, reached in psnrs.items() if reached >= wanted)
        assert ddncodec.encode(face, codec, psnr=float(wanted)) == files[first]


def test_where_none_is_near_enough_all_levels_are_kept_or_all_that_fit(codec: Codec, face: Pixels) -> None:
    assert ddncodec.encode(face, codec, psnr=90) == ddncodec.encode(face, codec)
    assert ddncodec.encode(face, codec, psnr=90, max_bytes=19) == ddncodec.encode(face, codec, max_bytes=19)


def test_a_latent_has_targets_too(codec: Codec, face: Pixels) -> None:
    whole = codec.encode(face)
    short = codec.encode(face, max_bytes=3)
    assert short == whole.prefix(short.levels)
    assert len(short.pack()) <= 3 < len(whole.prefix(short.levels + 1).pack())
    wanted = mean_psnr(fit(face, codec.resolution)[None], codec.decode(short)[None])
    assert codec.encode(face, psnr=wanted).levels <= short.levels


@pytest.mark.parametrize("psnr", [0, -1, float("nan"), float("inf")])
def test_a_psnr_that_cannot_be_is_refused(codec: Codec, face: Pixels, psnr: float) -> None:
    with pytest.raises(ValueError, match="psnr must be"):
        ddncodec.encode(face, codec, psnr=psnr)
    with pytest.raises(ValueError, match="psnr must be"):
        codec.encode(face, psnr=psnr)


def test_a_picture_that_does_not_fit_fails_alone(codec: Codec, face: Pixels) -> None:
    wide = Picture(np.repeat(face, 300, 1))  # whose width takes one byte more
    size = len(ddncodec.encode(face, codec, levels=1))
    good, bad = encode_pictures([codec], [Picture(face), wide], Request(max_bytes=size))
    assert isinstance(good, Encoded)
    assert isinstance(bad, TooFewBytes)


# Several models.


@pytest.fixture(scope="module")
def three() -> list[Codec]:
    return [ddncodec.load_model(ROOT / f"tests/golden/{name}.safetensors", "cpu")
            for name in ("k2-planes", "k3-conv", "k8-principal")]


def test_the_model_of_the_nearest_picture_is_kept_and_named(three: list[Codec], face: Pixels) -> None:
    alone = [ddncodec.encode(face, one) for one in three]
    psnrs = [nearness(one, face, file) for one, file in zip(three, alone, strict=True)]
    assert ddncodec.encode(face, three) == alone[psnrs.index(max(psnrs))]
    assert ddncodec.encode(face, three[::-1]) == alone[psnrs.index(max(psnrs))]


def test_with_a_psnr_the_smallest_file_that_reaches_it_is_kept(three: list[Codec], face: Pixels) -> None:
    wanted = 16.0
    files = [ddncodec.encode(face, one, psnr=wanted) for one in three]
    reaching = [file for one, file in zip(three, files, strict=True) if nearness(one, face, file) >= wanted]
    assert reaching
    assert len(ddncodec.encode(face, three, psnr=wanted)) == min(map(len, reaching))


def test_models_of_different_resolutions_are_compared_at_the_largest(three: list[Codec], face: Pixels) -> None:
    large = ddncodec.load_model("binddn", "cpu")
    files = {one: ddncodec.encode(face, one, max_bytes=40) for one in (large, three[0])}
    psnrs = {one: mean_psnr(fit(face, 64)[None], fit(one.decode(container.from_bytes(file).latent), 64)[None])
             for one, file in files.items()}
    assert ddncodec.encode(face, [three[0], large], max_bytes=40) == files[max(psnrs, key=lambda one: psnrs[one])]


def test_auto_is_every_unconditional_model_that_ships(face: Pixels) -> None:
    files = [ddncodec.encode(face, name, levels=90) for name in ("binddn", "k512")]
    assert ddncodec.encode(face, "auto", levels=90) in files
    with pytest.raises(ValueError, match="there must be a model"):
        ddncodec.encode(face, [])
