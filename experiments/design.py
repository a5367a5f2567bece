"""The design of the models of photographs: short trainings of equal steps, each with one thing changed.

    python experiments/design.py placeholder    # after `make photos`; the table is in docs/training.md
    python experiments/design.py photos

What is changed is chosen by validation crops, of photographs that no training sees, shown at 64×64 through the whole
pipeline. Runs lie in runs/design, are gone on with where they stopped, and are not run twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from markers import filled, table
from photographs import psnr_of_mean_error
from photos import PHOTOS, SIDE

from ddncodec.codec import Codec, load_weights
from ddncodec.data.packed import Packed, pack
from ddncodec.files import atomic_write
from ddncodec.images import Pixels, fit
from ddncodec.pixels import to_pixels
from ddncodec.training.recipe import Recipe, read
from ddncodec.training.trainer import train_once
from ddncodec.zoo import find
from ddncodec_cli.progress import shown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/training.md"
RUNS = ROOT / "runs/design"
BATCH = 100

Changes = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """A recipe, what shortens its training, and the single changes that are tried: of the network, of the training."""

    recipe: str
    short: Changes
    network: tuple[Changes, ...]
    train: tuple[Changes, ...] = field(default=())


SEARCHES = {
    "placeholder": Search(
        "placeholder-183",
        {"start_images": 30_000, "head_steps": 300, "couple_images": 10_000, "steps": 400, "refiner_steps": 300},
        ({}, {"resolution": 64}, {"first_block": 0}, {"segments": [93, 90]}, {"segments": [12, 21, 24, 27, 30, 33, 36]},
         {"axes": 256, "coded_axes": 160}, {"frequencies": [192, 96, 80]}, {"frequencies": [320, 40, 28]},
         {"width": 64}, {"width": 192}, {"depth": 5}, {"refiner": [16, 24, 32]}, {"refiner": [48, 64, 80]}),
        ({"final_weight": 4.0}, {"final_weight": 64.0}, {"couple_at": 0.2}, {"augment": 0.2})),
    "photos": Search(
        "photos-1152",
        {"start_images": 20_000, "head_steps": 150, "couple_images": 5_000, "steps": 150, "refiner_steps": 150,
         "batch": 64},
        ({}, {"width": 640}, {"first_block": 0}, {"axes": 1200, "coded_axes": 800},
         {"frequencies": [1_800, 600, 352]}, {"segments": [144, 288, 360, 360]}),
        ({"refiner_from": "photos"},)),
}


def main(
    model: Annotated[str, typer.Argument(help=f"Whose recipe: {' or '.join(SEARCHES)}.")],
    photographs: Annotated[Path, typer.Option(help="The folder that `make photos` filled.")] = PHOTOS,
    images: Annotated[int, typer.Option(help="Validation crops to measure on.")] = 1_000,
    runs: Annotated[Path, typer.Option(help="Where the trainings are.")] = RUNS,
    only: Annotated[int | None, typer.Option(help="Only the first so many trainings.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the table into docs/training.md.")] = False,
) -> None:
    """Train what is not trained yet, measure all, and print the table; see the module."""
    search = SEARCHES[model]
    tables = read(search.recipe)
    data = str(photographs / "train.npz")
    originals = to_pixels(Packed(pack(data, SIDE, runs), 0).validation(images))
    rows: list[list[str]] = []
    base: float | None = None
    variants: list[tuple[Changes, Changes]] = [(change, {}) for change in search.network]
    variants += [({}, change) for change in search.train]
    for network, train in variants[:only]:
        given = tables["train"] | search.short | train | {"data": data, "cache": str(runs)}
        codec = load_weights(find(trained(Recipe.of({"network": tables["network"] | network, "train": given}), runs)))
        decibels = psnr_of_mean_error(originals, np.concatenate([seen(codec, part) for part in parts(originals)]))
        base = decibels if base is None else base
        changed = ", ".join(f"`{name} = {json.dumps(value)}`" for name, value in (*network.items(), *train.items()))
        rows.append([changed or "the recipe, shortened", f"{decibels:.2f} dB", f"{decibels - base:+.2f}",
                     f"{codec.info.path.stat().st_size / 1e6:.2f} MB"])
        typer.echo(" | ".join(rows[-1]))
    short = ", ".join(f"`{name} = {value}`" for name, value in search.short.items())
    text = f"{short}; {len(originals):,} validation crops.\n\n{table(['what', 'PSNR', '', 'weights'], rows)}"
    if write:
        page = filled(PAGE.read_text(encoding="utf-8"), "design", {model: text})
        with atomic_write(PAGE, overwrite=True) as file:
            file.write(page.encode())


def parts(images: Pixels) -> list[Pixels]:
    """Images, some at a time."""
    return np.split(images, range(BATCH, len(images), BATCH))


def seen(codec: Codec, images: Pixels) -> Pixels:
    """What a codec makes of images (N, SIDE, SIDE, 3), at their size."""
    return np.stack([fit(pixels, SIDE) for pixels in codec.decode_batch(codec.encode_batch(list(images)))])


def trained(recipe: Recipe, runs: Path) -> Path:
    """The best weights of a recipe's training, in a folder named after its hash."""
    with shown(True) as progress:
        return train_once(recipe, runs / recipe.digest, progress)


if __name__ == "__main__":
    typer.run(main)
