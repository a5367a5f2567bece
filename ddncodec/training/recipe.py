"""Recipes: everything that decides a run, as TOML with a table [network] and a table [train]."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ddncodec.errors import BadCheckpoint, BadRecipe
from ddncodec.files import open_input
from ddncodec.network.config import GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, SingleShotConfig
from ddncodec.network.registry import DEFAULT, GENERATORS, config_from_json
from ddncodec.training.config import TrainConfig

SHIPPED = files("ddncodec.training") / "recipes"
MAX_SIZE = 2**20
K, LEVELS = 2, 1152  # BinDDN


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how to train it. Raises BadRecipe where these do not fit each other."""

    network: GeneratorConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.train.refiner_steps and not self.network.refiner:
            raise BadRecipe(f"this {self.network.generator} generator has no refiner, and can have no refiner_steps")

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, Any]]) -> Recipe:
        """The recipe of a [network] and a [train] table; what they leave out is as in `TrainConfig` and BinDDN.

        A network is given by all of its configuration's fields, or by what its `default` asks for. Raises BadRecipe.
        """
        if unknown := tables.keys() - {"network", "train"}:
            raise BadRecipe(f"there is no table [{min(unknown)}] in a recipe")
        return cls(_network(tables.get("network", {})), train_config(tables.get("train", {})))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with what is in the recipe."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()[:8]

    def to_toml(self) -> str:
        """The text that `read` and `of` make the same recipe of."""
        network = {"generator": self.network.generator} | json.loads(self.network.to_json())
        return f"[network]\n{_lines(network)}\n[train]\n{_lines(asdict(self.train))}"


def read(name: str) -> dict[str, dict[str, Any]]:
    """The tables of a recipe that ships, or of a file. Raises InputMissing, BadRecipe."""
    try:
        shipped = SHIPPED / f"{name}.toml"
        with shipped.open("rb") if shipped.is_file() else open_input(Path(name)) as file:
            text = file.read(MAX_SIZE).decode()
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecipe(f"{name} is not a recipe: {error}") from None
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise BadRecipe(f"{name} is not a recipe: {key} stands outside of its tables")
    return tables


def _network(table: Mapping[str, Any]) -> GeneratorConfig:
    named = dict(table)
    generator = named.pop("generator", DEFAULT)
    if generator == SingleShotConfig.generator and _has_planes(named):  # so recipes of 0.1 call it
        generator = BlockwiseConfig.generator
    entry = GENERATORS.get(generator) if isinstance(generator, str) else None
    if entry is None:
        raise BadRecipe(f"generator must be one of {', '.join(GENERATORS)}, not {generator!r}")
    try:
        if entry.config.layout in named:
            return config_from_json(json.dumps(named | {"generator": generator}))
        for name, value in named.items():
            if type(value) is not int:
                raise BadRecipe(f"{name} must be a whole number, not {value!r}")
        return entry.config.default(named.pop("k", K), named.pop("levels", LEVELS), **named)
    except TypeError as error:
        raise BadRecipe(f"a {generator} generator: {str(error).split('() ')[-1]}") from None
    except BadCheckpoint as error:
        raise BadRecipe(str(error)) from None


def _has_planes(network: Mapping[str, Any]) -> bool:
    stages = network.get("stages")
    return "planes" in network or (
        isinstance(stages, list) and any("planes" in stage for stage in stages if isinstance(stage, dict)))


def train_config(table: Mapping[str, Any]) -> TrainConfig:
    """The settings of a [train] table, which is not trusted. Raises BadRecipe."""
    types = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(TrainConfig).items()}
    for name, value in table.items():
        if name not in types:
            raise BadRecipe(f"there is no setting {name} in [train]")
        if type(value) not in types[name] and not (type(value) is int and float in types[name]):
            kinds = " or ".join(kind.__name__ for kind in types[name] if kind is not type(None))
            raise BadRecipe(f"{name} must be of type {kinds}, not {value!r}")
    return TrainConfig(**table)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_toml(value)}\n" for name, value in table.items() if value is not None)


def _toml(value: Any) -> str:
    """A value in TOML, where numbers, booleans and strings look as in JSON."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
