"""What encoding in a closed loop gains, by the share of what is missing that each round adds, and by the rounds.

    python experiments/closed_loop.py [--model NAME] [--data IMAGES] [--images N] [--bytes N] [--json FILE]

On validation faces, or on images of a folder. PSNR of the mean error, at the model's resolution; round 0 is the
network's own search. `ddncodec/coding.py` has the share and the rounds that were chosen.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ddncodec import load_model, zoo
from ddncodec.coding import Near
from ddncodec.data.faces import Faces
from ddncodec.evaluation.data import load
from ddncodec.images import Pixels
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.pixels import to_pixels

SHARES, ROUNDS = (0.1, 0.2, 0.3, 0.5), 8
BATCH = 64


def decibels(images: Pixels, nears: list[Near]) -> float:
    """PSNR of the mean error of the nearest pictures of images (N, R, R, 3)."""
    return round(psnr(float(squared_errors(images, np.stack([near.pixels for near in nears])).mean())), 3)


def main(
    model: Annotated[str, typer.Option(help="A model's name, or the path of a weights file.")] = zoo.DEFAULT,
    data: Annotated[str | None, typer.Option(help="Images instead of validation faces.")] = None,
    images: Annotated[int, typer.Option(help="How many, at most.")] = 96,
    max_bytes: Annotated[int | None, typer.Option("--bytes", help="Of the picks; by default all levels.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
) -> None:
    """Print the table in Markdown; see the module."""
    codec = load_model(model)
    originals = (to_pixels(Faces(codec.resolution).validation(images)) if data is None
                 else load(data, codec.resolution, images).pixels)
    figures: dict[str, list[float]] = {}
    latents = [latent for i in range(0, len(originals), BATCH)
               for latent in codec.encode_batch(originals[i : i + BATCH], max_bytes=max_bytes)]
    for share in SHARES:
        nears: list[list[Near]] = [[] for _ in range(ROUNDS + 1)]
        for i in range(0, len(originals), BATCH):
            rounds = codec.rounds(list(originals[i : i + BATCH]), latents[i : i + BATCH], share)
            for found, best in zip(nears, islice(rounds, ROUNDS + 1), strict=True):
                found += best
        figures[str(share)] = [decibels(originals, found) for found in nears]
    typer.echo(f"{model}, {len(originals)} images, {latents[0].levels:,} of {codec.levels:,} levels\n")
    typer.echo("| share | " + " | ".join(f"{number} rounds" for number in range(ROUNDS + 1)) + " |")
    typer.echo("|---" * (ROUNDS + 2) + "|")
    for name, by_rounds in figures.items():
        typer.echo(f"| {name} | " + " | ".join(f"{value:.2f}" for value in by_rounds) + " |")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
