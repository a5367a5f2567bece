"""Targets: the file of at most so many bytes, the smallest that is near enough, and the best of several models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ddncodec
from ddncodec import Codec, container, zoo
from ddncodec.encoding import Encoded, Request, encode_pictures
from ddncodec.errors import TooFewBytes
from ddncodec.exported import exported
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


# In a closed loop.


PLACEHOLDER = zoo.find("placeholder").path  # has learned to draw; the principal networks of tests/golden have not


@pytest.fixture(scope="module", params=[ROOT / "tests/golden/k2-planes.safetensors", PLACEHOLDER],
                ids=["paper", "principal"])
def looped(request: pytest.FixtureRequest) -> Codec:
    return ddncodec.load_model(request.param, "cpu")


@pytest.mark.parametrize("limits", [{}, {"levels": 20}, {"max_bytes": 3}])
def test_a_closed_loop_is_never_worse_on_any_image(looped: Codec, face: Pixels, limits: dict[str, int]) -> None:
    images = [fit(part, looped.resolution) for part in (face, face[::-1], face[:30, :40], 255 - face)]
    plain, nearer = (looped.encode_batch(images, effort=effort, **limits) for effort in (None, 3))
    assert [latent.levels for latent in nearer] == [latent.levels for latent in plain]
    before, after = (np.array([near.psnr for near in looped.nearness(images, some)]) for some in (plain, nearer))
    assert (after >= before).all()
    assert after.mean() > before.mean() + 0.02


def test_a_closed_loop_works_at_the_length_of_each_file(looped: Codec, face: Pixels) -> None:
    pictures = [Picture(part) for part in (face, face[:40], np.repeat(face, 300, 1))]
    most = len(ddncodec.encode(face, looped, levels=30))
    plain, nearer = (encode_pictures([looped], pictures, Request(None, effort, most), measured=True)
                     for effort in (None, 3))
    for picture, before, after in zip(pictures, plain, nearer, strict=True):
        assert isinstance(before, Encoded) and isinstance(after, Encoded)
        assert len(after.data) == len(before.data) <= most
        assert after.psnr is not None and before.psnr is not None and after.psnr >= before.psnr
        assert after.psnr == pytest.approx(nearness(looped, picture.pixels, after.data))
    assert len({found.stream.latent.levels for found in nearer if isinstance(found, Encoded)}) > 1


def test_a_file_of_a_closed_loop_is_like_any_other(face: Pixels) -> None:
    codec = ddncodec.load_model(PLACEHOLDER, "cpu")
    data = ddncodec.encode(face, codec, effort=3)
    assert len(data) == len(ddncodec.encode(face, codec))
    decoder = exported(codec.info)
    assert decoder is not None
    (picture,) = decoder.to_pictures([container.from_bytes(data)])
    assert np.abs(picture.pixels.astype(int) - ddncodec.decode(data)).max() <= 1


def test_a_psnr_is_reached_by_a_prefix_of_what_the_closed_loop_gives(looped: Codec, face: Pixels) -> None:
    whole = ddncodec.encode(face, looped, effort=3)
    wanted = nearness(looped, face, whole) - 1
    data = ddncodec.encode(face, looped, effort=3, psnr=wanted)
    latent = container.from_bytes(data).latent
    assert nearness(looped, face, data) >= wanted
    assert latent == container.from_bytes(whole).latent.prefix(latent.levels)


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
