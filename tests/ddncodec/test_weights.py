"""Weights files: what is refused of hostile or broken ones, and in which words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ddncodec_models
from ddncodec import zoo
from ddncodec.container import Stream
from ddncodec.errors import BadCheckpoint, NotFinite, UnknownWeights
from ddncodec.latent import Latent
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig
from ddncodec.network.registry import build
from ddncodec.pixels import to_pixels
from ddncodec.weights import FORMAT, MAX_WORK, Earlier, load_network, may_decode, read_info, require_work, save_network

GOLDEN = Path(__file__).parents[1] / "golden"
MATRIX = "heads.0.mean.weight"
TINY = BlockwiseConfig.default(2, 8, 8, channels=4, planes=4)


def test_a_network_that_would_take_hours_for_an_image_is_refused_before_it_draws_one(tmp_path: Path) -> None:
    config = RecurrentConfig(k=2, levels=2_048, resolution=1_024, leak=1, chain_dropout=0.0, widths=(32,))
    save_network(tmp_path / "x", build(config), "x")
    assert (tmp_path / "x").stat().st_size < 2**17
    with pytest.raises(BadCheckpoint, match="multiplications"):
        load_network(read_info(tmp_path / "x"))


def test_the_limit_of_work_is_exact() -> None:
    require_work(TINY, MAX_WORK // TINY.uses)
    with pytest.raises(BadCheckpoint):
        require_work(TINY, MAX_WORK // TINY.uses + 1)


@pytest.mark.parametrize("value", [1e5, float("inf"), float("nan")])
def test_weights_beyond_half_precision_are_not_saved(value: float, tmp_path: Path) -> None:
    network = build(TINY)
    with torch.no_grad():
        network.nodes[0].view(-1)[0] = value
    with pytest.raises(NotFinite, match="half precision"):
        save_network(tmp_path / "x", network, "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_picture_that_is_not_of_numbers_is_refused_rather_than_black(value: float) -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2, 3, 3] = value
    with pytest.raises(BadCheckpoint, match="not of finite numbers"):
        to_pixels(images)


def test_a_message_names_the_file_once(tmp_path: Path) -> None:
    good = {"format": FORMAT, "name": "x", "config": TINY.to_json()}
    for tensors, metadata in (({"a": torch.zeros(1)}, {}), ({"a": torch.zeros(1)}, good),
                              ({"a": torch.zeros(1)}, good | {"config": "{}"})):
        save_file(tensors, tmp_path / "x", metadata)
        with pytest.raises(BadCheckpoint) as refusal:
            load_network(read_info(tmp_path / "x"))
        assert str(refusal.value).startswith(f"{tmp_path / 'x'}: ")
        assert str(refusal.value).count(str(tmp_path)) == 1


def test_matrices_in_8_bits_come_back_within_half_a_step_and_all_else_as_in_half_precision(tmp_path: Path) -> None:
    network = load_network(read_info(GOLDEN / "k2-refined.safetensors"))
    with torch.no_grad():
        network.get_parameter(MATRIX)[3] = 0
    for name, eight_bits in (("half", False), ("eight", True)):
        save_network(tmp_path / name, network, "x", eight_bits=eight_bits)
    half, eight = (load_network(read_info(tmp_path / name)).state_dict() for name in ("half", "eight"))
    coarse = network.in_eight_bits
    assert sum(key.startswith("heads") and value.dim() == 2 for key, value in half.items()) == len(coarse) > 4
    for key, value in half.items():
        if key in coarse:
            steps = value.abs().amax(1, keepdim=True) / 127
            assert ((eight[key] - value).abs() <= 0.501 * steps).all()
            assert not torch.equal(eight[key], value)
        else:
            assert torch.equal(eight[key], value)
    saved = sum(half[key].numel() for key in coarse) - 4 * sum(len(half[key]) for key in coarse)
    assert abs((tmp_path / "half").stat().st_size - (tmp_path / "eight").stat().st_size - saved) < 4_096  # the header


def test_networks_without_such_matrices_are_saved_in_half_precision(tmp_path: Path) -> None:
    for eight_bits in (False, True):
        save_network(tmp_path / str(eight_bits), build(TINY), "x", eight_bits=eight_bits)
    dtypes = [{tensor.dtype for tensor in load_file(tmp_path / name).values()} for name in ("False", "True")]
    assert dtypes == [{torch.half}, {torch.half}]


@pytest.mark.parametrize(("change", "why"), [
    (lambda tensors: tensors.pop(MATRIX + ".scale"), "a scale for each row"),
    (lambda tensors: tensors.update({MATRIX + ".scale": tensors[MATRIX + ".scale"][1:]}), "a scale for each row"),
    (lambda tensors: tensors.update({MATRIX + ".scale": tensors[MATRIX + ".scale"].half()}), "a scale for each row"),
    (lambda tensors: tensors[MATRIX + ".scale"].neg_(), "below zero"),
    (lambda tensors: tensors[MATRIX + ".scale"].fill_(torch.nan), "below zero"),
    (lambda tensors: tensors[MATRIX + ".scale"].fill_(3e38), "not finite"),
    (lambda tensors: tensors[MATRIX].fill_(-128), "below -127"),
    (lambda tensors: tensors.update({MATRIX: tensors[MATRIX][:, 1:].clone()}), "has shape"),
    (lambda tensors: tensors.update({MATRIX: tensors[MATRIX].half()}), "unknown tensor"),
    (lambda tensors: tensors.update({MATRIX: tensors[MATRIX].byte()}), "unknown tensor"),
    (lambda tensors: tensors.update({"deviation": tensors["deviation"].to(torch.int8)}), "a scale for each row"),
    (lambda tensors: tensors.update({"heads.0.mean.bias": torch.zeros(60, dtype=torch.int8)}), "no matrix"),
])
def test_damaged_matrices_in_8_bits_are_refused(
    change: Callable[[dict[str, Tensor]], object], why: str, tmp_path: Path
) -> None:
    info = read_info(GOLDEN / "k2-eight-bits.safetensors")
    tensors = load_file(info.path)
    change(tensors)
    save_file(tensors, tmp_path / "x", {"format": FORMAT, "name": "x", "config": info.config.to_json()})
    with pytest.raises(BadCheckpoint, match=why):
        load_network(read_info(tmp_path / "x"))


def test_weights_decode_streams_of_earlier_ones_and_keep_their_own_id(tmp_path: Path) -> None:
    network = build(TINY)
    earlier = (Earlier(b"\0\1\2\xff", 2), Earlier(b"abcd", 255))
    save_network(tmp_path / "alone", network, "x")
    save_network(tmp_path / "superseding", network, "x", earlier=earlier)
    alone, superseding = (read_info(tmp_path / name) for name in ("alone", "superseding"))
    assert (alone.earlier, superseding.earlier) == ((), earlier)
    assert alone.id == superseding.id
    for weights_id in (alone.id, b"abcd", b"none"):
        stream = Stream(Latent((1, 0), 2), 8, 8, weights_id)
        for info in (alone, superseding):
            if weights_id in info.ids:
                info.check(stream)
            else:
                with pytest.raises(UnknownWeights):
                    info.check(stream)
    with pytest.raises(UnknownWeights):
        superseding.check(Stream(Latent((1, 0), 3), 8, 8, b"abcd"))  # of another K


def test_a_file_whose_content_is_not_what_its_id_stands_for_is_refused(tmp_path: Path) -> None:
    save_network(tmp_path / "x", build(TINY), "x")
    info = read_info(tmp_path / "x")
    assert may_decode(info.path, info.id)
    assert not may_decode(info.path, b"none")
    content = bytearray(info.path.read_bytes())
    content[-1] ^= 1
    info.path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match="damaged"):
        read_info(info.path)


@pytest.mark.parametrize("said", [
    "", "7", "[]", "null", "[" * 100_000, '{"abcd": 1}', '{"0badcafe": "1"}', '{"0badcafe": 1.0}', '{"0badcafe": true}',
    '{"0badcafe": -1}', '{"0badcafe": 256}', '{"0BADCAFE": 1}', '{"0b adcafe": 1}', '{"nonsense": 1}',
    json.dumps({f"{i:08x}": 1 for i in range(65)}),
])
def test_what_is_no_table_of_earlier_weights_is_refused(said: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x",
              {"format": FORMAT, "name": "x", "config": TINY.to_json(), "earlier": said})
    with pytest.raises(BadCheckpoint, match="earlier weights"):
        read_info(tmp_path / "x")


def test_finding_a_streams_weights_reads_no_others_where_they_state_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        save_network(path, build(TINY), path.name, earlier=[Earlier(4 * path.name.encode(), 1)])
    infos = [read_info(path) for path in paths]
    monkeypatch.setattr(ddncodec_models, "weights_files", lambda: [*paths, GOLDEN / "k2-refined.safetensors"])
    read: list[Path] = []
    monkeypatch.setattr(zoo, "read_info", lambda path: (read.append(path), read_info(path))[1])
    for weights_id in (infos[1].id, b"bbbb", infos[0].id, b"aaaa"):
        assert weights_id in zoo.find_id(weights_id).ids
    assert read == [paths[1], paths[0]]
    assert zoo.find_id(read_info(GOLDEN / "k2-refined.safetensors").id).name == "k2-refined"  # which does not state its
