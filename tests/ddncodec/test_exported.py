"""Exported decoders and encoders: the same pictures and picks as with torch, and no torch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import helper

from ddncodec import load_model, zoo
from ddncodec.errors import BadCheckpoint, UnknownWeights
from ddncodec.export import export, export_decoder, export_encoder
from ddncodec.exported import DECODER, ExportedCoder, ExportedDecoder, Graph, exported, exported_coder
from ddncodec.latent import Latent
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.pixels import to_tensor
from ddncodec.weights import WeightsInfo, load_network, read_info, save_network, tensor_places

GOLDEN = sorted(path for path in (Path(__file__).parents[1] / "golden").glob("*.safetensors")
                if not isinstance(read_info(path).config, BlockwiseConfig))


def latents(info: WeightsInfo) -> list[Latent]:
    """Random ones of very different lengths: whole, within a block, at the ends of segments, a single level."""
    levels = info.config.levels
    ends = np.cumsum(getattr(info.config, "segments", [])).tolist()[:2]
    picks = torch.randint(info.config.k, (3 + len(ends), levels), generator=torch.Generator().manual_seed(1))
    return [latent.prefix(length) for latent, length in
            zip(Latent.from_tensor(picks, info.config.k), [levels, 1, levels // 2 + 1, *ends], strict=True)]


def deviation(one: list[npt.NDArray[np.uint8]], other: list[npt.NDArray[np.uint8]]) -> int:
    return int(np.abs(np.stack(one).astype(int) - np.stack(other)).max())


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.stem)
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder, beside a copy of its weights."""
    return export_decoder(read_info(request.param), tmp_path_factory.mktemp("exported"))


@pytest.fixture
def golden(graph: Path) -> ExportedDecoder:
    return decoder_of(read_info(graph.with_suffix(".safetensors")), graph)


def decoder_of(info: WeightsInfo, path: Path) -> ExportedDecoder:
    return ExportedDecoder(info, Graph(info, path, DECODER))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_replaying_latents_of_all_lengths_at_once_draws_what_each_decodes_to(path: Path) -> None:
    codec = load_model(path, "cpu")
    some = latents(codec.info)
    picks = torch.tensor([[*latent.indices, *[0] * (codec.levels - latent.levels)] for latent in some])
    with torch.no_grad():
        drawn = codec.network.replay(picks, torch.tensor([latent.levels for latent in some]))
    alone = torch.cat([codec.network.decode(Latent.stack([latent])) for latent in some])
    assert torch.allclose(drawn, alone, atol=1e-5)


def test_an_exported_decoder_draws_the_networks_pictures(golden: ExportedDecoder) -> None:
    codec = load_model(golden.info.path, "cpu")
    some = latents(golden.info)
    whole = codec.decode_batch(some)
    assert deviation(golden.decode_batch(some), whole) <= 1
    assert deviation(golden.decode_batch(some[1:2]), whole[1:2]) <= 1  # a batch of another size than any before
    assert golden.decode_batch([]) == []


@pytest.fixture(scope="module", params=["k2-eight-bits", "k8-principal"])  # coupled by a trellis, and by codebooks
def coder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportedCoder:
    """Of a network with fewer segments: to export one takes time."""
    folder = tmp_path_factory.mktemp("exported")
    network = load_network(read_info(GOLDEN[0].with_name(f"{request.param}.safetensors")))
    assert isinstance(network.config, PrincipalConfig)
    config = replace(network.config, segments=network.config.segments[:2])
    state = {name.replace("heads.2.", "heads.1."): values for name, values in network.state_dict().items()
             if not name.startswith("heads.1.")}
    shorter = PrincipalGenerator(config)
    shorter.load_state_dict(state | {"deviation": network.deviation[[0, 1, 3]]})
    save_network(folder / "weights.safetensors", shorter, "short", eight_bits="eight" in request.param)
    info = read_info(folder / "weights.safetensors")
    assert [path.name for path in export(info, folder)] == ["weights.onnx", "weights.encoder.onnx"]
    found = exported_coder(info)
    assert found is not None
    return found


def pictures(side: int) -> list[npt.NDArray[np.uint8]]:
    """Smooth, flat and noisy ones."""
    random = np.random.default_rng(0)
    across = np.linspace(0, 255, side)
    waves = [127 + 100 * np.sin(across[:, None] / period + across / 50)[..., None].repeat(3, 2) for period in (9, 30)]
    noisy = [random.integers(0, 256, (side, side, 3)) for _ in range(2)]
    return [image.astype(np.uint8) for image in (*waves, np.full((side, side, 3), 90), *noisy)]


def same(one: list[Latent], other: list[Latent]) -> float:
    """The share of images that have the same picks: a near-tie may fall either way."""
    return sum(map(Latent.__eq__, one, other)) / len(one)


