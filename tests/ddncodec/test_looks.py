"""Looks: another refiner for the same files, in the library and in exported decoders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import ddncodec
from ddncodec import load_model, zoo
from ddncodec.codec import Codec
from ddncodec.errors import BadCheckpoint, UnknownWeights
from ddncodec.export import export_decoder
from ddncodec.exported import exported
from ddncodec.latent import Latent
from ddncodec.looks import load_look, look_path, looks_of, save_look
from ddncodec.weights import WeightsInfo, load_network, read_info, save_network

Tensors = dict[str, npt.NDArray[np.float16]]
GOLDEN = Path(__file__).parents[1] / "golden"


def state(info: WeightsInfo) -> Tensors:
    network = load_network(info)
    assert isinstance(network.refiner, torch.nn.Module)
    return {name: tensor.half().numpy() for name, tensor in network.refiner.state_dict().items()}


def jittered(tensors: Mapping[str, npt.NDArray[np.float16]], size: float = 0.2) -> Tensors:
    random = np.random.default_rng(0)
    return {name: (values + size * random.standard_normal(values.shape)).astype(np.float16)
            for name, values in tensors.items()}


@pytest.fixture
def info(tmp_path: Path) -> WeightsInfo:
    """Weights of a network with a refiner, no two of whose tensors are equal, and a look beside them."""
    network = load_network(read_info(GOLDEN / "k2-refined.safetensors"))
    assert isinstance(network.refiner, torch.nn.Module)
    network.refiner.load_state_dict({name: torch.from_numpy(values) for name, values in jittered(
        {name: tensor.half().numpy() for name, tensor in network.refiner.state_dict().items()}, 0.02).items()})
    path = tmp_path / "weights.safetensors"
    save_network(path, network, "k2-refined")
    found = read_info(path)
    save_look(look_path(found, "natural"), "natural", jittered(state(found)), found)
    return found


@pytest.fixture
def latents(info: WeightsInfo) -> list[Latent]:
    levels = info.config.levels
    picks = torch.randint(2, (4, levels), generator=torch.Generator().manual_seed(1))
    return [latent.prefix(length) for latent, length in
            zip(Latent.from_tensor(picks, 2), [levels, levels // 2, 7, 1], strict=True)]


def test_a_look_is_what_was_saved(info: WeightsInfo) -> None:
    look = load_look(info, "natural")
    for name, values in jittered(state(info)).items():
        assert np.array_equal(look.tensors[name], values)
    assert looks_of(info) == ["faithful", "natural"]


def test_a_codec_in_a_look_draws_by_its_refiner_and_encodes_as_before(info: WeightsInfo, latents: list[Latent]) -> None:
    codec = load_model(info.path, "cpu")
    natural = codec.with_look("natural")
    before = codec.decode_tensor(latents)
    network = load_network(info)
    assert isinstance(network.refiner, torch.nn.Module)
    network.refiner.load_state_dict({name: torch.from_numpy(values) for name, values in jittered(state(info)).items()})
    expected = Codec(network, info, codec.device).decode_tensor(latents)
    assert torch.equal(natural.decode_tensor(latents), expected)
    assert not torch.equal(expected, before)
    assert torch.equal(codec.decode_tensor(latents), before)
    image = np.random.default_rng(0).integers(256, size=(20, 16, 3), dtype=np.uint8)
    assert natural.encode(image) == codec.encode(image)
    assert natural.with_look("faithful") is codec
    assert natural.with_look("natural") is natural
    assert repr(natural).endswith("on cpu, natural>")


def test_the_library_decodes_files_and_bare_streams_in_a_look(info: WeightsInfo) -> None:
    codec = load_model(info.path, "cpu")
    image = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    for is_bare in (False, True):
        data = ddncodec.encode(image, codec, bare=is_bare)
        plain, natural = (ddncodec.decode(data, model, bare=is_bare) for model in (codec, codec.with_look("natural")))
        assert not np.array_equal(plain, natural)
        assert np.array_equal(ddncodec.decode(data, codec, bare=is_bare, look="natural"), natural)
        assert np.array_equal(ddncodec.decode(data, info.path, bare=is_bare, look="natural"), natural)
        assert np.array_equal(ddncodec.decode(data, codec.with_look("natural"), bare=is_bare, look="faithful"), plain)


def test_an_exported_decoder_draws_the_same_in_a_look(info: WeightsInfo, latents: list[Latent]) -> None:
    export_decoder(info, info.path.parent)
    codec = load_model(info.path, "cpu")
    for look in ("faithful", "natural"):
        decoder = exported(info, look=look)
        assert decoder is not None
        drawn = np.stack(decoder.decode_batch(latents)).astype(int)
        assert np.abs(drawn - np.stack(codec.with_look(look).decode_batch(latents))).max() <= 1


def test_a_graph_in_which_equal_tensors_are_one_leaves_looks_to_torch(tmp_path: Path) -> None:
    network = load_network(read_info(GOLDEN / "k2-refined.safetensors"))
    assert isinstance(network.refiner, torch.nn.Module)
    norms = [module for module in network.refiner.modules() if isinstance(module, torch.nn.GroupNorm)]
    norms[0].load_state_dict(norms[1].state_dict())
    save_network(tmp_path / "weights.safetensors", network, "k2-refined")
    info = read_info(tmp_path / "weights.safetensors")
    export_decoder(info, tmp_path)
    save_look(look_path(info, "natural"), "natural", jittered(state(info)), info)
    assert exported(info, look="natural") is None
    assert exported(info) is not None


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_other_weights(path: Path) -> None:
    other = read_info(GOLDEN / "k2-growing.safetensors")
    save_look(path, "natural", state(other), other)


def a_prior(path: Path) -> None:
    shutil.copy(zoo.prior_path(zoo.find("binddn")), path)


def resaved(change: Callable[[Tensors], object], name: str = "natural") -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        info = read_info(path.with_name("weights.safetensors"))
        tensors = jittered(state(info))
        change(tensors)
        save_look(path, name, tensors, info)

    return damage


@pytest.mark.parametrize(("damage", "error", "told"), [
    (truncated, BadCheckpoint, "deserializing"),
    (emptied, BadCheckpoint, "not a safetensors file"),
    (a_prior, BadCheckpoint, "not a look"),
    (of_other_weights, UnknownWeights, "it is a look of the weights"),
    (resaved(lambda tensors: None, "vivid"), BadCheckpoint, "not a look named natural"),
    (resaved(lambda tensors: tensors.pop("enter.bias")), BadCheckpoint, "not those of"),
    (resaved(lambda tensors: tensors.update({"enter.bias": np.zeros(9, np.float16)})), BadCheckpoint, "not those of"),
    (resaved(lambda tensors: tensors.update({"more": np.zeros(1, np.float16)})), BadCheckpoint, "not those of"),
    (resaved(lambda tensors: tensors["enter.bias"].fill(np.nan)), BadCheckpoint, "finite"),
    (resaved(lambda tensors: tensors.update({"enter.bias": tensors["enter.bias"].astype(np.float32)})),  # type: ignore[dict-item]
     BadCheckpoint, "half precision"),
])
def test_what_is_no_look_of_these_weights_is_refused(
    info: WeightsInfo, damage: Callable[[Path], None], error: type[Exception], told: str
) -> None:
    damage(look_path(info, "natural"))
    with pytest.raises(error, match=told):
        load_look(info, "natural")
    with pytest.raises(error, match=told):
        load_model(info.path, "cpu").with_look("natural")


@pytest.mark.parametrize("name", ["vivid", "", "../weights", "natural/../natural", "a" * 300, "NATURAL"])
def test_a_look_that_is_not_there_is_told_with_those_that_are(info: WeightsInfo, name: str) -> None:
    with pytest.raises(UnknownWeights, match=r"has no look .*; it has faithful, natural"):
        load_look(info, name)


def test_weights_without_a_refiner_have_no_other_look(tmp_path: Path) -> None:
    weights = Path(shutil.copy(GOLDEN / "k2-planes.safetensors", tmp_path / "weights.safetensors"))
    info = read_info(weights)
    assert looks_of(info) == ["faithful"]
    save_look(look_path(info, "natural"), "natural", {"enter.bias": np.zeros(8, np.float16)}, info)
    with pytest.raises(BadCheckpoint, match="not those of"):
        load_look(info, "natural")
    with pytest.raises(ValueError, match="has no refiner"):
        load_network(info).with_refiner({})


def test_only_looks_of_the_weights_are_listed(info: WeightsInfo) -> None:
    a_prior(info.path.with_suffix(".prior.safetensors"))
    of_other_weights(look_path(info, "vivid"))
    assert looks_of(info) == ["faithful", "natural"]
    look_path(info, "natural").unlink()
    assert looks_of(info) == ["faithful"]
