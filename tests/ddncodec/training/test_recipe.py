"""The recipes that ship: what the paper says of each network, and that a recipe survives its own text."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ddncodec import zoo
from ddncodec.errors import BadRecipe
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.registry import GENERATORS, build
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.recipe import SHIPPED, Recipe, read
from ddncodec.training.trainer import BEST_FILE, Trainer
from ddncodec.weights import load_network, read_info
from ddncodec_cli.train import RECIPES

# K, L, the paper's parameters in millions (Sec. 4), where it is a network of the paper.
PROMISED = {"binddn-1152": (2, 1152, None), "k512-128": (512, 128, None), "ffhq-64": (512, 128, 93),
            "cifar-10": (64, 64, 74), "fashion-recurrent": (64, 10, 0.407), "fashion-class": (64, 16, None),
            "faces-colour": (64, 6, None), "paper-faces32": (512, 32, None), "paper-binddn32": (2, 144, None),
            "paper-digits": (64, 10, None), "photos-1152": (2, 1152, None), "placeholder-183": (2, 183, None)}


@pytest.mark.parametrize("name", PROMISED)
def test_a_shipped_recipe_builds_what_it_promises(name: str) -> None:
    k, levels, millions = PROMISED[name]
    recipe = Recipe.of(read(name))
    with torch.device("meta"):
        network = build(recipe.network)
    assert (recipe.network.k, recipe.network.levels) == (k, levels)
    assert recipe.network.bits == levels * (k.bit_length() - 1)
    if millions is not None:
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(millions * 1e6, rel=0.005)
    assert Recipe.of(tomllib.loads(recipe.to_toml())) == recipe


def test_the_command_names_the_recipes_that_ship() -> None:
    assert {f"{name}.toml" for name in RECIPES} == {entry.name for entry in SHIPPED.iterdir()}
    assert set(RECIPES) == PROMISED.keys()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "-1", "9" * 400, "[1]", "{a = 1}", "1979-05-27"])
def test_a_setting_that_no_run_can_have_is_refused(value: str) -> None:
    for name in TrainConfig.__dataclass_fields__:
        with pytest.raises(BadRecipe, match=name):
            Recipe.of(tomllib.loads(f"[train]\n{name} = {value}"))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "9" * 400, str(2**63), "1.5", "'x'", "[1]", "1979-05-27"])
def test_a_size_that_no_network_can_have_is_refused(generator: str, value: str) -> None:
    for name in ("k", "levels", "resolution", "leak", "width", "channels", "planes", "stages", "segments", "widths"):
        with pytest.raises(BadRecipe):
            Recipe.of(tomllib.loads(f"[network]\ngenerator = '{generator}'\n{name} = {value}"))


def test_a_recipe_survives_its_own_text() -> None:
    recipe = Recipe(BlockwiseConfig.default(3, 40, 16, channels=8, planes=0),
                    TrainConfig(data='a "quoted" \\ päth', lr=1e-7, node_lr=0.0, augment=None, compile=True))
    assert Recipe.of(tomllib.loads(recipe.to_toml())) == recipe


# Shipped models that a make target trains from nothing, and its recipe.
MADE = {"binddn": "binddn-1152", "k512": "k512-128", "photos": "photos-1152", "placeholder": "placeholder-183"}


@pytest.mark.parametrize(("model", "recipe"), MADE.items())
def test_a_models_recipe_is_the_one_that_make_trains_it_by(model: str, recipe: str) -> None:
    weights = zoo.find(model)
    shipped = Recipe.of(read(recipe))
    assert Recipe.of(read(str(weights.path.with_name("recipe.toml")))) == shipped
    assert weights.config == shipped.network
    assert shipped.train.refiner_steps > 0
    assert f"\ntrain-{model}: RECIPE = {recipe} " in (Path(__file__).parents[3] / "Makefile").read_text()


@pytest.mark.parametrize("recipe", MADE.values())
def test_a_hundredth_of_a_shipped_run_goes_through_all_phases(
    recipe: str, photos: Path, phases: Any, tmp_path: Path
) -> None:
    """Of a network that is as small, on small pictures."""
    shipped = Recipe.of(read(recipe))
    whole, k = shipped.train, shipped.network.k
    hundredths = {name: getattr(whole, name) // 100 for name in
                  ("steps", "refiner_steps", "head_steps", "start_images", "couple_images", "warmup")}
    train = replace(whole, **hundredths, data=str(photos), batch=4, validation_images=2,
                    refiner_from=None)
    network = PrincipalConfig.default(k, 72 // shipped.network.level_bits, 8, width=8, first_block=0)
    trainer = Trainer.create(tmp_path, Recipe(network, train), World(torch.device("cpu")), phases)
    assert len(list(trainer.run())) == (whole.steps + whole.refiner_steps) // 100
    coupling = ["coupling picks", "reading images", *(["codebook"] if k > 2 else []), "trees again"]
    refiner = ["training the refiner"]
    assert phases.names == [
        "packing images", "principal axes", "reading images", "trees", "images through segment 1 of 2", "head 1 of 2",
        "images through segment 2 of 2", "head 2 of 2", "trees again", "training",
        *(coupling + refiner if whole.couple_at < 1 else refiner + coupling), "counting picks"]
    assert not phases.unfinished
    best = load_network(read_info(tmp_path / BEST_FILE)).state_dict()
    assert best["trees.dither"].any()
    assert best["refiner.leave.weight"].any()