@pytest.mark.parametrize("effort", [1, 2, 3])
def test_an_exported_encoder_picks_what_the_network_does(coder: ExportedCoder, effort: int) -> None:
    codec = load_model(coder.info.path, "cpu")
    images = pictures(codec.resolution)
    for levels in (None, 1, codec.levels // 2 + 1):
        assert same(coder.encode_batch(images, levels, effort), codec.encode_batch(images, levels, effort)) >= 0.8
    assert same(coder.encode_batch(images[:1], effort=effort), codec.encode_batch(images[:1], effort=effort)) == 1
    assert coder.encode_batch([]) == []


def test_an_exported_encoder_has_limits_too(coder: ExportedCoder) -> None:
    codec = load_model(coder.info.path, "cpu")
    images = pictures(codec.resolution)[:2]
    for limits in ({"max_bytes": 3}, {"psnr": 15.0}):
        assert coder.encode_batch(images, **limits) == codec.encode_batch(images, **limits)
    with pytest.raises(ValueError, match="effort must be 1, 2 or 3"):
        coder.encode_batch(images, effort=4)


def test_an_encoder_without_its_decoder_says_so_where_that_is_needed(coder: ExportedCoder, tmp_path: Path) -> None:
    info = coder.info
    for path in (info.path, info.path.with_suffix(".encoder.onnx")):
        shutil.copy(path, tmp_path)
    alone = exported_coder(replace(info, path=tmp_path / info.path.name))
    assert alone is not None
    (latent,) = alone.encode_batch(pictures(alone.resolution)[:1])
    with pytest.raises(BadCheckpoint, match="no decoder"):
        alone.decode(latent)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_searching_picks_of_all_lengths_at_once_finds_what_encoding_finds(path: Path) -> None:
    codec = load_model(path, "cpu")
    if not codec.network.search_can_be_exported:
        pytest.skip("its search is not exported")
    images = to_tensor(np.stack(pictures(codec.resolution)))
    lengths = [codec.levels, 1, codec.levels // 2 + 1, 5, codec.levels - 1]
    for effort in (1, 2):
        found = codec.network.search(images, torch.tensor(lengths), torch.tensor(effort))
        for image, picks, length in zip(images, found, lengths, strict=True):
            assert torch.equal(picks[:length], codec.network.encode(image[None], length, effort)[0])


def test_a_graph_holds_no_weights_of_its_own(graph: Path, tmp_path: Path) -> None:
    info = read_info(graph.with_suffix(".safetensors"))
    with pytest.raises(BadCheckpoint, match="cannot read it"):
        decoder_of(info, Path(shutil.copy(graph, tmp_path)))
    elsewhere = {tensor.name for tensor in onnx.load(graph, load_external_data=False).graph.initializer
                 if tensor.external_data}
    places = tensor_places(info.path)
    assert elsewhere <= places.keys()
    assert elsewhere >= {name for name, place in places.items() if place.kind != "F16"}


@pytest.mark.parametrize("info", zoo.unconditional(), ids=lambda info: info.name)
def test_each_model_that_files_can_be_made_with_ships_with_its_decoder(info: WeightsInfo) -> None:
    decoder = exported(info)
    assert decoder is not None
    some = latents(info)
    assert deviation(decoder.decode_batch(some), load_model(info.path, "cpu").decode_batch(some)) <= 1


@pytest.mark.parametrize("info", [info for info in zoo.unconditional() if isinstance(info.config, PrincipalConfig)],
                         ids=lambda info: info.name)
def test_each_principal_model_ships_with_its_encoder(info: WeightsInfo) -> None:
    coder, codec = exported_coder(info), load_model(info.path, "cpu")
    assert coder is not None
    images = pictures(codec.resolution)
    for effort in (1, 2):
        assert same(coder.encode_batch(images, effort=effort), codec.encode_batch(images, effort=effort)) >= 0.8


def test_a_decoder_of_other_weights_is_not_taken_and_a_damaged_one_is_refused(graph: Path, tmp_path: Path) -> None:
    weights = graph.with_suffix(".safetensors")
    info = read_info(Path(shutil.copy(weights, tmp_path / weights.name)))
    assert exported(info) is None
    copy = Path(shutil.copy(graph, tmp_path))
    assert exported(info) is not None
    assert exported(replace(info, id=b"1234")) is None
    none = helper.make_model(helper.make_graph([], "none", [], []))
    for content in (b"", b"\x08\x09", graph.read_bytes()[:-100], b"PK\x03\x04" * 50, none.SerializeToString()):
        copy.write_bytes(content)
        with pytest.raises(BadCheckpoint) as caught:
            exported(info)
        assert "\n" not in str(caught.value)


def test_latents_of_another_network_are_refused(golden: ExportedDecoder) -> None:
    with pytest.raises(UnknownWeights):
        golden.decode_batch([Latent((0,), golden.info.config.k + 1)])


def test_a_network_of_the_paper_has_an_exported_decoder_alone(tmp_path: Path) -> None:
    assert export_encoder(read_info(GOLDEN[0].with_name("k12-single-shot.safetensors")), tmp_path) is None
    assert exported_coder(read_info(GOLDEN[0].with_name("k12-single-shot.safetensors"))) is None


def test_conditional_and_blockwise_networks_are_not_exported(tmp_path: Path) -> None:
    for name in ("k2-planes", "faces-colour"):
        info = read_info(GOLDEN[0].with_name(f"{name}.safetensors")) if name.startswith("k") else zoo.find(name)
        with pytest.raises(UnknownWeights):
            export(info, tmp_path)
    assert not any(tmp_path.iterdir())
