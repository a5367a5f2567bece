"""Split-and-Prune step by step on densities of one dimension: what the nodes make of them, as Figs 4 and 18 show it.

    python experiments/paper/density_1d.py [--steps N]

Each node stands for the points nearest to it, its cell. P is the density's mass in a cell, Q what the node gives it
when nodes are picked at random: 1/K. Spread over its cell, Q is a density too.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from points import PointNodes, draw, drawn
from record import RECORDS, recording
from torch import Tensor

from ddncodec.files import atomic_write
from ddncodec.network.paper.split_and_prune import PRUNE, SPLIT

BINS, BATCH, RATE, GATE, SEEDS = 400, 20, 0.05, 8, 5
STAGES, FRAMES, FRAME_MS = 5, 36, 250
LABELLED = 10  # from so many nodes on there is no room for numbers
# Weight, mean and deviation of the normal parts of the density that so many nodes are to make.
DENSITIES = {5: [(1.0, 0.0, 0.3)], 15: [(0.6, -0.3, 0.2), (0.4, 0.5, 0.08)]}
BLUE, ORANGE, RED, GREY = "#9ecae1", "#e6820e", "#c0392b", "#999999"


def density(parts: list[tuple[float, float, float]]) -> Tensor:
    """The mass of each bin of [−1, 1]: (BINS,)."""
    middles = (torch.arange(BINS) + 0.5) * 2 / BINS - 1
    mass = sum(weight / deviation * torch.exp(-((middles - mean) / deviation) ** 2 / 2)
               for weight, mean, deviation in parts)
    assert isinstance(mass, Tensor)
    return mass / mass.sum()


@dataclass(frozen=True)
class Fit:
    """Nodes (K,), ascending, and what they make of a density of mass (BINS,)."""

    nodes: NDArray[np.float64]
    mass: NDArray[np.float64]

    @property
    def bounds(self) -> NDArray[np.float64]:
        """The K + 1 bounds of the cells."""
        return np.concatenate([[-1], (self.nodes[1:] + self.nodes[:-1]) / 2, [1]])

    @property
    def shares(self) -> NDArray[np.float64]:
        """P of each cell, (K,)."""
        edges = np.linspace(-1, 1, BINS + 1)
        return np.diff(np.interp(self.bounds, edges, np.concatenate([[0], self.mass.cumsum()])))

    @property
    def divergence_of_shares(self) -> float:
        """KL(P‖Q) over the cells, in nats."""
        shares = self.shares[self.shares > 0]
        return float((shares * np.log(shares * len(self.nodes))).sum())

    @property
    def divergence(self) -> float:
        """KL(P‖Q) of the densities, in nats."""
        middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
        widths = np.diff(self.bounds).clip(min=1e-6)  # of two nodes at the same place one has a cell of no width
        model = (1 / len(self.nodes) / widths)[np.searchsorted(self.bounds[1:-1], middles)] * 2 / BINS
        return float((self.mass * np.log(self.mass / model)).sum())


def fits(k: int, mass: Tensor, steps: int, swaps: int, seed: int) -> list[Fit]:
    """The nodes before training and after each step of it."""
    nodes, generator = PointNodes(k, 1, seed), torch.Generator().manual_seed(seed)
    found = []
    for step in range(steps + 1):
        if step:
            nodes.learn(draw(mass, BATCH, generator), RATE, GATE, swaps)
        found.append(Fit(np.sort(nodes.points[:, 0].double().numpy()), mass.double().numpy()))
    return found


def show(axes: Axes, fit: Fit, title: str) -> None:
    """The density, the cells with P and Q, and below the nodes P − Q, red where Algorithm 1 would split or prune."""
    bounds, k = fit.bounds, len(fit.nodes)
    per_width = 1 / np.diff(bounds).clip(min=1e-6)
    axes.fill_between((np.arange(BINS) + 0.5) * 2 / BINS - 1, fit.mass * BINS / 2, color=BLUE, lw=0, label="density")
    axes.vlines(bounds[1:-1], 0, 9, color=GREY, lw=0.6, ls="--")
    axes.stairs(fit.shares * per_width, bounds, color="#2c6fa6", lw=1, baseline=None, label="P in cell")
    axes.stairs(per_width / k, bounds, color=ORANGE, lw=1.6, baseline=None, label="Q = 1/K in cell")
    top = 1.5 * fit.mass.max() * BINS / 2
    for node, share in zip(fit.nodes, fit.shares, strict=True):
        colour = RED if share > SPLIT / k or share < PRUNE / k else "black"
        axes.plot(node, -0.04 * top, "|", color=colour, ms=8, mew=1.6, clip_on=False)
        if k < LABELLED:
            axes.text(node, -0.08 * top, f"{share - 1 / k:+.2f}", ha="center", va="top", fontsize=6, color=colour)
    axes.set(xlim=(-1, 1), ylim=(0, top), xticks=[], yticks=[])
    axes.set_title(title, fontsize=8)


def main(steps: Annotated[int, typer.Option(min=4, help="Batches of training.")] = 500,
         folder: Annotated[Path, typer.Option(help="Where the findings go.")] = RECORDS) -> None:
    """See the module."""
    differs = f"the density at K = 15 and the nodes' start are ours; {BATCH} points are judged at once (gate {GATE})"
    with recording("density_1d", "Figs 4, 18", differs, folder) as record:
        pruned, alone = ({k: [fits(k, density(parts), steps, swaps, seed) for seed in range(SEEDS)]
                          for k, parts in DENSITIES.items()} for swaps in (1, 0))
        for k in DENSITIES:
            of = {"start": [run[0] for run in pruned[k]], "gradient descent alone": [run[-1] for run in alone[k]],
                  "Split-and-Prune": [run[-1] for run in pruned[k]]}
            measured = {"the densities": {name: [fit.divergence for fit in some] for name, some in of.items()},
                        "P and Q of the nodes": {name: [fit.divergence_of_shares for fit in some]
                                                 for name, some in of.items()}}
            record.figures[f"K = {k}"] = measured
            for what, by_name in measured.items():
                record.row(f"K = {k}, KL of {what}: {' / '.join(by_name)}",
                           " / ".join(f"{fmean(divergences):.3f}" for divergences in by_name.values()))
        record.picture(drawn(sheet({k: runs[0] for k, runs in pruned.items()},
                                   {k: runs[0] for k, runs in alone.items()})))
        frames = [Image.fromarray(drawn(frame({k: runs[0][step] for k, runs in pruned.items()}, step)))
                  for step in spread(steps, FRAMES)]
        animation = BytesIO()
        frames[0].quantize(32).save(animation, "GIF", save_all=True, loop=0, duration=FRAME_MS, append_images=[
            part.quantize(32) for part in frames[1:]])
        with atomic_write(folder / "density_1d.gif", overwrite=True) as file:
            file.write(animation.getvalue())
        record.pictures.append("density_1d.gif")


def spread(steps: int, count: int) -> list[int]:
    """Steps from the first to the last, denser at the beginning, where more happens."""
    return sorted({0, *np.geomspace(1, steps, count - 1).round().astype(int).tolist()})


def title(fit: Fit, step: int) -> str:
    """How far the training is, and both divergences."""
    return f"K = {len(fit.nodes)}, step {step}\nKL {fit.divergence:.2f}, of P and Q {fit.divergence_of_shares:.2f}"


def sheet(pruned: dict[int, list[Fit]], alone: dict[int, list[Fit]]) -> Figure:
    """A row for each K: stages of Split-and-Prune, and the divergence step by step."""
    figure = Figure((13, 5.2), dpi=100, layout="constrained")
    rows = figure.subplots(len(pruned), STAGES + 1)
    for axes, (k, run) in zip(rows, pruned.items(), strict=True):
        steps = len(run) - 1
        stages = [0, *np.geomspace(steps**0.4, steps, STAGES - 1).round().astype(int).tolist()]
        for each, step in zip(axes[:-1], stages, strict=True):
            show(each, run[step], title(run[step], step))
        for colour, label, some in ((GREY, "gradient alone", alone[k]), (ORANGE, "Split-and-Prune", run)):
            axes[-1].plot([fit.divergence for fit in some], color=colour, label=label)
            axes[-1].plot([fit.divergence_of_shares for fit in some], color=colour, ls=":")
        axes[-1].set_title("KL by step (dotted: of P and Q)", fontsize=8)
        axes[-1].set_ylim(0)
        axes[-1].tick_params(labelsize=7)
        axes[-1].legend(fontsize=7)
    rows[0, 0].legend(fontsize=6, loc="upper left")
    return figure


def frame(fit: dict[int, Fit], step: int) -> Figure:
    """One picture of the animation."""
    figure = Figure((7.2, 2.7), dpi=90, layout="constrained")
    for axes, some in zip(figure.subplots(1, len(fit)), fit.values(), strict=True):
        show(axes, some, title(some, step))
    return figure


if __name__ == "__main__":
    typer.run(main)
