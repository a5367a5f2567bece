"""The generators there are: name → configuration and class. A new generator is one entry here.

Needs no torch until a network is built, so that weights can be named in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from ddncodec.errors import BadCheckpoint
from ddncodec.network.config import GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.principal.config import PrincipalConfig

if TYPE_CHECKING:
    from ddncodec.network.base import Generator
    from ddncodec.progress import Progress

    # Fits an untrained network to images, given some (b, 3, R, R) in [−1, 1] at a time; the number is of the steps of
    # gradient descent for each part that is fitted so.
    Start = Callable[[Any, Iterator[Any], int, Progress], None]
    # Lets a network's picks depend on one another, given images as in Start.
    Couple = Callable[[Any, Iterator[Any], Progress], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A generator. All but the configuration is named as module:name, and imported when it is needed.

    config: the configuration's class. network: the generator's class. start: how an untrained network is fitted to data
    before the first step, where it can be. couple: what lets picks depend on one another late in training, if anything.
    """

    config: type[GeneratorConfig]
    network: str
    start: str | None = None
    couple: str | None = None


GENERATORS = {entry.config.generator: entry for entry in (
    Entry(PrincipalConfig, "ddncodec.network.principal.generator:PrincipalGenerator",
          "ddncodec.network.principal.start:start", "ddncodec.network.principal.start:couple"),
    Entry(SingleShotConfig, "ddncodec.network.paper.single_shot:SingleShotGenerator"),
    Entry(BlockwiseConfig, "ddncodec.network.paper.blockwise:BlockwiseGenerator",
          "ddncodec.network.paper.start:start"),
    Entry(RecurrentConfig, "ddncodec.network.paper.recurrent:RecurrentGenerator"),
)}
DEFAULT = PrincipalConfig.generator
UNNAMED = BlockwiseConfig.generator  # what the first checkpoints, which name no generator, are of


def build(config: GeneratorConfig) -> Generator:
    """An untrained generator of this configuration."""
    return cast("Generator", _load(GENERATORS[config.generator].network)(config))


def start_of(config: GeneratorConfig) -> Start | None:
    """How an untrained network of this configuration is fitted to data; None where it starts at random."""
    start: Start | None = _load(GENERATORS[config.generator].start)
    return start


def couple_of(config: GeneratorConfig) -> Couple | None:
    """What couples the picks of a network of this configuration; None where nothing does."""
    couple: Couple | None = _load(GENERATORS[config.generator].couple)
    return couple


def _load(place: str | None) -> Any:
    if place is None:
        return None
    module, name = place.split(":")
    return getattr(import_module(module), name)


def config_from_json(text: str) -> GeneratorConfig:
    """Inverse of a configuration's `to_json`; the text is not trusted. Raises BadCheckpoint."""
    try:
        fields = json.loads(text)
        name = fields.pop("generator", UNNAMED)
        if name not in GENERATORS:
            raise ValueError(f"there is no generator {name!r}")
        return GENERATORS[name].config.from_fields(fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadCheckpoint(f"the checkpoint's configuration is not one: {error}") from None
