"""Samples of the paper's network beside the training images nearest to them: it does not draw them by heart (Fig. 11).

    python experiments/paper/nearest.py [--images N]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from record import RECORDS, RUNS, recording
from torch import Tensor

from ddncodec import sample
from ddncodec.data import TEST_SEEDS, Faces
from ddncodec.images import grid
from ddncodec.metrics.features import face_features
from ddncodec.pixels import to_pixels, to_tensor

MODEL, SIDE, SAMPLES, NEAREST, READ = "paper-faces32", 32, 10, 3, 1_000


def main(images: Annotated[int, typer.Option(min=NEAREST, help="Training images to look among.")] = 20_000,
         cache: Annotated[Path, typer.Option(help="Where faces are kept.")] = RUNS / "faces",
         out: Annotated[Path, typer.Option(help="Where the record goes.")] = RECORDS) -> None:
    """See the module."""
    faces = Faces(SIDE, cache)
    differs = "synthetic faces at 32×32; in pixels and in the features of `fd64`"
    with recording("nearest", "Fig. 11", differs, out) as record:
        drawn = to_tensor(np.stack([one.pixels for one in sample(SAMPLES, MODEL)]))
        unseen = faces.draw(TEST_SEEDS[:SAMPLES])
        training = torch.cat([faces.images(range(first, min(first + READ, images)))
                              for first in range(0, images, READ)])
        columns = [to_pixels(drawn)]
        for space, of in (("pixels", flat), ("features", face_features)):
            known = of(training)
            found = {name: torch.cdist(of(some), known)
                     for name, some in (("samples", drawn), ("unseen faces", unseen))}
            for name, distances in found.items():
                nearest = distances.min(1).values.mean().item()
                record.figures[f"{space}, {name}"] = round(nearest, 3)
                record.row(f"mean distance of {name} to the nearest training image, in {space}", f"{nearest:.2f}")
            best = found["samples"].topk(NEAREST, largest=False).indices
            columns += [to_pixels(training[best[:, place]]) for place in range(NEAREST)]
        record.picture(grid([image for row in columns for image in row], SAMPLES), enlarged=2)


def flat(images: Tensor) -> Tensor:
    """(N, 3, R, R) → (N, 3·R²)."""
    return images.flatten(1)


if __name__ == "__main__":
    typer.run(main)
