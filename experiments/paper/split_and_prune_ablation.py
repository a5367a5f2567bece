"""Fig. 12: Split-and-Prune on and off, chain dropout on and off, on MNIST with K = 8, L = 10 and no learning residual.

    make digits
    python experiments/paper/split_and_prune_ablation.py

Four trainings of one length. Samples are compared with the 1,000 test digits by the Fréchet distance, in the features
of a classifier that learned the training digits; as many training digits in their place say how small it can become.
`usage` is the entropy of the picks of test digits in bits a level, of 3; `dead` the share of nodes that no training
digit picks.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from digits import DIGITS, TEST, TRAIN
from matplotlib.figure import Figure
from picks import bits_a_pick, counts_of, dead_nodes
from PIL import Image
from recognised import classifier, labelled
from record import RECORDS, RUNS, recording
from torch import Tensor, nn
from trainings import SIDE, STEPS, encoded, recipe, trained

from ddncodec.images import Pixels
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.pixels import to_pixels

K, LEVELS = 8, 10
HEAD = 3  # layers of the classifier after its features: flatten, dropout, linear
PICTURED = 10  # samples a row, and rows


def main(steps: Annotated[int, typer.Option(help="Of each training, 64 digits a step.")] = STEPS,
         digits: Annotated[Path, typer.Option(help="What `make digits` wrote.")] = DIGITS,
         out: Annotated[Path, typer.Option(help="Where findings go.")] = RECORDS,
         runs: Annotated[Path, typer.Option(help="Where trainings are.")] = RUNS) -> None:
    """Train the four networks and compare their samples; see the module."""
    torch.manual_seed(0)
    differs = (f"a small network at {SIDE}×{SIDE} and {steps:,} steps of 64 digits a training; 9,000 of MNIST's "
               f"digits; another classifier's features")
    with recording("split_and_prune_ablation", "Fig. 12", differs, out) as record:
        images, labels = labelled(str(digits / TRAIN), SIDE)
        real, _ = labelled(str(digits / TEST), SIDE)
        body = classifier(images, labels)
        assert isinstance(body, nn.Sequential)
        body = body[:-HEAD]
        others = images[torch.randperm(len(images))[:len(real)]]
        floor = frechet_distance(features(body, others), features(body, real))
        record.row("training digits: Fréchet distance", f"{floor:.1f}")
        record.figures["training_digits"] = {"frechet": floor}
        random = torch.randint(K, (len(real), LEVELS))
        sheets = {"test digits": sheet(real[torch.randperm(len(real))])}
        for split in (True, False):
            for dropout in (True, False):
                name = f"Split-and-Prune {on(split)}, chain dropout {on(dropout)}"
                network = trained(recipe(K, LEVELS, digits / TRAIN, steps, runs / "images", learning_residual=False,
                                         split_and_prune=split, chain_dropout=dropout), runs)
                drawn = torch.cat([network.decode(part) for part in torch.split(random, 100)])[:, :1]
                found: dict[str, Any] = {"frechet": frechet_distance(features(body, drawn), features(body, real)),
                                         "usage": float(bits_a_pick(counts_of(encoded(network, real), K)).mean()),
                                         "dead": dead_nodes(counts_of(encoded(network, images), K)) / (K * LEVELS)}
                record.figures[name] = found
                record.row(name, f"Fréchet distance {found['frechet']:.1f}, usage {found['usage']:.2f} bits, "
                                 f"dead {found['dead']:.0%}")
                sheets[f"{name}: {found['frechet']:.1f}"] = sheet(drawn)
        record.picture(side_by_side(sheets))


def on(switch: bool) -> str:
    """A switch, in a word."""
    return "on" if switch else "off"


@torch.no_grad()
def features(body: nn.Module, images: Tensor) -> Tensor:
    """The classifier's last feature maps, averaged over the image: (N, 1, R, R) → (N, C)."""
    return torch.cat([body(part).mean((2, 3)) for part in torch.split(images, 500)])


def sheet(images: Tensor) -> Pixels:
    """The first images (N, 1, R, R) as a square of grey ones."""
    shown = to_pixels(images[:PICTURED**2].expand(-1, 3, -1, -1))
    side = shown.shape[1]
    square = np.zeros((PICTURED**2, side, side, 3), np.uint8)
    square[:len(shown)] = shown
    rows = square.reshape(PICTURED, PICTURED, side, side, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(PICTURED * side, PICTURED * side, 3)


def side_by_side(sheets: dict[str, Pixels]) -> Pixels:
    """Sheets below their names, three a row."""
    figure = Figure((12.6, 8.8), layout="constrained")
    for place, (name, pixels) in enumerate(sheets.items(), 1):
        axes = figure.add_subplot(2, 3, place)
        axes.imshow(pixels)
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    file = BytesIO()
    figure.savefig(file)
    return np.array(Image.open(file).convert("RGB"))


if __name__ == "__main__":
    typer.run(main)
