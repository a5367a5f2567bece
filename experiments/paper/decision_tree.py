"""Table 3: the latents of an unconditional network as a decision tree, on MNIST and Fashion-MNIST.

    make digits
    python experiments/paper/decision_tree.py     # --fashion FOLDER unless Debian's dataset-fashion-mnist is installed

A network that never saw a label encodes labelled images; each node of its tree then has the labels of the images whose
path goes through it. A test image's class is the commonest label at its path's last node, or else at the nearest node
before it that has any. Accuracies are means over three choices of the labelled images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, NamedTuple

import torch
import typer
from digits import DIGITS, TEST, TRAIN
from recognised import labelled
from record import RECORDS, RUNS, Record, recording
from torch import Tensor
from trainings import SIDE, STEPS, encoded, recipe, trained

from ddncodec import load_model

NETWORKS = ((2, 10), (8, 3), (8, 5), (8, 10))
FASHION_NETWORKS = ((8, 5),)
FASHION = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package has it
SHIPPED = "paper-digits"  # K = 64, L = 10
LABELS = (128, 1_024, 10_000)
SEEDS = 3


class Images(NamedTuple):
    """Images (N, 1, R, R) and their classes (N,)."""

    images: Tensor
    labels: Tensor


def main(steps: Annotated[int, typer.Option(help="Of each training, 64 images a step.")] = STEPS,
         digits: Annotated[Path, typer.Option(help="What `make digits` wrote.")] = DIGITS,
         fashion: Annotated[Path, typer.Option(help="Fashion-MNIST's IDX files; left out if missing.")] = FASHION,
         out: Annotated[Path, typer.Option(help="Where findings go.")] = RECORDS,
         runs: Annotated[Path, typer.Option(help="Where trainings are.")] = RUNS) -> None:
    """Train what is not trained, and classify by its trees; see the module."""
    differs = (f"small networks at {SIDE}×{SIDE}, {steps:,} steps of 64 images a training, but for K = 64, which is "
               f"{SHIPPED}; 9,000 of MNIST's digits to train on and 1,000 to test")
    with recording("decision_tree", "Table 3", differs, out) as record:
        known, test = Images(*labelled(str(digits / TRAIN), SIDE)), Images(*labelled(str(digits / TEST), SIDE))
        for k, levels in NETWORKS:
            network = trained(recipe(k, levels, digits / TRAIN, steps, runs / "images"), runs)
            tell(record, f"MNIST, K = {k}, L = {levels}", encoded(network, known.images), known.labels,
                 encoded(network, test.images), test.labels)
        network = load_model(SHIPPED).network
        known, test = (Images(*labelled(str(digits / name), network.config.resolution)) for name in (TRAIN, TEST))
        tell(record, f"MNIST, K = {network.config.k}, L = {network.config.levels}", encoded(network, known.images),
             known.labels, encoded(network, test.images), test.labels)
        if fashion.is_dir():
            data, test_data = fashion / f"{TRAIN}.gz", fashion / f"{TEST}.gz"
            known = Images(*(part[:max(LABELS)] for part in labelled(str(data), SIDE)))
            test = Images(*labelled(str(test_data), SIDE))
            for k, levels in FASHION_NETWORKS:
                network = trained(recipe(k, levels, data, steps, runs / "images"), runs)
                tell(record, f"Fashion-MNIST, K = {k}, L = {levels}", encoded(network, known.images), known.labels,
                     encoded(network, test.images), test.labels)
        else:
            typer.echo(f"no Fashion-MNIST in {fashion}: left out", err=True)


def tell(record: Record, name: str, known: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> None:
    """Classify test latents (M, L) by so many of the known ones (N, L), and record the accuracies."""
    found: dict[int, list[float]] = {}
    for count in LABELS:
        count = min(count, len(known))
        found[count] = []
        for seed in range(SEEDS):
            rows = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:count]
            guesses = classify(known[rows], labels[rows], test)
            found[count].append(round(float((guesses == truth).double().mean()), 4))
    record.figures[name] = {str(count): accuracies for count, accuracies in found.items()}
    record.row(f"{name}: accuracy with {', '.join(f'{count:,}' for count in found)} labels",
               ", ".join(f"{fmean(accuracies):.1%}" for accuracies in found.values()))


def classify(known: Tensor, labels: Tensor, latents: Tensor) -> Tensor:
    """The class of each latent by the tree of labelled ones.

    Args:
        known: Latents (N, L).
        labels: Their classes, (N,).
        latents: (M, L).

    Returns:
        (M,): the commonest label at the deepest node on a latent's path that a labelled one went through; of equally
        common ones the one that was there first.
    """
    at: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for path, label in zip(known.tolist(), labels.tolist(), strict=True):
        for depth in range(len(path) + 1):
            at[tuple(path[:depth])][label] += 1
    deepest = (next(at[tuple(path[:depth])] for depth in range(len(path), -1, -1) if tuple(path[:depth]) in at)
               for path in latents.tolist())
    return torch.tensor([node.most_common(1)[0][0] for node in deepest])


if __name__ == "__main__":
    typer.run(main)
