"""What a network is: a frozen dataclass a generator, stored as JSON in each checkpoint, which so describes itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import log2
from typing import Any, ClassVar

from ddncodec.errors import BadCheckpoint

MAX_LEVELS = 65_535
MAX_K = 65_536
MAX_RESOLUTION = 1_024
MAX_WIDTH = 4_096
MAX_DEPTH = 16
SEGMENTS = 8  # each but the first begins with a head; more adapt more, and cost more
REFINER = (48, 80, 96)  # twice as wide makes the file larger than 32 MB
LISTS = ("frequencies", "segments", "refiner")
CLASS, GREY, EDGES = CONDITIONS = ("class", "grey", "edges")
MAX_CLASSES = 1_000
UNET = (16, 56, 80)  # widths of the recurrent generator
BLOCK_BITS = 36  # levels of one block do not condition each other's features: more blocks adapt more, and cost more


@dataclass(frozen=True, slots=True)
class Stage:
    """The blocks at one resolution of the coarse-to-fine generator (Fig. 3b of the paper).

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
class Condition:
    """What a conditional network is told of each image: kind is class, grey or edges; channels, of its planes.

    A class is one of `channels`; the other kinds have one channel. Raises BadCheckpoint for any other.
    """

    kind: str
    channels: int

    def __post_init__(self) -> None:
        _require(self.kind in CONDITIONS, f"a condition is one of {', '.join(CONDITIONS)}, not {self.kind!r}")
        least, most = (2, MAX_CLASSES) if self.kind == CLASS else (1, 1)
        _require(least <= self.channels <= most, f"a {self.kind} has {least} to {most} channels, not {self.channels}")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A single shot generator with `levels` levels of `k` output nodes.

    resolution: side of the images, in pixels, a power of two.
    leak: extra output channels of a node that condition later blocks (leak choice).
    chain_dropout: probability, in training, that a level picks at random (Sec. 3.2).
    stages: coarse to fine; the last one has `resolution`. condition: what each stage is told of the image.

    Raises BadCheckpoint when the fields do not describe a network.
    """

    generator: ClassVar[str] = "single-shot"

    k: int
    resolution: int
    leak: int
    chain_dropout: float
    stages: tuple[Stage, ...]
    condition: Condition | None = None

    def __post_init__(self) -> None:
        _require_nodes(self.k, self.leak, self.chain_dropout)
        _require_resolution(self.resolution)
        _require(bool(self.stages) and self.stages[-1].resolution == self.resolution,
                 "the last stage must have the network's resolution")
        last = 0
        for stage in self.stages:
            where = f"stage {stage.resolution}"
            _require(_power_of_two(stage.resolution) and stage.resolution > last,
                     f"{where}: resolutions must be rising powers of two")
            _require(_power_of_two(stage.trunk) and stage.trunk <= stage.resolution,
                     f"{where}: the trunk's resolution must be a power of two up to the stage's")
            _require(1 <= stage.channels <= MAX_WIDTH, f"{where}: channels must be 1 to {MAX_WIDTH}")
            _require(0 <= stage.planes <= min(stage.resolution**2, MAX_WIDTH),
                     f"{where}: planes must be 0 to {min(stage.resolution**2, MAX_WIDTH)}")
            _require(stage.planes > 0 or stage.trunk == stage.resolution,
                     f"{where}: without planes the trunk must run at the stage's resolution")
            _require(bool(stage.levels) and all(0 <= n <= MAX_LEVELS for n in stage.levels),
                     f"{where}: a block has 0 to {MAX_LEVELS} levels")
            last = stage.resolution
        _require_levels(self.levels)

    @property
    def levels(self) -> int:
        """L, the number of levels of the whole network."""
        return sum(sum(stage.levels) for stage in self.stages)

    @property
    def classes(self) -> int:
        """How many classes the nodes' picks are counted by: 1 where the network is told none."""
        return self.condition.channels if self.condition and self.condition.kind == CLASS else 1

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
                leak: int = 1) -> NetworkConfig:
        """A layout for any K, L and resolution; see `spread_levels` for how the levels are spread.

        planes=0 gives the paper's generator, whose features are the convolutions' own output.
        """
        stages = []
        spread = spread_levels(k, levels, resolution)
        per_block = max(1, int(BLOCK_BITS // log2(k)))
        for side, n in spread.items():
            blocks = [per_block] * (n // per_block) + ([n % per_block] if n % per_block else [])
            if side == resolution:
                blocks.append(0)  # what the last picks imply, drawn for no bits
            stages.append(Stage(resolution=side, trunk=min(side, 8) if planes else side, channels=channels,
                                planes=min(planes, side * side), levels=tuple(blocks)))
        return cls(k=k, resolution=resolution, leak=leak, chain_dropout=_chain_dropout(k),
                   stages=tuple(stages))

    def to_json(self) -> str:
        fields = asdict(self)
        if self.condition is None:
            del fields["condition"]  # as checkpoints wrote it before there were any: their ids are made of this text
        return _json(fields)


@dataclass(frozen=True, slots=True)
class RecurrentConfig:
    """A recurrent generator (Fig. 3c): one U-Net and one layer of `k` output nodes, applied `levels` times.

    resolution, leak, chain_dropout: as in `NetworkConfig`. widths: of the U-Net's residual blocks, from the full
    resolution on down; the first one's channels are the nodes' features.

    Raises BadCheckpoint when the fields do not describe a network.
    """

    generator: ClassVar[str] = "recurrent"
    condition: ClassVar[Condition | None] = None
    classes: ClassVar[int] = 1

    k: int
    levels: int
    resolution: int
    leak: int
    chain_dropout: float
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        _require_nodes(self.k, self.leak, self.chain_dropout)
        _require_resolution(self.resolution)
        _require_levels(self.levels)
        _require(bool(self.widths) and all(1 <= width <= MAX_WIDTH for width in self.widths) and
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
        return cls(k=k, levels=levels, resolution=resolution, leak=leak, chain_dropout=_chain_dropout(k),
                   widths=UNET[: resolution.bit_length()])

    def to_json(self) -> str:
        return _json({"generator": self.generator} | asdict(self))


@dataclass(frozen=True, slots=True)
class PrincipalConfig:
    """A principal generator (`network.principal`) with `levels` levels of `k` output nodes, a power of two.

    resolution: side of the images, in pixels, a power of two.
    axes: principal axes that a prediction has; the first `coded_axes` of them can be split, `depth` times each.
    frequencies: for each of three principal colours, how many of its lowest frequencies the axes are made of.
    width: of the heads. segments: levels between one head and the next.
    block_bits: splits whose order is decided at once, a multiple of log2 K. refiner: widths of the convolutions
    that draw what the picks imply, from half of the resolution on down; none in the oldest checkpoints.

    Raises BadCheckpoint when the fields do not describe a network.
    """

    generator: ClassVar[str] = "principal"
    condition: ClassVar[Condition | None] = None
    classes: ClassVar[int] = 1

    k: int
    resolution: int
    axes: int
    coded_axes: int
    depth: int
    frequencies: tuple[int, ...]
    width: int
    segments: tuple[int, ...]
    block_bits: int
    refiner: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require(_power_of_two(self.k) and 2 <= self.k <= MAX_K,
                 f"k must be a power of two, 2 to {MAX_K}, not {self.k}")
        _require_resolution(self.resolution)
        _require(len(self.frequencies) == 3 and all(1 <= n <= self.resolution**2 for n in self.frequencies),
                 f"three colours have 1 to {self.resolution**2} frequencies each")
        _require(1 <= self.coded_axes <= self.axes <= min(sum(self.frequencies), MAX_WIDTH),
                 f"there must be 1 to {min(sum(self.frequencies), MAX_WIDTH)} axes, and no more coded than axes")
        _require(1 <= self.depth <= MAX_DEPTH, f"the trees' depth must be 1 to {MAX_DEPTH}, not {self.depth}")
        _require(1 <= self.width <= MAX_WIDTH, f"the heads' width must be 1 to {MAX_WIDTH}, not {self.width}")
        _require(1 <= len(self.segments) <= MAX_LEVELS and all(n >= 1 for n in self.segments),
                 "a segment has at least one level")
        _require(self.level_bits <= self.block_bits <= self.coded_axes and self.block_bits % self.level_bits == 0,
                 f"a block's bits must be a multiple of {self.level_bits}, at most the coded axes")
        _require(all(1 <= width <= MAX_WIDTH for width in self.refiner) and
                 self.resolution % 2 ** len(self.refiner) == 0,
                 f"a refiner has widths of 1 to {MAX_WIDTH}, and halves the resolution for each")
        _require_levels(self.levels)

    @property
    def level_bits(self) -> int:
        """log2 K: splits, and so bits, of one level."""
        return self.k.bit_length() - 1

    @property
    def levels(self) -> int:
        """L, the number of levels of the whole network."""
        return sum(self.segments)

    @property
    def bits(self) -> float:
        """L·log2 K, the size of a whole latent."""
        return self.levels * self.level_bits

    @property
    def level_resolutions(self) -> tuple[int, ...]:
        """The resolution at which each of the L levels proposes: the image's."""
        return (self.resolution,) * self.levels

    @classmethod
    def default(cls, k: int, levels: int, resolution: int = 64, *, width: int = 640) -> PrincipalConfig:
        """A layout for any L, resolution and power of two K: the first segment half as long as the others."""
        _require(_power_of_two(k) and k >= 2, f"k must be a power of two, not {k}")
        _require_levels(levels)
        level_bits = k.bit_length() - 1
        # Of photographs the eye and the mean squared error see most in luminance, and in its lower frequencies.
        frequencies = tuple(min(resolution**2, n) for n in (2112, 448, 192))
        axes = min(960, sum(frequencies))
        coded = min(640, axes)
        block = max(1, min(BLOCK_BITS, coded) // level_bits)
        parts = 2 * SEGMENTS - 1
        ends = [levels * (2 * i + 1) // parts // block * block for i in range(SEGMENTS - 1)]
        edges = sorted({0, *ends, levels})
        return cls(k=k, resolution=resolution, axes=axes, coded_axes=coded, depth=8, frequencies=frequencies,
                   width=width, segments=tuple(after - before for before, after in pairwise(edges)),
                   block_bits=block * level_bits, refiner=REFINER[: resolution.bit_length() - 1])

    def to_json(self) -> str:
        fields = {"generator": self.generator} | asdict(self)
        if not self.refiner:
            del fields["refiner"]  # as checkpoints wrote it that know none: their ids are made of this text
        return _json(fields)


AnyConfig = NetworkConfig | PrincipalConfig | RecurrentConfig


def config_from_json(text: str) -> AnyConfig:
    """Inverse of a configuration's `to_json`; the text is not trusted. Raises BadCheckpoint."""
    try:
        fields = json.loads(text)
        match fields.pop("generator", NetworkConfig.generator):
            case PrincipalConfig.generator:
                lists: dict[str, Any] = {name: _integers(fields.pop(name, ())) for name in LISTS}
                return PrincipalConfig(**(lists | _whole(fields)))
            case RecurrentConfig.generator:
                chain_dropout, widths = float(fields.pop("chain_dropout")), _integers(fields.pop("widths"))
                return RecurrentConfig(chain_dropout=chain_dropout, widths=widths, **_whole(fields))
            case NetworkConfig.generator:
                stages = tuple(Stage(levels=_integers(stage.pop("levels")), **_whole(stage))
                               for stage in fields.pop("stages"))
                chain_dropout, told = float(fields.pop("chain_dropout")), fields.pop("condition", None)
                condition = Condition(told.pop("kind"), **_whole(told)) if told is not None else None
                return NetworkConfig(chain_dropout=chain_dropout, stages=stages, condition=condition, **_whole(fields))
            case other:
                raise ValueError(f"there is no generator {other!r}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadCheckpoint(f"the checkpoint's configuration is not one: {error}") from None


def spread_levels(k: int, levels: int, resolution: int) -> dict[int, int]:
    """How many levels each resolution gets: half of them the finest, half of the rest the next, and so on.

    A resolution gets at most one bit for each of its 3·r² dimensions; what that leaves over goes to the
    finest, and resolutions that get nothing are left out.
    """
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


def _chain_dropout(k: int) -> float:
    return 0.05 if k > 2 else 0.0


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BadCheckpoint(message)


def _require_nodes(k: int, leak: int, chain_dropout: float) -> None:
    _require(2 <= k <= MAX_K, f"k must be 2 to {MAX_K}, not {k}")
    _require(0 <= leak <= 64, f"leak must be 0 to 64, not {leak}")
    _require(0 <= chain_dropout < 1, f"chain dropout must be in [0, 1), not {chain_dropout}")


def _require_resolution(resolution: int) -> None:
    _require(_power_of_two(resolution) and resolution <= MAX_RESOLUTION,
             f"the resolution must be a power of two up to {MAX_RESOLUTION}, not {resolution}")


def _require_levels(levels: int) -> None:
    _require(1 <= levels <= MAX_LEVELS, f"there must be 1 to {MAX_LEVELS} levels, not {levels}")


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True)


def _power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value


def _whole(fields: dict[str, Any]) -> dict[str, int]:
    return {name: _integer(value) for name, value in fields.items()}


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(_integer(value) for value in values)
