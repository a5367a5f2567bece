"""Densities of two dimensions: gradient descent alone, Split-and-Prune and real samples, as Figs 5 and 19 compare them.

    python experiments/paper/density_2d.py [--k K] [--points N] [--seeds N]

What is compared is a histogram on the bins that the density has: KL(histogram‖density), in nats. That way round it is
finite where a bin is empty. Two numbers of points are compared, as 10,000 equal nodes are not 100,000 free points: the
K nodes themselves with K real samples, and N points drawn of the nodes with N real samples.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import log
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from points import PointNodes, draw, drawn
from record import RECORDS, recording
from torch import Tensor

SIDE = 100  # bins each way
FLOOR = 0.001  # of the mass lies evenly everywhere, so that no bin's density is zero
BATCH, RATE, GATE, SWAPS = 100, 0.4, 2, 100
WAYS = ("real samples", "gradient descent alone", "Split-and-Prune")


def circles(pen: ImageDraw.ImageDraw) -> None:
    """Four rings, two of which touch."""
    for x, y, radius in ((30, 30, 18), (66, 30, 18), (35, 72, 12), (70, 70, 20)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=255, width=3)


def modules(pen: ImageDraw.ImageDraw) -> None:
    """A chance pattern of squares with three finders, as a QR code has."""
    for y, x in np.argwhere(np.random.default_rng(0).random((21, 21)) < 0.5) * 4 + 8:
        pen.rectangle((x, y, x + 3, y + 3), fill=255)
    for x, y in ((8, 8), (64, 8), (8, 64)):
        for inset, fill in ((-4, 0), (0, 255), (4, 0), (8, 255)):
            pen.rectangle((x + inset, y + inset, x + 27 - inset, y + 27 - inset), fill=fill)


def spiral(pen: ImageDraw.ImageDraw) -> None:
    """Three turns."""
    turns = np.linspace(0.3, 3, 200)
    line = 50 + 14 * turns[:, None] * np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], 1)
    pen.line([(x, y) for x, y in line.tolist()], fill=255, width=3)


def words(pen: ImageDraw.ImageDraw) -> None:
    """Two lines of text."""
    pen.multiline_text((50, 50), "split\nprune", fill=255, font=ImageFont.load_default(34), anchor="mm", align="center")


def gaussians(pen: ImageDraw.ImageDraw) -> None:
    """Five blots, of other weights; the blur makes them round."""
    for x, y, radius, fill in ((24, 26, 9, 255), (72, 24, 6, 200), (50, 52, 4, 255), (26, 74, 5, 120),
                               (74, 76, 10, 90)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


# What draws each density, and how far it is blurred, in bins.
DENSITIES: dict[str, tuple[Callable[[ImageDraw.ImageDraw], None], float]] = {
    "blurred circles": (circles, 1.5), "QR code": (modules, 0), "spiral": (spiral, 1), "words": (words, 0.5),
    "gaussians": (gaussians, 5)}


def density(pen: Callable[[ImageDraw.ImageDraw], None], blur: float) -> Tensor:
    """The mass of each bin of [−1, 1]², (SIDE, SIDE)."""
    image = Image.new("L", (SIDE, SIDE))
    pen(ImageDraw.Draw(image))
    mass = torch.from_numpy(np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32))
    return (1 - FLOOR) * mass / mass.sum() + FLOOR / SIDE**2


def histogram(points: Tensor) -> Tensor:
    """The share of the points (N, 2) in each bin; one that left [−1, 1]² counts in the bin nearest to it."""
    bins = ((points + 1) / 2 * SIDE).long().clamp(0, SIDE - 1)
    return torch.bincount(bins[:, 0] * SIDE + bins[:, 1], minlength=SIDE**2).view(SIDE, SIDE) / len(points)


def divergence(shares: Tensor, mass: Tensor) -> float:
    """KL(shares‖mass), in nats."""
    return float((torch.special.xlogy(shares, shares) - shares * mass.log()).double().sum())


def least(mass: Tensor, k: int) -> float:
    """The smallest divergence that K equal nodes can have, wherever they are.

    What a bin's nodes add is convex in their number: each next node goes where it adds least.
    """
    costs = (mass.double() * k).log().flatten().tolist()
    queue = [(-cost, 0, cost) for cost in costs]  # what the next node adds to the bin's n log n − n cost, n, cost
    heapq.heapify(queue)
    total = 0.0
    for _ in range(k):
        added, n, cost = queue[0]
        total += added / k
        heapq.heapreplace(queue, ((n + 2) * log(n + 2) - (n + 1) * log(n + 1) - cost, n + 1, cost))
    return total


def trained(mass: Tensor, k: int, points: int, swaps: int, seed: int) -> Tensor:
    """The nodes (K, 2) after training on so many points."""
    nodes, generator = PointNodes(k, 2, seed), torch.Generator().manual_seed(seed)
    for _ in range(points // BATCH):
        nodes.learn(draw(mass, BATCH, generator), RATE, GATE, swaps)
    return nodes.points


def main(k: Annotated[int, typer.Option(min=2, help="Nodes.")] = 10_000,
         points: Annotated[int, typer.Option(min=BATCH, help="To train on, and to compare.")] = 100_000,
         seeds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
         folder: Annotated[Path, typer.Option(help="Where the findings go.")] = RECORDS) -> None:
    """See the module."""
    differs = f"the densities are drawn by us; {BATCH} points are judged at once (gate {GATE}, at most {SWAPS} swaps)"
    with recording("density_2d", "Figs 5, 19", differs, folder) as record:
        columns: dict[str, tuple[list[Tensor], list[float]]] = {}
        below = [0, 0]
        for name, (pen, blur) in DENSITIES.items():
            mass = density(pen, blur)
            found: list[list[list[float]]] = []  # of each seed: of K points and of N, of each of WAYS
            for seed in range(seeds):
                generator = torch.Generator().manual_seed(1000 + seed)
                alone, pruned = (trained(mass, k, points, swaps, seed) for swaps in (0, SWAPS))
                chosen = torch.randint(k, (points,), generator=generator)
                few = [histogram(some) for some in (draw(mass, k, generator), alone, pruned)]
                many = [histogram(some) for some in (draw(mass, points, generator), alone[chosen], pruned[chosen])]
                found.append([[divergence(part, mass) for part in parts] for parts in (few, many)])
                columns.setdefault(name, ([mass, *many], found[0][1]))
                typer.echo(f"{name}, seed {seed}: {found[-1]}", err=True)
            bound = least(mass, k)
            record.figures[name] = {f"of_{k}_points": [few for few, _ in found],
                                    f"of_{points}_points": [many for _, many in found], "least": bound}
            for part, count in enumerate((k, points)):
                below[part] += sum(one[part][2] < one[part][0] for one in found)
                record.row(f"{name}, KL of {count:,} points: {' / '.join(WAYS)}",
                           " / ".join(f"{fmean(one[part][way] for one in found):.3f}" for way in range(len(WAYS))))
            record.row(f"{name}, KL of {k:,} equal nodes where they are best", f"{bound:.3f}")
        for count, times in zip((k, points), below, strict=True):
            record.row(f"KL of {count:,} points is lower by Split-and-Prune than of real samples",
                       f"{times} of {len(DENSITIES) * seeds}")
        record.picture(drawn(sheet(columns)))


def sheet(columns: dict[str, tuple[list[Tensor], list[float]]]) -> Figure:
    """A column for each density: itself, then what each of WAYS makes of it, and the divergence of that."""
    figure = Figure((10, 8.8), dpi=100, layout="constrained")
    for axes, (name, (pictures, divergences)) in zip(figure.subplots(1 + len(WAYS), len(columns)).T, columns.items(),
                                                     strict=True):
        for each, picture, text in zip(axes, pictures, (name, *(f"KL {one:.3f}" for one in divergences)), strict=True):
            each.imshow(picture.numpy(), vmin=0, vmax=1.2 * pictures[0].max().item(), interpolation="nearest")
            each.set(xticks=[], yticks=[])
            each.set_xlabel(text, fontsize=9)
        if not axes[0].get_subplotspec().colspan.start:
            for each, text in zip(axes, ("density", *WAYS), strict=True):
                each.set_ylabel(text, fontsize=9)
    return figure


if __name__ == "__main__":
    typer.run(main)
