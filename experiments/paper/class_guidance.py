"""A class from a network that knows none: a classifier in the target's place (Fig. 7).

    python experiments/paper/class_guidance.py [--each N]

The model is `paper-digits`, unconditional. One classifier guides the picks, another, trained apart, says how often the
digits drawn are of the class that was asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from digits import CLASSES, DIGITS, TEST, TRAIN
from recognised import accuracy, classifier, labelled
from record import RECORDS, recording
from torch import Tensor, nn

from ddncodec import guide, load_model
from ddncodec.guides import Objective
from ddncodec.guides.kinds import Classifier
from ddncodec.images import grid
from ddncodec.pixels import to_pixels, to_tensor

MODEL, PICTURED = "paper-digits", 10


class OfRed(nn.Module):
    """A classifier of grey images as one of colour images, whose colours are alike."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) → logits (B, classes)."""
        logits: Tensor = self._network(images[:, :1])
        return logits


def main(each: Annotated[int, typer.Option(min=1, help="Digits of each class.")] = 50,
         data: Annotated[Path, typer.Option(help="The folder of `make digits`.")] = DIGITS,
         out: Annotated[Path, typer.Option(help="Where the record goes.")] = RECORDS) -> None:
    """See the module."""
    codec = load_model(MODEL)
    differs = "digits instead of CIFAR-10; two small classifiers, each of half of the digits"
    with recording("class_guidance", "Fig. 7", differs, out) as record:
        images, labels = labelled(str(data / TRAIN), codec.resolution)
        half = torch.arange(len(images)) % 2 == 0
        guiding, judging = (classifier(images[rows], labels[rows]) for rows in (half, ~half))
        drawn = torch.stack([_drawn(guiding, label, each) for label in range(CLASSES)])  # (classes, each, 3, R, R)
        asked = torch.arange(CLASSES).repeat_interleave(each)
        test, known = labelled(str(data / TEST), codec.resolution)
        record.figures |= {"recognised": round(accuracy(judging, drawn.flatten(0, 1)[:, :1], asked), 3),
                           "test_images_recognised": round(accuracy(judging, test, known), 3)}
        record.row("digits drawn that a second classifier takes for the class asked for",
                   f"{record.figures['recognised']:.0%}; of real test digits "
                   f"{record.figures['test_images_recognised']:.0%}")
        shown = drawn[:, :PICTURED].transpose(0, 1).flatten(0, 1)
        record.picture(grid(list(to_pixels(shown)), CLASSES), enlarged=2)


def _drawn(guiding: nn.Module, label: int, count: int) -> Tensor:
    objective = Objective(Classifier(OfRed(guiding), label), torch.zeros(1, 1))
    return to_tensor(np.stack([one.pixels for one in guide([objective], count, MODEL)]))


if __name__ == "__main__":
    typer.run(main)
