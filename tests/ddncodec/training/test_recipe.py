"""The recipes that ship: what the paper says of each network, and that a recipe survives its own text."""

import tomllib

import pytest
import torch

from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.registry import build
from ddncodec.training.config import TrainConfig
from ddncodec.training.recipe import SHIPPED, Recipe, read
from ddncodec_cli.train import RECIPES

# K, L, the paper's parameters in millions (Sec. 4), where it is a network of the paper.
PROMISED = {"binddn-1152": (2, 1152, None), "k512-128": (512, 128, None), "ffhq-64": (512, 128, 93),
            "cifar-10": (64, 64, 74), "fashion-recurrent": (64, 10, 0.407), "fashion-class": (64, 16, None),
            "faces-colour": (64, 6, None)}


@pytest.mark.parametrize("name", PROMISED)
def test_a_shipped_recipe_builds_what_it_promises(name: str) -> None:
    k, levels, millions = PROMISED[name]
    recipe = Recipe.of(read(name))
    with torch.device("meta"):
        network = build(recipe.network)
    assert (recipe.network.k, recipe.network.levels) == (k, levels)
    assert recipe.network.bits == levels * (k.bit_length() - 1)
    if millions is not None:
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(millions * 1e6, rel=0.1)
    assert Recipe.of(tomllib.loads(recipe.to_toml())) == recipe


def test_the_command_names_the_recipes_that_ship() -> None:
    assert {f"{name}.toml" for name in RECIPES} == {entry.name for entry in SHIPPED.iterdir()}


def test_a_recipe_survives_its_own_text() -> None:
    recipe = Recipe(BlockwiseConfig.default(3, 40, 16, channels=8, planes=0),
                    TrainConfig(data='a "quoted" \\ päth', lr=1e-7, node_lr=0.0, augment=None, compile=True))
    assert Recipe.of(tomllib.loads(recipe.to_toml())) == recipe
