import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddncodec.errors import BadCheckpoint
from ddncodec.network.config import GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig, spread_levels
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.registry import config_from_json

REFERENCE = BlockwiseConfig.default(2, 1152)


@given(st.integers(2, 600), st.integers(1, 2000), st.integers(0, 8))
def test_every_k_and_l_and_resolution_has_a_layout_with_exactly_l_levels(k: int, levels: int, power: int) -> None:
    config = BlockwiseConfig.default(k, levels, 2**power)
    assert config.levels == levels
    assert len(config.level_resolutions) == levels
    assert config.level_resolutions[-1] == 2**power
    assert config_from_json(config.to_json()) == config


def test_each_resolution_gets_twice_the_levels_of_the_one_before_and_at_most_a_bit_a_dimension() -> None:
    spread = spread_levels(2, 1152, 64)
    assert spread == {1: 3, 2: 12, 4: 36, 8: 72, 16: 144, 32: 288, 64: 597}


@pytest.mark.parametrize("config", [BlockwiseConfig, SingleShotConfig, RecurrentConfig, PrincipalConfig])
def test_levels_are_limited_by_the_resolution(config: type[GeneratorConfig]) -> None:
    assert config.default(2, 1152, 1024).levels == 1152
    assert config.default(2, 65_535, 128).levels == 65_535
    for levels, resolution in ((65_535, 1024), (2_049, 1024), (65_536, 8)):
        with pytest.raises(BadCheckpoint, match="levels"):
            config.default(2, levels, resolution)


def test_both_reference_models_have_144_bytes() -> None:
    assert REFERENCE.bits == BlockwiseConfig.default(512, 128).bits == 1152


def test_chain_dropout_is_off_for_two_nodes_alone() -> None:
    assert (REFERENCE.chain_dropout, BlockwiseConfig.default(3, 8).chain_dropout) == (0.0, 0.05)


@pytest.mark.parametrize("change", [
    {"k": 1}, {"k": 10**9}, {"k": 2.0}, {"k": "2"}, {"k": True}, {"k": None},
    {"resolution": 48}, {"resolution": 2**30}, {"resolution": 32}, {"leak": -1}, {"leak": 65},
    {"chain_dropout": 1.0}, {"chain_dropout": float("nan")}, {"chain_dropout": "x"},
    {"stages": []}, {"stages": {}}, {"stages": None}, {"stages": [1]}, {"surprise": 1},
])
def test_a_field_that_describes_no_network_is_refused(change: dict[str, object]) -> None:
    fields = json.loads(REFERENCE.to_json()) | change
    with pytest.raises(BadCheckpoint):
        config_from_json(json.dumps(fields))


@pytest.mark.parametrize("change", [
    {"resolution": 0}, {"resolution": 2}, {"resolution": -64}, {"trunk": 3}, {"trunk": 128}, {"trunk": 0},
    {"channels": 0}, {"channels": 10**9}, {"planes": -1}, {"planes": 10**9}, {"planes": 0},
    {"levels": []}, {"levels": [-1]}, {"levels": [10**9]}, {"levels": 5}, {"levels": ["5"]}, {"surprise": 1},
])
def test_a_stage_that_describes_no_blocks_is_refused(change: dict[str, object]) -> None:
    fields = json.loads(REFERENCE.to_json())
    fields["stages"][-1] |= change
    with pytest.raises(BadCheckpoint):
        config_from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 100_000, '{"stages": []}'])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(BadCheckpoint):
        config_from_json(text)


def test_stages_must_rise_to_the_networks_resolution() -> None:
    with pytest.raises(BadCheckpoint):
        replace(REFERENCE, stages=REFERENCE.stages[::-1])
