"""The ablation at this machine's scale: K, and what each of the paper's techniques is worth (Table 2).

    python experiments/paper/ablation.py [--steps N] [--images N]

Every network sees the same synthetic faces at 32×32 for as many steps; all have the same convolutions and L.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import typer
from picks import bits_a_pick, counts_of
from record import RECORDS, RUNS, recording
from torch import Tensor
from trainings import trained

from ddncodec.data import TEST_SEEDS, VALIDATION_SEEDS, Faces
from ddncodec.images import grid
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.metrics.features import face_features
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.network.base import Generator
from ddncodec.network.paper.config import CHAIN_DROPOUT, SingleShotConfig, Stage
from ddncodec.pixels import to_pixels
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import PerImageStreams
from ddncodec.training.config import TrainConfig
from ddncodec.training.recipe import Recipe

STAGES = (Stage(4, 48, 4), Stage(8, 48, 6), Stage(16, 32, 5), Stage(32, 16, 1))
FULL = SingleShotConfig(k=512, resolution=32, leak=1, chain_dropout=CHAIN_DROPOUT, learning_residual=True,
                        stages=STAGES)
BATCH, PICTURED = 100, 10


def training(steps: int, runs: Path) -> TrainConfig:
    """So many steps on synthetic faces."""
    return TrainConfig(cache=str(runs / "faces"), faces=20_000, augment=0.0, steps=steps, warmup=min(50, steps),
                       lr=3e-3, node_lr=1e-3, final_weight=1.0, precision="bfloat16",
                       validate_every=max(1, steps // 2))


def variants(train: TrainConfig) -> dict[str, Recipe]:
    """The whole, then one thing changed at a time."""
    return {
        "K = 512, all techniques": Recipe(FULL, train),
        **{f"K = {k}": Recipe(replace(FULL, k=k), train) for k in (64, 8, 2)},
        "without Split-and-Prune": Recipe(FULL, replace(train, split_swaps=0)),
        "without chain dropout": Recipe(replace(FULL, chain_dropout=0.0), train),
        "without learning residual": Recipe(replace(FULL, learning_residual=False), train),
        "without leak choice": Recipe(replace(FULL, leak=0), train),
    }


def main(steps: Annotated[int, typer.Option(help="Of 64 images, of each network.")] = 300,
         images: Annotated[int, typer.Option(help="Test images, and samples, of each.")] = 1_000,
         out: Annotated[Path, typer.Option(help="Where the record goes.")] = RECORDS,
         runs: Annotated[Path, typer.Option(help="Where the trainings are.")] = RUNS) -> None:
    """See the module."""
    train = training(steps, runs)
    differs = (f"synthetic faces at 32×32, L = {FULL.levels}, {steps} steps of {train.batch} for each network instead "
               f"of days; PSNR and `fd64` instead of FID")
    faces = Faces(FULL.resolution)
    test, others = faces.draw(TEST_SEEDS[:images]), face_features(faces.draw(VALIDATION_SEEDS[:images]))
    with recording("ablation", "Table 2", differs, out) as record:
        sheets: list[Any] = []
        for name, recipe in variants(train).items():
            found = measured(trained(recipe, runs), test, others)
            sheets += list(found.pop("samples"))
            record.figures[name] = found | {"bits": recipe.network.bits}
            record.row(name, f"{found['psnr']:.2f} dB in {recipe.network.bits:g} bits, {found['bits_a_pick']:.2f} bits "
                             f"a pick; samples at a Fréchet distance of {found['frechet_distance']:.1f}")
        record.row("other real images", f"Fréchet distance {frechet_distance(face_features(test), others):.1f}")
        record.picture(grid(sheets, PICTURED), enlarged=2)


@torch.no_grad()
def measured(network: Generator, test: Tensor, others: Tensor) -> dict[str, Any]:
    """PSNR of the reconstructed test images, use of the nodes, and samples' distance to the features of others."""
    drawn = [network.reconstruct(part) for part in torch.split(test, BATCH)]
    image, picks = torch.cat([part.image for part in drawn]), torch.cat([part.indices for part in drawn])
    numbers = torch.split(torch.arange(len(test)), BATCH)
    sampled = torch.cat([network.run(by_chance(part), len(part)).image for part in numbers])
    return {
        "psnr": round(psnr(fmean(squared_errors(to_pixels(test), to_pixels(image)))), 2),
        "bits_a_pick": round(bits_a_pick(counts_of(picks, network.config.k)).mean().item(), 2),
        "frechet_distance": round(frechet_distance(face_features(sampled), others), 1),
        "samples": to_pixels(sampled[:PICTURED]),
    }


def by_chance(numbers: Tensor) -> ReplaySampler:
    """The paper's sampler of images of these numbers: all nodes are equally likely."""
    none = torch.empty(len(numbers), 0, dtype=torch.int64)
    return ReplaySampler(none, RandomSampler(PerImageStreams(0, numbers.tolist())))


if __name__ == "__main__":
    typer.run(main)
