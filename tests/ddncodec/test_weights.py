"""Weights files: what is refused of hostile or broken ones, and in which words."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ddncodec.errors import BadCheckpoint, NotFinite
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig
from ddncodec.network.registry import build
from ddncodec.pixels import to_pixels
from ddncodec.weights import FORMAT, MAX_WORK, load_network, read_info, require_work, save_network

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
