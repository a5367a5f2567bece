"""Faces in colour from their edges: a conditional network, trained small (Fig. 16).

    python experiments/paper/edges.py [--steps N]
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
import typer
from ablation import STAGES, training
from record import RECORDS, RUNS, recording
from trainings import trained

from ddncodec.data import TEST_SEEDS, Faces
from ddncodec.images import grid
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.network.condition import condition_of
from ddncodec.network.config import EDGES, Condition
from ddncodec.network.paper.config import CHAIN_DROPOUT, SingleShotConfig
from ddncodec.pixels import to_pixels
from ddncodec.training.recipe import Recipe

DRAWN = 3  # rows of pictures from the same edges


@torch.no_grad()
def main(steps: Annotated[int, typer.Option(help="Of 64 images.")] = 400,
         images: Annotated[int, typer.Option(help="Test images.")] = 200,
         out: Annotated[Path, typer.Option(help="Where the record goes.")] = RECORDS,
         runs: Annotated[Path, typer.Option(help="Where the training is.")] = RUNS) -> None:
    """See the module."""
    config = SingleShotConfig(k=64, resolution=32, leak=1, chain_dropout=CHAIN_DROPOUT, learning_residual=True,
                              stages=STAGES, condition=Condition(EDGES, 1))
    train = training(steps, runs)
    differs = f"synthetic faces at 32×32, K = {config.k}, L = {config.levels}, {steps} steps of {train.batch}"
    with recording("edges", "Fig. 16", differs, out) as record:
        with torch.enable_grad():
            network = trained(Recipe(config, train), runs)
        test = Faces(config.resolution).draw(TEST_SEEDS[:images])
        condition = condition_of(config.condition, test, None)
        assert condition is not None
        random = torch.Generator().manual_seed(0)
        drawn = [network.decode(torch.randint(config.k, (images, config.levels), generator=random), condition)
                 for _ in range(DRAWN)]
        others = network.decode(torch.randint(config.k, (images, config.levels), generator=random),
                                condition.roll(1, 0))
        for name, some in (("the same picks from its own edges", drawn[0]), ("from another face's", others)):
            found = condition_of(config.condition, some, None)
            assert found is not None
            record.figures[name] = round(float((found - condition).square().mean()), 5)
            record.row(f"squared error of a drawn face's edges, {name}", f"{record.figures[name]:.4f}")
        guided = network.reconstruct(test, condition=condition).image
        record.figures["guided"] = round(psnr(fmean(squared_errors(to_pixels(test), to_pixels(guided)))), 2)
        record.row("picks near to the originals", f"{record.figures['guided']:.2f} dB in {config.bits:g} bits")
        shown = [test, condition.expand(-1, 3, -1, -1), *drawn]
        record.picture(grid([image for row in shown for image in to_pixels(row[:10])], 10), enlarged=2)


if __name__ == "__main__":
    typer.run(main)
