"""Decoding with exported decoders: the same pictures as with torch, and no torch."""

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
from ddncodec.export import export
from ddncodec.exported import ExportedDecoder, exported
from ddncodec.latent import Latent
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.weights import WeightsInfo, read_info, tensor_places

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
    """Beside a copy of its weights."""
    return export(read_info(request.param), tmp_path_factory.mktemp("exported"))


@pytest.fixture
def golden(graph: Path) -> ExportedDecoder:
    return ExportedDecoder(read_info(graph.with_suffix(".safetensors")), graph)


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


def test_a_graph_holds_no_weights_of_its_own(graph: Path, tmp_path: Path) -> None:
    info = read_info(graph.with_suffix(".safetensors"))
    with pytest.raises(BadCheckpoint, match="cannot read it"):
        ExportedDecoder(info, Path(shutil.copy(graph, tmp_path)))
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


def test_conditional_and_blockwise_networks_are_not_exported(tmp_path: Path) -> None:
    for name in ("k2-planes", "faces-colour"):
        info = read_info(GOLDEN[0].with_name(f"{name}.safetensors")) if name.startswith("k") else zoo.find(name)
        with pytest.raises(UnknownWeights):
            export(info, tmp_path)
    assert not any(tmp_path.iterdir())
