"""The streams in golden/ decode to the pictures beside them, in this release as in every later one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddncodec import container, decode, load_model
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.weights import read_info

STREAMS = sorted((Path(__file__).parent / "golden").glob("*.ddn"))
WHOLE = [path for path in STREAMS if not path.stem.endswith("-half")]

BARE = sorted(STREAMS[0].parent.glob("*.ddnb"))


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_stream_decodes_to_its_reference_picture(path: Path) -> None:
    codec = load_model(str(path.with_name(path.stem.removesuffix("-half") + ".safetensors")), "cpu")
    with open(path, "rb") as file:
        picture = codec.to_pictures([container.read(file)])[0]
    with Image.open(path.with_suffix(".png")) as reference:
        difference = picture.pixels.astype(int) - np.asarray(reference)
    assert np.abs(difference).max() <= 1


def test_weights_decode_the_streams_of_those_that_they_supersede() -> None:
    codec = load_model(STREAMS[0].with_name("k2-eight-bits.safetensors"), "cpu")
    (earlier,) = codec.info.earlier
    for path in (STREAMS[0].with_name(f"{name}.ddn") for name in ("k2-refined", "k2-refined-half")):
        assert container.from_bytes(path.read_bytes()).weights_id == earlier.id != codec.info.id
        with Image.open(path.with_suffix(".png")) as reference:
            difference = decode(path.read_bytes(), codec).astype(int) - np.asarray(reference)
        assert np.abs(difference).max() <= earlier.deviation


@pytest.mark.parametrize("path", BARE, ids=lambda path: path.stem)
def test_a_bare_stream_and_its_text_decode_to_their_reference_picture(path: Path) -> None:
    codec = load_model(str(path.with_name(path.stem.removesuffix("-bare") + ".safetensors")), "cpu")
    with Image.open(path.with_suffix(".png")) as image:
        reference = np.asarray(image).astype(int)
    for data in (path.read_bytes(), path.with_suffix(".txt").read_text()):
        pixels = decode(data, codec, bare=True)
        assert pixels.shape == reference.shape == (16, 12, 3)
        assert np.abs(pixels - reference).max() <= 1


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_a_stream_that_broke_off_decodes_to_the_picture_of_a_prefix(path: Path) -> None:
    codec = load_model(str(path.with_suffix(".safetensors")), "cpu")
    data = path.read_bytes()
    broken = data[:-6]  # the checksum, and two bytes of picks
    whole, found = container.from_bytes(data), container.partial_from_bytes(broken).stream
    assert 0 < whole.latent.levels - found.latent.levels <= 16
    prefix = replace(whole, latent=whole.latent.prefix(found.latent.levels))
    assert np.array_equal(decode(broken, codec, partial=True), codec.to_pictures([prefix])[0].pixels)


def test_golden_files_cover_all_generators_and_what_each_can_be_made_of() -> None:
    configs = [read_info(path).config for path in sorted(STREAMS[0].parent.glob("*.safetensors"))]
    assert {config.k for config in configs} >= {2, 3, 16}
    assert {config.stages[-1].planes > 0 for config in configs if isinstance(config, BlockwiseConfig)} == {True, False}
    assert {config.k for config in configs if isinstance(config, PrincipalConfig)} == {2, 8}
    assert {config.learning_residual for config in configs if isinstance(config, SingleShotConfig)} == {True, False}
    assert any(isinstance(config, RecurrentConfig) for config in configs)
    assert {bool(config.refiner) for config in configs if isinstance(config, PrincipalConfig)} == {True, False}
    assert len(STREAMS) >= 22
    assert len(BARE) >= 3
