"""Measures the shipped models on synthetic faces: writes each one's metrics.json, and the picture in the README.

    python experiments/measure.py [--images N]
"""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
import typer

from ddncodec import zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.evaluation.metrics import mean_psnr, psnr, squared_errors
from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, write_picture
from ddncodec.pixels import to_pixels
from ddncodec.training.data import TEST_SEEDS, VALIDATION_SEEDS, Faces

BATCH = 64
SHARES = (8, 4, 2, 1)  # the stream's first 1/8, 1/4, 1/2 and all of it
PICTURED = 8  # the first test seeds


def main(
    images: Annotated[int, typer.Option(help="How many of the validation seeds.")] = len(VALIDATION_SEEDS),
    prefix_images: Annotated[int, typer.Option(help="How many of them at the shorter prefixes too.")] = 1000,
) -> None:
    """Measure every shipped model, encoded greedily, as 8-bit pictures after clipping and rounding."""
    for info in zoo.shipped():
        codec, faces = load_weights(info), Faces(info.config.resolution)
        errors: dict[int, list[float]] = {codec.levels // share: [] for share in SHARES}
        psnrs: list[float] = []
        seeds = VALIDATION_SEEDS[:images]
        with typer.progressbar(range(0, len(seeds), BATCH), label=info.name) as batches:
            for first in batches:
                originals = to_pixels(faces.images(seeds[first : first + BATCH]))
                latents = codec.encode_batch(list(originals))
                for levels, found in errors.items():
                    if levels == codec.levels or first < prefix_images:
                        decoded = np.stack(codec.decode_batch([latent.prefix(levels) for latent in latents]))
                        found.extend(squared_errors(originals, decoded))
                        if levels == codec.levels:
                            psnrs.append(mean_psnr(originals, decoded) * len(originals))
        metrics = {
            "weights": info.id.hex(),
            "data": f"synthetic faces, validation seeds {seeds[0]:,} to {seeds[-1]:,}",
            "mean_psnr": round(sum(psnrs) / len(seeds), 2),
            "psnr_of_mean_error": {
                str(round(levels * codec.info.config.bits / codec.levels)): {
                    "psnr": round(psnr(float(np.mean(found))), 2), "images": len(found)}
                for levels, found in errors.items()
            },
        }
        with atomic_write(info.path.with_name("metrics.json"), overwrite=True) as file:
            file.write((json.dumps(metrics, indent=2) + "\n").encode())
        with atomic_write(info.path.with_name("prefixes.png"), overwrite=True) as file:
            write_picture(Picture(_prefixes(codec, faces)), file)
        typer.echo(json.dumps(metrics, indent=2))


def _prefixes(codec: Codec, faces: Faces) -> Pixels:
    """Rows: the first test seeds' faces, then what 1/8, 1/4, 1/2 and all of their streams show; enlarged twice."""
    originals = to_pixels(faces.images(TEST_SEEDS[:PICTURED]))
    latents = codec.encode_batch(list(originals))
    rows = [originals, *(np.stack(codec.decode_batch([latent.prefix(codec.levels // share) for latent in latents]))
                         for share in SHARES)]
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    return grid.repeat(2, 0).repeat(2, 1)


if __name__ == "__main__":
    typer.run(main)
