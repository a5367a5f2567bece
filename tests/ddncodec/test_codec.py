from pathlib import Path

import numpy as np
import pytest

import ddncodec
from ddncodec import container
from ddncodec.codec import Codec, choose_device, load_model
from ddncodec.errors import UnknownWeights
from ddncodec.images import Picture, Pixels, fit, read_picture
from ddncodec.latent import Latent
from ddncodec.metrics.distortion import mean_psnr

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_model(str(ROOT / "tests/golden/k2-planes.safetensors"), "cpu")


@pytest.fixture(scope="module")
def face() -> Pixels:
    with open(ROOT / "examples/face.png", "rb") as file:
        return read_picture(file).pixels


def test_the_shipped_model_makes_a_recognisable_face_of_at_most_160_bytes(face: Pixels) -> None:
    data = ddncodec.encode(face)
    assert len(data) <= 160
    decoded = ddncodec.decode(data)
    assert decoded.shape == face.shape
    assert mean_psnr(face[None], decoded[None]) >= 24


def test_more_levels_make_a_better_picture(codec: Codec, face: Pixels) -> None:
    small = fit(face, codec.resolution)
    latent = codec.encode(small)
    quality = [mean_psnr(small[None], codec.decode(latent.prefix(n))[None]) for n in (12, 24, 48, 96)]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 2


def test_a_batch_gives_what_each_image_gives_alone(codec: Codec, face: Pixels) -> None:
    images = [face[i : i + 30, i : i + 40] for i in range(9)]
    latents = codec.encode_batch(images)
    decoded = codec.decode_batch(latents)
    for image, latent, pixels in zip(images, latents, decoded, strict=True):
        alone = codec.encode(image)
        same = sum(a == b for a, b in zip(alone.indices, latent.indices, strict=True))
        assert same >= 0.9 * latent.levels  # a near-tie may fall either way, and what follows with it
        assert np.abs(codec.decode(latent).astype(int) - pixels).max() <= 1


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["k2-planes", "k3-conv", "k2-refined", "k8-principal"])
def test_what_cuda_encodes_the_cpu_decodes_alike(name: str, face: Pixels) -> None:
    path = str(ROOT / f"tests/golden/{name}.safetensors")
    there, here = load_model(path, "cuda"), load_model(path, "cpu")
    latent = there.encode(face)
    assert np.abs(there.decode(latent).astype(int) - here.decode(latent)).max() <= 1
    ours = mean_psnr(fit(face, here.resolution)[None], here.decode(here.encode(face))[None])
    assert mean_psnr(fit(face, here.resolution)[None], here.decode(latent)[None]) == pytest.approx(ours, abs=0.1)


def test_latents_of_different_lengths_decode_together(codec: Codec, face: Pixels) -> None:
    latent = codec.encode(face)
    mixed = [latent.prefix(40), latent, latent.prefix(7), latent]
    together = codec.decode_batch(mixed)
    for one, pixels in zip(mixed, together, strict=True):
        assert np.abs(codec.decode(one).astype(int) - pixels).max() <= 1


def test_encoding_fewer_levels_gives_the_prefix(codec: Codec, face: Pixels) -> None:
    assert codec.encode(face, 50) == codec.encode(face).prefix(50)


def test_a_picture_comes_back_at_its_own_size_with_its_profile(codec: Codec, face: Pixels) -> None:
    picture = Picture(face[:50, :33], icc=b"a profile")
    stream = container.from_bytes(container.to_bytes(codec.to_stream(picture, codec.encode(picture.pixels), "hello")))
    back = codec.to_pictures([stream])[0]
    assert (back.pixels.shape, back.icc, stream.comment) == ((50, 33, 3), b"a profile", "hello")


def test_streams_and_latents_of_other_weights_are_refused(codec: Codec, face: Pixels) -> None:
    stream = codec.to_stream(Picture(face), codec.encode(face))
    other = load_model(str(ROOT / "tests/golden/k3-conv.safetensors"), "cpu")
    with pytest.raises(UnknownWeights):
        other.to_pictures([stream])
    with pytest.raises(UnknownWeights):
        codec.decode(Latent((2,) * 10, 3))
    with pytest.raises(UnknownWeights):
        codec.decode(Latent((1,) * (codec.levels + 1), 2))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0x", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        choose_device(device)
