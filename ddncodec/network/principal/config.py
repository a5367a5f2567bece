"""Configuration of the principal generator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

from ddncodec.effort import LOOK_AHEAD
from ddncodec.network.config import (
    BLOCK_BITS,
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

MAX_DEPTH = 16
SEGMENTS = 8  # each but the first begins with a head; more adapt more, and cost more
REFINER = (48, 80, 96)  # twice as wide makes the file larger than 32 MB
SHRINK, MAX_SHRINK = 2, 8  # of the oldest checkpoints; of any
LISTS = ("frequencies", "segments", "refiner")


@dataclass(frozen=True, slots=True)
class PrincipalConfig:
    """A principal generator (`network.principal`) with `levels` levels of `k` output nodes, a power of two.

    resolution: side of the images, in pixels, a power of two.
    axes: principal axes that a prediction has; the first `coded_axes` of them can be split, `depth` times each.
    frequencies: for each of three principal colours, how many of its lowest frequencies the axes are made of.
    width: of the heads. segments: levels between one head and the next.
    block_bits: splits whose order is decided at once, a multiple of log2 K. A block splits an axis once at most.
    first_block: splits of the first block; those that follow are as long as all before them, until they reach
    block_bits. Short first blocks let the first bits go where an image needs them most, several to one axis. 0 in
    the oldest checkpoints, whose first block is as long as any.
    refiner: widths of the convolutions that draw what the picks imply, from half of the resolution on down; none in
    the oldest checkpoints.
    shrink: natural logarithm of how far a head may shrink an image's steps. Photographs want more than faces, which are
    alike: steps too long for a flat image draw a pattern into it.

    Raises BadCheckpoint when the fields do not describe a network.
    """

    generator: ClassVar[str] = "principal"
    layout: ClassVar[str] = "segments"
    max_effort: ClassVar[int] = LOOK_AHEAD
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
    first_block: int = 0
    shrink: int = SHRINK

    def __post_init__(self) -> None:
        require(power_of_two(self.k) and 2 <= self.k <= MAX_K,
                 f"k must be a power of two, 2 to {MAX_K}, not {self.k}")
        require_resolution(self.resolution)
        require(len(self.frequencies) == 3 and all(1 <= n <= self.resolution**2 for n in self.frequencies),
                 f"three colours have 1 to {self.resolution**2} frequencies each")
        require(1 <= self.coded_axes <= self.axes <= min(sum(self.frequencies), MAX_WIDTH),
                 f"there must be 1 to {min(sum(self.frequencies), MAX_WIDTH)} axes, and no more coded than axes")
        require(1 <= self.depth <= MAX_DEPTH, f"the trees' depth must be 1 to {MAX_DEPTH}, not {self.depth}")
        require(1 <= self.width <= MAX_WIDTH, f"the heads' width must be 1 to {MAX_WIDTH}, not {self.width}")
        require(1 <= len(self.segments) <= MAX_LEVELS and all(n >= 1 for n in self.segments),
                 "a segment has at least one level")
        require(self.level_bits <= self.block_bits <= self.coded_axes and self.block_bits % self.level_bits == 0,
                 f"a block's bits must be a multiple of {self.level_bits}, at most the coded axes")
        require(0 <= self.first_block <= self.block_bits and self.first_block % self.level_bits == 0,
                 f"the first block's bits must be a multiple of {self.level_bits}, at most {self.block_bits}")
        require(all(1 <= width <= MAX_WIDTH for width in self.refiner) and
                 self.resolution % 2 ** len(self.refiner) == 0,
                 f"a refiner has widths of 1 to {MAX_WIDTH}, and halves the resolution for each")
        require(SHRINK <= self.shrink <= MAX_SHRINK, f"shrink must be {SHRINK} to {MAX_SHRINK}, not {self.shrink}")
        require_levels(self.levels, self.resolution)

    @property
    def level_bits(self) -> int:
        """log2 K: splits, and so bits, of one level."""
        return self.k.bit_length() - 1

    def block(self, start: int) -> int:
        """Bits of the block that begins at bit `start` of the stream, where its segment has room for it."""
        return min(max(start, self.first_block), self.block_bits) if self.first_block else self.block_bits

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
    def default(cls, k: int, levels: int, resolution: int = 64, *, width: int = 640, first_block: int | None = None
                ) -> PrincipalConfig:
        """A layout for any L, resolution and power of two K: the first segment half as long as the others.

        The first block is a single level, unless `first_block` says how many bits it has.
        """
        require(power_of_two(k) and k >= 2, f"k must be a power of two, not {k}")
        require_resolution(resolution)
        require_levels(levels, resolution)
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
                   block_bits=block * level_bits, refiner=REFINER[: resolution.bit_length() - 1],
                   first_block=level_bits if first_block is None else first_block)

    def to_json(self) -> str:
        fields = {"generator": self.generator} | asdict(self)
        for name, oldest in (("refiner", ()), ("first_block", 0), ("shrink", SHRINK)):
            if fields[name] == oldest:
                del fields[name]  # as checkpoints wrote it that know none: their ids are made of this text
        return to_json(fields)

    @property
    def modules(self) -> int:
        """The heads."""
        return len(self.segments)

    @property
    def uses(self) -> int:
        """Once for each pixel, as the refiner's."""
        return self.resolution**2

    @property
    def largest(self) -> dict[str, tuple[int, ...]]:
        """The deviations before each segment."""
        return {"deviation": (len(self.segments) + 1, self.axes)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> PrincipalConfig:
        lists: dict[str, Any] = {name: integers(fields.pop(name, ())) for name in LISTS}
        return cls(**(lists | whole(fields)))
