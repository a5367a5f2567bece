"""What every generator's configuration says, and the checks that all of them share.

A configuration is a frozen dataclass, stored as JSON in each checkpoint, which so describes itself. Each family has its
own (`paper.config`, `principal.config`); `registry` finds the right one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from ddncodec.errors import BadCheckpoint

MAX_LEVELS = 65_535
MAX_K = 65_536
MAX_RESOLUTION = 1_024
MAX_LEVEL_PIXELS = 2**31  # levels × resolution²: 1,152 levels at the highest resolution; what proposals take time for
MAX_WIDTH = 4_096
CLASS, GREY, EDGES = CONDITIONS = ("class", "grey", "edges")
MAX_CLASSES = 1_000
BLOCK_BITS = 36  # levels of one block do not condition each other's features: more blocks adapt more, and cost more


@dataclass(frozen=True, slots=True)
class Condition:
    """What a conditional network is given of each image.

    Args:
        kind: class, grey or edges.
        channels: Of its planes: the number of classes, or 1.

    Raises:
        BadCheckpoint: There is no such condition.
    """

    kind: str
    channels: int

    def __post_init__(self) -> None:
        require(self.kind in CONDITIONS, f"a condition is one of {', '.join(CONDITIONS)}, not {self.kind!r}")
        least, most = (2, MAX_CLASSES) if self.kind == CLASS else (1, 1)
        require(least <= self.channels <= most, f"a {self.kind} has {least} to {most} channels, not {self.channels}")


class GeneratorConfig(Protocol):
    """What is known of a network of any generator without building it.

    generator: its name in the registry. layout: the field that a default does not take, and so distinguishes a whole
    configuration from what `default` is asked for. max_effort: the highest effort that its network's search knows.
    """

    generator: ClassVar[str]
    layout: ClassVar[str]
    max_effort: ClassVar[int]

    @property
    def k(self) -> int:
        """K, the number of proposals of a level."""
        ...

    @property
    def levels(self) -> int:
        """L, the number of levels of the whole network."""
        ...

    @property
    def resolution(self) -> int:
        """Side of the images, in pixels, a power of two."""
        ...

    @property
    def condition(self) -> Condition | None:
        """What the network is given of each image; None for an unconditional one."""
        ...

    @property
    def classes(self) -> int:
        """How many classes picks are counted by: 1 where the condition is not a class."""
        ...

    @property
    def refiner(self) -> tuple[int, ...]:
        """Widths of the refiner, which can be trained alone; none where there is no refiner."""
        ...

    @property
    def bits(self) -> float:
        """L·log2 K, the size of a whole latent."""
        ...

    @property
    def level_resolutions(self) -> tuple[int, ...]:
        """The resolution at which each of the L levels proposes."""
        ...

    @property
    def modules(self) -> int:
        """How many modules the network has at least, each with tensors of its own."""
        ...

    @property
    def largest(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of tensors that grow with every size that the configuration states.

        A reader checks them, and that a file has at least `modules` tensors, before it lays a network out: laying it
        out takes memory and time, and a file may promise more than it holds.
        """
        ...

    @property
    def uses(self) -> int:
        """How often a weight is multiplied with something, at most, while an image is decoded."""
        ...

    def to_json(self) -> str:
        """The text that a checkpoint holds, and that its id covers; `registry.config_from_json` is the inverse."""
        ...

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The configuration of a JSON object's fields, which are not trusted.

        Raises:
            BadCheckpoint: The values describe no network.
            TypeError, ValueError, KeyError, AttributeError: There are other fields, or other types.
        """
        ...

    @classmethod
    def default(cls, k: int, levels: int, resolution: int = 64) -> Self:
        """A layout for K, L and a resolution; some generators take more options."""
        ...


def require(condition: bool, message: str) -> None:
    """Raise BadCheckpoint with this message unless the condition holds."""
    if not condition:
        raise BadCheckpoint(message)


def require_resolution(resolution: int) -> None:
    """Raise BadCheckpoint unless the resolution is a power of two within the limit."""
    require(power_of_two(resolution) and resolution <= MAX_RESOLUTION,
            f"the resolution must be a power of two up to {MAX_RESOLUTION}, not {resolution}")


def require_levels(levels: int, resolution: int) -> None:
    """Raise BadCheckpoint unless there are 1 to MAX_LEVELS levels, and not too many for the resolution."""
    require(1 <= levels <= MAX_LEVELS, f"there must be 1 to {MAX_LEVELS} levels, not {levels}")
    require(levels * resolution**2 <= MAX_LEVEL_PIXELS,
            f"at a resolution of {resolution} there may be {MAX_LEVEL_PIXELS // resolution**2} levels, not {levels}")


def power_of_two(n: int) -> bool:
    """Whether n is 1, 2, 4, …"""
    return n > 0 and n & (n - 1) == 0


def to_json(fields: Mapping[str, Any]) -> str:
    """Fields as the JSON text that checkpoints hold."""
    return json.dumps(fields, separators=(",", ":"), sort_keys=True)


def whole(fields: dict[str, Any]) -> dict[str, int]:
    """The fields, if all of them are integers; else TypeError."""
    return {name: _integer(value) for name, value in fields.items()}


def integers(values: Any) -> tuple[int, ...]:
    """The values, if all of them are integers; else TypeError."""
    return tuple(_integer(value) for value in values)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value
