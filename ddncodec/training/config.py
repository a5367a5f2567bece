"""How a run trains: a frozen dataclass, stored with the run's state and written in a recipe's [train] table."""

from __future__ import annotations

from dataclasses import dataclass

from ddncodec.data import TRAIN_SEEDS
from ddncodec.errors import BadRecipe

PRECISIONS = ("float32", "bfloat16", "float16")
LIMITS: dict[str, tuple[int, int]] = {  # of what is a number; none of them is infinite
    **dict.fromkeys(("steps", "validate_every", "save_every"), (1, 10**9)),
    **dict.fromkeys(("warmup", "head_steps", "refiner_steps", "split_swaps"), (0, 10**9)),
    **dict.fromkeys(("batch", "accumulate"), (1, 2**20)),
    **dict.fromkeys(("couple_images", "validation_images"), (1, 10**8)),
    **dict.fromkeys(("augment", "ema", "couple_at"), (0, 1)),
    **dict.fromkeys(("lr", "node_lr", "refiner_lr"), (0, 100)),
    **dict.fromkeys(("final_weight", "clip", "split_gate"), (0, 10**6)),
    "start_images": (0, 10**8),
    "seed": (0, 2**63 - 1),
    "faces": (1_000, len(TRAIN_SEEDS)),
}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a run trains. Raises BadRecipe for numbers that no run can have.

    data: where the images are, or None for the synthetic faces. cache: a folder that keeps what was drawn or
    decoded; None is the run's own, and draws faces anew. faces: how many of their training seeds to take, over and
    over. augment: None takes the images as they are; a share mirrors half of them and changes framing, light and
    background of so many.

    steps, warmup, validate_every, save_every: in steps of `batch` images, which all processes together work
    through in `accumulate` parts each. lr: Adam's rate. node_lr: the output nodes' own, since the many levels of
    a block add up; None is `lr` times the generator's `node_rate`. Both decay to zero along half a cosine.
    final_weight: weight of the refined output's loss beside the mean of all levels'. ema: decay of the weights'
    moving average, which is what is validated and kept. clip: bound on the gradient's norm. refiner_steps: further
    steps, in which the refiner of a principal generator learns alone; refiner_lr: Adam's rate in them, with a warm-up
    and half a cosine of their own. refiner_from: the model, by name or path, whose refiner the run begins with.
    precision: what the dense parts compute in; distances stay in float32.
    checkpoint_activations: forget activations and compute them twice. compile: by torch.compile.
    split_gate, split_swaps: Split-and-Prune judges a level after so many picks a node on average, and swaps at most so
    many of its nodes after a step; without swaps there is none.

    start_images: how many images the planes and nodes are fitted to before the first step; 0 starts from random
    nodes. head_steps: of each head of a principal generator, before the first step; couple_at: the share of the
    steps after which its picks are coupled, on couple_images images; 1: before the refiner learns alone.
    """

    data: str | None = None
    cache: str | None = None
    faces: int = len(TRAIN_SEEDS)
    augment: float | None = None
    seed: int = 0
    steps: int = 20_000
    batch: int = 64
    accumulate: int = 1
    lr: float = 5e-4
    node_lr: float | None = None
    warmup: int = 100
    final_weight: float = 4.0
    ema: float = 0.998
    clip: float = 1.0
    refiner_steps: int = 0
    refiner_lr: float = 1e-3
    refiner_from: str | None = None
    precision: str = "float32"
    checkpoint_activations: bool = False
    compile: bool = False
    split_gate: float = 8.0
    split_swaps: int = 64
    start_images: int = 10_000
    head_steps: int = 1_000
    couple_at: float = 0.6
    couple_images: int = 20_000
    validation_images: int = 256
    validate_every: int = 200
    save_every: int = 100

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            _require(value is None or least <= value <= most, f"{name} must be {least:,} to {most:,}, not {value}")
        _require(self.precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}")

    def share(self, processes: int) -> int:
        """How many images of a step each process works through at once. Raises BadRecipe if they cannot be shared."""
        parts = processes * self.accumulate
        _require(self.batch % parts == 0, f"a batch of {self.batch} images cannot be shared among {processes} "
                                          f"processes in {self.accumulate} parts each")
        return self.batch // parts


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BadRecipe(message)
