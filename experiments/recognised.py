"""How often samples of a class-conditional network are recognised as their class, by a classifier trained apart.

    python experiments/recognised.py MODEL IMAGES TEST_IMAGES [--each N] [--json FILE]

IMAGES and TEST_IMAGES are what `train --data` takes, with classes. The classifier is a small convolutional network that
sees the training images alone; its accuracy on the test images bounds what can be recognised.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from ddncodec import load_model
from ddncodec.images import fit
from ddncodec.network.condition import one_hot
from ddncodec.network.config import CLASS
from ddncodec.pixels import to_pixels, to_tensor
from ddncodec.training.data.pictures import pictures

EPOCHS, BATCH = 3, 128


def labelled(data: str, side: int) -> tuple[Tensor, Tensor]:
    """The first colour of all images at a path, (N, 1, side, side) in [−1, 1], and their classes (N,)."""
    entries = [(fit(entry.content, side)[:, :, 0], entry.label) for entry in pictures(data)
               if isinstance(entry.content, np.ndarray)]
    images, labels = zip(*entries, strict=True)
    return to_tensor(np.stack(images)[..., None]), torch.tensor(labels)


def classifier(images: Tensor, labels: Tensor) -> nn.Module:
    """A small convolutional network, trained."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(int(labels.max()) + 1))
    network(images[:2])
    steps = EPOCHS * len(images) // BATCH
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        rows = torch.randint(len(images), (BATCH,))
        optimizer.zero_grad()
        functional.cross_entropy(network(images[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that are taken for what they are."""
    found = torch.cat([network(part).argmax(1) for part in torch.split(images, 500)])
    return (found == labels).float().mean().item()


def main(model: str, images: str, test_images: str,
         each: Annotated[int, typer.Option(help="Samples of each class.")] = 200,
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Print both shares; see the module."""
    codec = load_model(model)
    config = codec.info.config
    if config.condition is None or config.condition.kind != CLASS:
        raise typer.BadParameter(f"{model} is told no class")
    trained = classifier(*labelled(images, config.resolution))
    known = accuracy(trained, *labelled(test_images, config.resolution))
    classes = torch.arange(config.condition.channels).repeat(each)
    random = torch.Generator().manual_seed(0)
    picks = torch.randint(config.k, (len(classes), config.levels), generator=random)
    drawn = torch.cat([codec.network.replay(part, one_hot(told, config.condition.channels)).image
                       for part, told in zip(torch.split(picks, 100), torch.split(classes, 100), strict=True)])
    shown = to_tensor(to_pixels(drawn))[:, :1]
    figures = {
        "model": codec.info.name, "weights": codec.info.id.hex(), "samples": len(classes),
        "classifier_on_test_images": round(known, 3), "samples_recognised": round(accuracy(trained, shown, classes), 3),
        "by_class": [round(accuracy(trained, shown[classes == number], classes[classes == number]), 2)
                     for number in range(config.condition.channels)],
    }
    typer.echo(json.dumps(figures, indent=2))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
