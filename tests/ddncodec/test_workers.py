"""What worker processes do to batches: the same files as in one process, and a bad image is no exception."""

from __future__ import annotations

import pickle
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddncodec
from ddncodec import container, load_model
from ddncodec.encoding import Request
from ddncodec.errors import BadMagic, UnknownWeights, UnreadableImage
from ddncodec.images import Pixels
from ddncodec.workers import Decoder, Encoder

K2 = str(Path(__file__).parents[1] / "golden" / "k2-planes.safetensors")
K3 = str(Path(__file__).parents[1] / "golden" / "k3-conv.safetensors")


def noise(count: int, side: int = 24) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(256, size=(count, side, side + 8, 3), dtype=np.uint8))


def png(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


def test_bytes_of_images_and_arrays_become_the_files_that_the_library_makes() -> None:
    images = noise(70)  # more than a batch
    files = Encoder(K2, Request(levels=40))([png(image) for image in images])
    assert files == Encoder(K2, Request(levels=40))(images)
    assert files[:5] == ddncodec.encode_batch(images[:5], K2, 40)


def test_a_bad_image_is_an_error_in_its_place() -> None:
    good = noise(1)[0]
    results = Encoder(K2)([b"", png(good), good[..., :2], png(good)[:60]])
    assert [type(result) for result in results] == [UnreadableImage, bytes, UnreadableImage, UnreadableImage]
    back = Decoder(K2)([b"GIF", results[1]])
    assert [type(result) for result in back] == [BadMagic, bytes]


def test_files_become_the_images_that_the_library_draws() -> None:
    files = Encoder(K2)(noise(3))
    drawn = [opened(image) for image in Decoder(K2, levels=30)(files)]
    codec = load_model(K2, "cpu")
    expected = codec.to_pictures([container.from_bytes(file) for file in files], 30)
    assert all((one == other.pixels).all() for one, other in zip(drawn, expected, strict=True))


def test_files_of_other_weights_are_errors_in_their_places() -> None:
    (ours,), (others,) = Encoder(K2)(noise(1)), Encoder(K3)(noise(1))
    assert [type(result) for result in Decoder(K2)([others, ours])] == [UnknownWeights, bytes]
    assert [type(result) for result in Decoder()([others])] == [UnknownWeights]


def test_bare_streams_want_a_model() -> None:
    (data,) = Encoder(K2, Request(bare=True))(noise(1))
    (image,) = Decoder(K2, bare=True)([data])
    assert opened(image).shape == ddncodec.decode(data, K2, bare=True).shape
    with pytest.raises(ValueError, match="give it"):
        Decoder(bare=True)


def test_what_no_image_can_have_is_raised() -> None:
    with pytest.raises(ValueError, match="levels must be 1 to 96"):
        Encoder(K2, Request(levels=97))(noise(1))
    with pytest.raises(UnknownWeights, match="no model or weights file"):
        Encoder("nowhere")(noise(1))


def test_worker_processes_give_what_one_process_gives() -> None:
    encoder = Encoder(K2, Request(effort=1))
    assert len(pickle.dumps(encoder)) < 1000  # no weights
    batches = [[png(image) for image in noise(4, side)] for side in (16, 20, 24)]
    with get_context("fork").Pool(2) as pool:
        files = list(pool.imap(encoder, batches))
        images = list(pool.imap(Decoder(K2), files))
    assert files == list(map(encoder, batches))
    assert images == list(map(Decoder(K2), files))
