"""How often samples of a class-conditional network are recognised as their class, by a classifier trained apart.

    python experiments/recognised.py MODEL IMAGES TEST_IMAGES [--each N] [--json FILE] [--picture FILE]

IMAGES and TEST_IMAGES are what `train --data` takes, with classes. The classifier is a small convolutional network that
sees the training images alone; its accuracy on the test images bounds what can be recognised.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer
from sheet import save_sheet
from torch import Tensor, nn, split
from torch.nn import functional

from ddncodec import load_model, sample
from ddncodec.codec import Codec
from ddncodec.data.pictures import pictures
from ddncodec.images import fit
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.network.condition import one_hot
from ddncodec.pixels import to_pixels, to_tensor
from ddncodec.training.watch import grid

EPOCHS, BATCH, PICTURED = 3, 128, 4
TEMPERATURES = (1.0, 0.5)


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
        functional.cross_entropy(network(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that are taken for what they are."""
    found = torch.cat([network(part).argmax(1) for part in split(images, 500)])
    return (found == labels).float().mean().item()


def samples(codec: Codec, count: int, temperature: float) -> Tensor:
    """What `ddncodec sample --class` draws of each class, (classes, count, 1, R, R)."""
    classes = codec.network.config.classes
    drawn = [sample(count, codec, temperature=temperature, condition=label) for label in range(classes)]
    return torch.stack([to_tensor(np.stack([one.pixels for one in some]))[:, :1] for some in drawn])


def main(model: str, images: str, test_images: str,
         each: Annotated[int, typer.Option(help="Samples of each class.")] = 200,
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
         picture: Annotated[Path | None, typer.Option(help="A column for each class; of each temperature rows.")] = None
         ) -> None:
    """Print the shares, and what guided picks of the test images reach; see the module."""
    codec = load_model(model)
    config = codec.info.config
    if config.classes == 1:
        raise typer.BadParameter(f"{model} takes no class")
    trained = classifier(*labelled(images, config.resolution))
    originals, known = labelled(test_images, config.resolution)
    condition = one_hot(known, config.classes)
    in_colour = originals.expand(-1, 3, -1, -1)
    rebuilt = torch.cat([codec.network.reconstruct(part, condition=some).image
                         for part, some in zip(split(in_colour, BATCH), split(condition, BATCH), strict=True)])
    drawn = {temperature: samples(codec, each, temperature) for temperature in TEMPERATURES}
    by_class = {temperature: [accuracy(trained, some, torch.full((each,), kind)) for kind, some in enumerate(kinds)]
                for temperature, kinds in drawn.items()}
    figures = {
        "model": codec.info.name, "weights": codec.info.id.hex(), "samples": config.classes * each,
        "recognised_by_temperature": {temperature: round(fmean(shares), 3) for temperature, shares in by_class.items()},
        "by_class": {temperature: [round(share, 2) for share in shares] for temperature, shares in by_class.items()},
        "test_images_recognised": round(accuracy(trained, originals, known), 3),
        "reconstructions_recognised": round(accuracy(trained, to_tensor(to_pixels(rebuilt))[:, :1], known), 3),
        "reconstructions_psnr": round(fmean(map(psnr, squared_errors(
            to_pixels(in_colour), to_pixels(rebuilt)))), 2),
    }
    typer.echo(json.dumps(figures, indent=2))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if picture:
        rows = torch.cat([some[:, :PICTURED].transpose(0, 1) for some in drawn.values()]).expand(-1, -1, 3, -1, -1)
        save_sheet(picture, grid(rows))


if __name__ == "__main__":
    typer.run(main)
