"""Configurations of the paper's generators: single shot (Fig. 3b), recurrent (Fig. 3c), and blockwise, a variant."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from math import log2
from typing import Any, ClassVar

from ddncodec.effort import GREEDY
from ddncodec.network.config import (
    BLOCK_BITS,
    CLASS,
    MAX_K,
    MAX_LEVELS,
    MAX_WIDTH,
    Condition,
    integers,
    power_of_two,
    require,
    require_levels,
    require_resolution,
    to_json,
    whole,
)

UNET = (16, 57, 80)  # widths of the recurrent generator
CHAIN_DROPOUT = 0.05
LEAK = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """The levels at one resolution of the single shot generator: each is two convolutions and a DDL.

    Args:
        resolution: Side of the proposals, in pixels, a power of two.
        channels: Width of the convolutions.
        levels: How many.
    """

    resolution: int
    channels: int
    levels: int


@dataclass(frozen=True, slots=True)
class SingleShotConfig:
    """The paper's single shot generator (Fig. 3b), coarse to fine, one level a block.

    Args:
        k: Output nodes of a level.
        resolution: Side of the images, in pixels, a power of two.
        leak: Extra output channels of a node, which condition the next block (leak choice, Sec. 3.4); 0: none.
        chain_dropout: Probability, in training, that a level picks at random (Sec. 3.4); 0: never.
        learning_residual: Whether nodes add to the prediction (Sec. 3.4), or replace it.
        stages: Coarse to fine; the last one has `resolution`.
        condition: What each stage is given of the image.

    Raises:
        BadCheckpoint: The fields do not describe a network.
    """

    generator: ClassVar[str] = "single-shot"
    layout: ClassVar[str] = "stages"
    max_effort: ClassVar[int] = GREEDY
    refiner: ClassVar[tuple[int, ...]] = ()

    k: int
    resolution: int
    leak: int
    chain_dropout: float
    learning_residual: bool
    stages: tuple[Stage, ...]
    condition: Condition | None = None

    def __post_init__(self) -> None:
        _require_nodes(self.k, self.leak, self.chain_dropout)
        require_resolution(self.resolution)
        require(type(self.learning_residual) is bool, "learning_residual must be true or false")
        require(bool(self.stages) and self.stages[-1].resolution == self.resolution,
                "the last stage must have the network's resolution")
        sides = [stage.resolution for stage in self.stages]
        require(all(map(power_of_two, sides)) and all(a < b for a, b in pairwise(sides)),
                "the stages' resolutions must be rising powers of two")
        for stage in self.stages:
            require(1 <= stage.channels <= MAX_WIDTH,
                    f"stage {stage.resolution}: channels must be 1 to {MAX_WIDTH}")
            require(1 <= stage.levels <= MAX_LEVELS,
                    f"stage {stage.resolution}: there must be 1 to {MAX_LEVELS} levels")
        require_levels(self.levels, self.resolution)

    @property
    def levels(self) -> int:
        return sum(stage.levels for stage in self.stages)

    @property
    def classes(self) -> int:
        return _classes(self.condition)

    @property
    def bits(self) -> float:
        return self.levels * log2(self.k)

    @property
    def level_resolutions(self) -> tuple[int, ...]:
        return tuple(stage.resolution for stage in self.stages for _ in range(stage.levels))

    @property
    def modules(self) -> int:
        return self.levels

    @property
    def uses(self) -> int:
        """Once for each pixel of the last stage."""
        return self.resolution**2

    @property
    def largest(self) -> dict[str, tuple[int, ...]]:
        return {f"stages.{i}.blocks.0.ddl.nodes": (1, self.k, 3 + self.leak, stage.channels)
                for i, stage in enumerate(self.stages)}

    @classmethod
    def default(cls, k: int, levels: int, resolution: int = 64, *, channels: int = 96, leak: int = LEAK
                ) -> SingleShotConfig:
        """A layout of one width for any K, L and resolution; see `spread_levels` for how the levels are spread."""
        stages = tuple(Stage(side, channels, n) for side, n in spread_levels(k, levels, resolution).items())
        return cls(k=k, resolution=resolution, leak=leak, chain_dropout=CHAIN_DROPOUT, learning_residual=True,
                   stages=stages)

    def to_json(self) -> str:
        return to_json({"generator": self.generator} | asdict(self))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> SingleShotConfig:
        stages = tuple(Stage(**whole(stage)) for stage in fields.pop("stages"))
        chain_dropout, condition = float(fields.pop("chain_dropout")), fields.pop("condition", None)
        return cls(chain_dropout=chain_dropout, learning_residual=fields.pop("learning_residual"), stages=stages,
                   condition=_condition(condition), **whole(fields))


@dataclass(frozen=True, slots=True)
class SharedStage:
    """The blocks at one resolution of the blockwise generator.

    resolution: side of the proposals, in pixels, a power of two.
    trunk: side at which the stage's convolutions run; at most `resolution`, which it divides.
    channels: width of the trunk.
    planes: number of fixed, orthonormal feature planes, at most resolution²; each is multiplied by a gain
        that the path so far decides. 0: the trunk's own channels are the features, and then
        `trunk == resolution`.
    levels: number of levels (DDLs) in each block; 0 is a block that only refines the prediction.
    """

    resolution: int
    trunk: int
    channels: int
    planes: int
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlockwiseConfig:
    """A blockwise generator with `levels` levels of `k` output nodes: single shot, but levels share blocks.

    resolution: side of the images, in pixels, a power of two.
    leak: extra output channels of a node that condition later blocks (leak choice).
    chain_dropout: probability, in training, that a level picks at random (Sec. 3.4).
    stages: coarse to fine; the last one has `resolution`. condition: what each stage is given of the image.

    Raises BadCheckpoint when the fields do not describe a network.
    """

    generator: ClassVar[str] = "blockwise"
    layout: ClassVar[str] = "stages"
    max_effort: ClassVar[int] = GREEDY
    refiner: ClassVar[tuple[int, ...]] = ()

    k: int
    resolution: int
    leak: int
    chain_dropout: float
    stages: tuple[SharedStage, ...]
    condition: Condition | None = None

    def __post_init__(self) -> None:
        _require_nodes(self.k, self.leak, self.chain_dropout)
        require_resolution(self.resolution)
        require(bool(self.stages) and self.stages[-1].resolution == self.resolution,
                 "the last stage must have the network's resolution")
        last = 0
        for stage in self.stages:
            where = f"stage {stage.resolution}"
            require(power_of_two(stage.resolution) and stage.resolution > last,
                     f"{where}: resolutions must be rising powers of two")
            require(power_of_two(stage.trunk) and stage.trunk <= stage.resolution,
                     f"{where}: the trunk's resolution must be a power of two up to the stage's")
            require(1 <= stage.channels <= MAX_WIDTH, f"{where}: channels must be 1 to {MAX_WIDTH}")
            require(0 <= stage.planes <= min(stage.resolution**2, MAX_WIDTH),
                     f"{where}: planes must be 0 to {min(stage.resolution**2, MAX_WIDTH)}")
            require(stage.planes > 0 or stage.trunk == stage.resolution,
                     f"{where}: without planes the trunk must run at the stage's resolution")
            require(bool(stage.levels) and all(0 <= n <= MAX_LEVELS for n in stage.levels),
                     f"{where}: a block has 0 to {MAX_LEVELS} levels")
            last = stage.resolution
        require_levels(self.levels, self.resolution)

    @property
    def levels(self) -> int:
        """L, the number of levels of the whole network."""
        return sum(sum(stage.levels) for stage in self.stages)

    @property
    def classes(self) -> int:
        """How many classes the nodes' picks are counted by: 1 where the condition is no class."""
        return _classes(self.condition)

    @property
    def bits(self) -> float:
        """L·log2 K, the size of a whole latent."""
        return self.levels * log2(self.k)

    @property
    def level_resolutions(self) -> tuple[int, ...]:
        """The resolution at which each of the L levels proposes."""
        return tuple(s.resolution for s in self.stages for _ in range(sum(s.levels)))

    @classmethod
    def default(cls, k: int, levels: int, resolution: int = 64, *, channels: int = 96, planes: int = 256,
                leak: int = 1) -> BlockwiseConfig:
        """A layout for any K, L and resolution; see `spread_levels` for how the levels are spread.

        planes=0: features are the convolutions' own output.
        """
        require(0 <= planes <= MAX_WIDTH, f"planes must be 0 to {MAX_WIDTH}, not {planes}")
        stages = []
        spread = spread_levels(k, levels, resolution)
        per_block = max(1, int(BLOCK_BITS // log2(k)))
        for side, n in spread.items():
            blocks = [per_block] * (n // per_block) + ([n % per_block] if n % per_block else [])
            if side == resolution:
                blocks.append(0)  # what the last picks imply, drawn for no bits
            stages.append(SharedStage(resolution=side, trunk=min(side, 8) if planes else side, channels=channels,
                                planes=min(planes, side * side), levels=tuple(blocks)))
        return cls(k=k, resolution=resolution, leak=leak, chain_dropout=CHAIN_DROPOUT if k > 2 else 0.0,
                   stages=tuple(stages))

    def to_json(self) -> str:
        fields = asdict(self)
        if self.condition is None:
            del fields["condition"]  # as checkpoints wrote it before there were any: their ids are made of this text
        return to_json(fields)

    @property
    def modules(self) -> int:
        """The blocks of all stages."""
        return sum(len(stage.levels) for stage in self.stages)

    @property
    def uses(self) -> int:
        """Once for each pixel of the last stage."""
        return self.resolution**2

    @property
    def largest(self) -> dict[str, tuple[int, ...]]:
        """The planes of each stage."""
        return {f"stages.{i}.planes": (stage.planes, stage.resolution**2) for i, stage in enumerate(self.stages)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> BlockwiseConfig:
        stages = tuple(SharedStage(levels=integers(stage.pop("levels")), **whole(stage))
                       for stage in fields.pop("stages"))
        chain_dropout, condition = float(fields.pop("chain_dropout")), fields.pop("condition", None)
        return cls(chain_dropout=chain_dropout, stages=stages, condition=_condition(condition), **whole(fields))


@dataclass(frozen=True, slots=True)
class RecurrentConfig:
    """A recurrent generator (Fig. 3c): one U-Net and one layer of `k` output nodes, applied `levels` times.

    resolution, leak, chain_dropout: as in `BlockwiseConfig`. widths: of the U-Net's residual blocks, from the full
    resolution on down; the first one's channels are the nodes' features.

    Raises BadCheckpoint when the fields do not describe a network.
    """

    generator: ClassVar[str] = "recurrent"
    layout: ClassVar[str] = "widths"
    max_effort: ClassVar[int] = GREEDY
    condition: ClassVar[Condition | None] = None
    classes: ClassVar[int] = 1
    refiner: ClassVar[tuple[int, ...]] = ()

    k: int
    levels: int
    resolution: int
    leak: int
    chain_dropout: float
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        _require_nodes(self.k, self.leak, self.chain_dropout)
        require_resolution(self.resolution)
        require_levels(self.levels, self.resolution)
        require(bool(self.widths) and all(1 <= width <= MAX_WIDTH for width in self.widths) and
                 self.resolution % 2 ** (len(self.widths) - 1) == 0,
                 f"a U-Net has widths of 1 to {MAX_WIDTH}, and halves the resolution after each")

    @property
    def bits(self) -> float:
        """L·log2 K, the size of a whole latent."""
        return self.levels * log2(self.k)

    @property
    def level_resolutions(self) -> tuple[int, ...]:
        """The resolution at which each of the L levels proposes: the image's."""
        return (self.resolution,) * self.levels

    @classmethod
    def default(cls, k: int, levels: int, resolution: int = 64, *, leak: int = 1) -> RecurrentConfig:
        """A layout of about 400,000 parameters for any K, L and resolution."""
        return cls(k=k, levels=levels, resolution=resolution, leak=leak, chain_dropout=CHAIN_DROPOUT if k > 2 else 0.0,
                   widths=UNET[: resolution.bit_length()])

    def to_json(self) -> str:
        return to_json({"generator": self.generator} | asdict(self))

    @property
    def modules(self) -> int:
        """The residual blocks of the U-Net."""
        return len(self.widths)

    @property
    def uses(self) -> int:
        """Once for each pixel and level."""
        return self.levels * self.resolution**2

    @property
    def largest(self) -> dict[str, tuple[int, ...]]:
        """The output nodes."""
        return {"ddl.nodes": (1, self.k, 3 + self.leak, self.widths[0])}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> RecurrentConfig:
        chain_dropout, widths = float(fields.pop("chain_dropout")), integers(fields.pop("widths"))
        return cls(chain_dropout=chain_dropout, widths=widths, **whole(fields))


def spread_levels(k: int, levels: int, resolution: int) -> dict[int, int]:
    """How many levels each resolution gets: half of them the finest, half of the rest the next, and so on.

    A resolution gets at most one bit for each of its 3·r² dimensions; what that leaves over goes to the
    finest, and resolutions that get nothing are left out. Raises BadCheckpoint for numbers beyond the limits.
    """
    _require_k(k)
    require_resolution(resolution)
    require_levels(levels, resolution)
    sides = [2**i for i in range(resolution.bit_length())]
    spread: dict[int, int] = {}
    rest = levels
    for i, side in enumerate(sides[:-1]):
        share = min(round(levels / 2 ** (len(sides) - 1 - i) / 2), int(3 * side * side / log2(k)), rest)
        if share > 0:
            spread[side] = share
            rest -= share
    spread[resolution] = rest
    return spread


def _classes(condition: Condition | None) -> int:
    return condition.channels if condition and condition.kind == CLASS else 1


def _condition(fields: dict[str, Any] | None) -> Condition | None:
    return None if fields is None else Condition(fields.pop("kind"), **whole(fields))


def _require_k(k: int) -> None:
    require(2 <= k <= MAX_K, f"k must be 2 to {MAX_K}, not {k}")


def _require_nodes(k: int, leak: int, chain_dropout: float) -> None:
    _require_k(k)
    require(0 <= leak <= 64, f"leak must be 0 to 64, not {leak}")
    require(0 <= chain_dropout < 1, f"chain dropout must be in [0, 1), not {chain_dropout}")
