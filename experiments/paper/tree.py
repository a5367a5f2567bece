"""Figs 8 and 17: the whole tree of a network with K = 8 on MNIST, L = 3 and 4, as a picture and as a page to zoom into.

    make digits
    python experiments/paper/tree.py

A node is a square of 3×3 places: its own image in the middle, its eight children around it, each a square like it; the
frame's colour says the level. The root has no image. A leaf is an image alone.
"""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from digits import DIGITS, TRAIN
from PIL import Image
from recognised import labelled
from record import RECORDS, RUNS, recording
from trainings import SIDE, STEPS, encoded, recipe, trained

from ddncodec.files import atomic_write
from ddncodec.images import Pixels, fit
from ddncodec.network.base import Generator
from ddncodec.pixels import grey_of, to_pixels

K, DEPTHS = 8, (3, 4)
# Frames of the root and of levels 1 to 4; brighter than any digit's background.
COLOURS = ((90, 90, 90), (230, 60, 60), (70, 130, 255), (60, 190, 90), (240, 170, 40))
FRAME = 1  # pixels of a leaf's frame; one more for each level above it
WIDEST = 640  # pixels a side of the pictures; the page has all
TEMPLATE = Path(__file__).with_suffix(".html")
CHOICE = '<button data-picture="{address}" data-levels="{levels}">L = {levels}</button>'


def main(steps: Annotated[int, typer.Option(help="Of each training, 64 digits a step.")] = STEPS,
         digits: Annotated[Path, typer.Option(help="What `make digits` wrote.")] = DIGITS,
         out: Annotated[Path, typer.Option(help="Where findings go.")] = RECORDS,
         runs: Annotated[Path, typer.Option(help="Where trainings are.")] = RUNS) -> None:
    """Train the networks and draw their trees; see the module."""
    differs = f"small networks at {SIDE}×{SIDE}, {steps:,} steps of 64 digits a training; first levels are coarser"
    with recording("tree", "Figs 8, 17", differs, out) as record:
        images, _ = labelled(str(digits / TRAIN), SIDE)
        choices = []
        for levels in DEPTHS:
            network = trained(recipe(K, levels, digits / TRAIN, steps, runs / "images"), runs)
            reached = len(set(map(tuple, encoded(network, images).tolist())))
            record.figures[f"L = {levels}"] = {"leaves": K**levels, "reached": reached}
            record.row(f"K = {K}, L = {levels}: leaves that {len(images):,} training digits reach",
                       f"{reached:,} of {K**levels:,}")
            picture = tree(network)
            record.picture(fit(picture, min(WIDEST, len(picture))), f"-l{levels}")
            choices.append(CHOICE.format(address=address(picture), levels=levels))
        page = TEMPLATE.read_text(encoding="utf-8").replace("<!-- choices -->", "\n".join(choices))
        with atomic_write(out / TEMPLATE.name, overwrite=True) as file:
            file.write(page.encode())
        record.row("a page to zoom into", f"[{TEMPLATE.name}](paper/{TEMPLATE.name})")


def tree(network: Generator) -> Pixels:
    """All nodes of a network's tree, in one square."""
    levels = network.config.levels
    paths = torch.cartesian_prod(*[torch.arange(K)] * levels)  # in the order of the leaves
    tiles = [framed(image, levels, levels) for image in drawn(network, paths)]
    for level in range(levels - 1, -1, -1):
        nodes = drawn(network, paths[::K ** (levels - level), :level]) if level else None
        tiles = [framed(square(tiles[first:first + K], None if nodes is None else nodes[first // K]), level, levels)
                 for first in range(0, len(tiles), K)]
    return tiles[0]


def drawn(network: Generator, paths: torch.Tensor) -> Pixels:
    """The images of nodes, by their paths (N, l): (N, R, R, 3), grey as digits are."""
    grey = torch.cat([grey_of(network.decode(part)) for part in torch.split(paths, 512)])
    return to_pixels(grey.expand(-1, 3, -1, -1))


def square(children: list[Pixels], image: Pixels | None) -> Pixels:
    """3×3 places: children around an image, which is fitted to their size; black where there is none."""
    side = len(children[0])
    middle = np.zeros((side, side, 3), np.uint8) if image is None else fit(image, side)
    places = [*children[:4], middle, *children[4:]]
    return np.concatenate([np.concatenate(places[first:first + 3], 1) for first in (0, 3, 6)])


def framed(pixels: Pixels, level: int, levels: int) -> Pixels:
    """A tile within the frame of its level."""
    width = FRAME + levels - level
    side = len(pixels) + 2 * width
    tile = np.full((side, side, 3), COLOURS[level], np.uint8)
    tile[width:-width, width:-width] = pixels
    return tile


def address(pixels: Pixels) -> str:
    """A picture as an address that holds it."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=60, method=6)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


if __name__ == "__main__":
    typer.run(main)
