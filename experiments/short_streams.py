"""What short first blocks are worth: PSNR of a latent's prefixes, with all blocks alike and with blocks that grow.

    python experiments/short_streams.py [--data IMAGES] [--images N] [--cache FOLDER] [--json FILE]

Both networks are started from the same images, without training after it; the images that they are measured on are
others: validation faces, or every tenth of IMAGES. Dark images are those at a quarter of their brightness, which
neither network has seen the like of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from ddncodec.data.faces import TRAIN_SEEDS, VALIDATION_SEEDS, Faces
from ddncodec.data.pictures import pictures
from ddncodec.effort import LOOK_AHEAD
from ddncodec.metrics.distortion import mean_psnr
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.network.principal.start import CHUNK, start
from ddncodec.pixels import to_pixels, to_tensor

RESOLUTION = 64
LEVELS = (6, 12, 24, 36, 72, 96, 192, 384, 768, 1152)  # of K = 2: as many bits
MEASURED = 256
HEAD_STEPS = 200
BATCH = 64


def read(data: str | None, cache: Path | None, count: int) -> tuple[Tensor, Tensor]:
    """Images to start from, and others to measure on, (N, 3, R, R) in [−1, 1]."""
    if data is None:
        faces = Faces(RESOLUTION, cache)
        return faces.images(range(count)), faces.draw(VALIDATION_SEEDS[:MEASURED])
    found = [entry.content for entry in pictures(data, resolution=RESOLUTION) if isinstance(entry.content, np.ndarray)]
    apart = found[::10]
    kept = [image for i, image in enumerate(found) if i % 10]
    return (to_tensor(np.stack(kept[:: max(1, len(kept) // count)][:count])),
            to_tensor(np.stack(apart[:: max(1, len(apart) // MEASURED)][:MEASURED])))


@torch.no_grad()
def by_levels(network: PrincipalGenerator, images: Tensor) -> dict[int, float]:
    """Mean PSNR of the prefixes of the latents of images, by their number of levels."""
    latents = torch.cat([network.encode(part, effort=LOOK_AHEAD) for part in torch.split(images, BATCH)])

    def decode(levels: int) -> Tensor:
        return torch.cat([network.decode(part[:, :levels]) for part in torch.split(latents, BATCH)])

    return {levels: mean_psnr(to_pixels(images), to_pixels(decode(levels))) for levels in LEVELS}


def main(data: Annotated[str | None, typer.Option(help="Images instead of synthetic faces.")] = None,
         images: Annotated[int, typer.Option(help="To start from, at most.")] = len(TRAIN_SEEDS) // 50,
         cache: Annotated[Path | None, typer.Option(help="Of training faces.")] = None,
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Start both networks, measure, and print a table in Markdown."""
    seen, others = read(data, cache, images)
    sets = {"typical": others, "dark": (others + 1) / 4 - 1}
    figures: dict[str, dict[str, dict[int, float]]] = {}
    for name, first_block in (("alike", 0), ("growing", 1)):
        torch.manual_seed(0)
        network = PrincipalGenerator(PrincipalConfig.default(2, max(LEVELS), RESOLUTION, first_block=first_block))
        start(network, iter(torch.split(seen, CHUNK)), HEAD_STEPS)
        figures[name] = {kind: by_levels(network, some) for kind, some in sets.items()}
    print("| bits | " + " | ".join(f"{kind}, {name}" for kind in sets for name in figures) + " |")
    print("|---" * (1 + len(sets) * len(figures)) + "|")
    for levels in LEVELS:
        print(f"| {levels:,} | " + " | ".join(f"{figures[name][kind][levels]:.2f}" for kind in sets for name in figures)
              + " |")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
