"""How fast a recipe trains on this machine, and where the time of a step goes.

    python experiments/profile_training.py [RECIPE] [--steps N] [--cache FOLDER] [--json]

RECIPE is what `train --recipe` takes; synthetic faces are drawn unless the cache has them. Times are those of the
operations themselves, so that they add up to the whole step.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import torch
import typer
from torch.profiler import ProfilerActivity, profile

from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe, read
from ddncodec.training.trainer import Trainer

WARM_UP = 2  # steps
KINDS = {  # of operations, by how their names begin; the first that fits
    "convolutions": ("aten::convolution", "aten::mkldnn_convolution", "aten::cudnn_convolution"),
    "distances and rendering": ("aten::bmm", "aten::mm", "aten::addmm"),
    "norms and activations": ("aten::native_group_norm", "aten::silu"),
    "copies and casts": ("aten::copy_", "aten::to", "aten::_to_copy", "aten::clone", "aten::contiguous"),
    "resampling": ("aten::upsample", "aten::_adaptive", "aten::_upsample", "aten::avg_pool"),
    "all else": ("",),
}


def main(recipe: str = "paper-faces32",
         steps: Annotated[int, typer.Option(min=1, help="Steps to time.")] = 5,
         cache: Annotated[Path | None, typer.Option(help="Where faces are kept.")] = None,
         as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """See the module."""
    loaded = Recipe.of(read(recipe))
    loaded = replace(loaded, train=replace(loaded.train, cache=str(cache) if cache else None))
    with TemporaryDirectory() as folder:
        trainer = Trainer.create(Path(folder), loaded, World(torch.device("cpu")))
        for _ in range(WARM_UP):
            trainer.train_step()
        seconds = min(timed(trainer) for _ in range(steps))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            trainer.train_step()
    took: Counter[str] = Counter()
    for operation in profiled.key_averages():
        kind = next(kind for kind, names in KINDS.items() if operation.key.startswith(names))
        took[kind] += operation.self_cpu_time_total
    figures = {
        "recipe": recipe, "threads": torch.get_num_threads(), "batch": loaded.train.batch,
        "seconds_a_step": round(seconds, 3), "images_a_second": round(loaded.train.batch / seconds, 1),
        "share_of_time": {kind: round(took[kind] / took.total(), 3) for kind in KINDS},
    }
    typer.echo(json.dumps(figures, indent=2) if as_json else
               f"{recipe}: {figures['images_a_second']} images a second, {figures['threads']} threads\n"
               + "\n".join(f"{took[kind] / took.total():6.1%}  {kind}" for kind in KINDS))


def timed(trainer: Trainer) -> float:
    """Seconds that a step takes."""
    began = perf_counter()
    trainer.train_step()
    return perf_counter() - began


if __name__ == "__main__":
    typer.run(main)
