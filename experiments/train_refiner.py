"""Trains the refiner of a finished principal model further, on synthetic faces, and leaves all else as it is.

    python experiments/train_refiner.py [MODEL] [--steps N] [--cache FOLDER] [--out FILE]

`ddncodec train` spends a quarter of each batch on the refiner, since all parts learn at once; here it has all. Of the
images 40% are refined as half of their stream shows them, 30% as another prefix does, and 30% whole. Prints the PSNR of
the mean error on validation faces, and keeps the moving average that is best on halves and wholes together.
"""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn import functional

from ddncodec import load_model, zoo
from ddncodec.data.faces import Faces
from ddncodec.effort import GREEDY, MAX_EFFORT
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.network.principal.refiner import Refiner
from ddncodec.pixels import to_pixels
from ddncodec.training.augment import augment
from ddncodec.weights import save_network

BATCH, VALIDATION, VALIDATE_EVERY = 64, 512, 100
HALF, WHOLE = 0.4, 0.3
AUGMENTED = 0.2
EMA, CLIP = 0.995, 1.0


def main(model: Annotated[str, typer.Argument()] = zoo.DEFAULT,
         steps: Annotated[int, typer.Option(help="Steps of 64 faces.")] = 1_200,
         lr: Annotated[float, typer.Option(help="Adam's rate, along half a cosine.")] = 5e-4,
         faces: Annotated[int, typer.Option(help="How many of the training seeds, over and over.")] = 60_000,
         cache: Annotated[Path, typer.Option(help="A folder that keeps the faces.")] = Path("runs/faces"),
         out: Annotated[Path, typer.Option(help="The weights file to write.")] = Path("runs/refined.safetensors")
         ) -> None:
    """Train, print, write."""
    torch.manual_seed(0)
    codec = load_model(model)
    network, source = codec.network, Faces(64, cache, faces)
    assert isinstance(network, PrincipalGenerator)
    assert network.refiner is not None
    average, refiner = network.refiner, deepcopy(network.refiner).requires_grad_().train()
    optimizer = torch.optim.Adam(refiner.parameters())
    images, rough = validation(network, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    best = -math.inf
    for step in range(steps + 1):
        if step % VALIDATE_EVERY == 0 or step == steps:
            found = {name: decibels(average, part, images) for name, part in rough.items()}
            now = sum(found.values()) / len(found)
            print(f"step {step}:", ", ".join(f"{name} {value:.3f} dB" for name, value in found.items()), flush=True)
            if now > best:
                best = now
                save_network(out, network, codec.info.name)
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * step / steps)) / 2
        positions = range(step * BATCH, (step + 1) * BATCH)
        faces_seen = augment(source.images(positions), AUGMENTED, list(positions))
        loss = functional.mse_loss(refiner(cut(network, faces_seen, greedy=step % 2 == 0)), faces_seen)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(refiner.parameters(), CLIP)
        optimizer.step()
        with torch.no_grad():
            for mean, new in zip(average.parameters(), refiner.parameters(), strict=True):
                mean.lerp_(new, 1 - EMA)


@torch.no_grad()
def cut(network: PrincipalGenerator, images: Tensor, greedy: bool) -> Tensor:
    """What prefixes of images' streams show before they are refined: half, all, or any number of blocks."""
    target = network.spectrum.analyse(images)
    predictions, levels = [], 0
    for splits in network.splits(network.nearest(target, greedy), len(images)):
        levels += splits.picks.shape[1] // network.config.level_bits
        predictions.append(network._implied(splits.after, levels))
    blocks = len(predictions)
    wanted = torch.randint(blocks, (len(images),))
    kind = torch.rand(len(images))
    wanted[kind < HALF + WHOLE] = blocks - 1
    wanted[kind < HALF] = blocks // 2 - 1
    chosen = torch.stack(predictions)[wanted, torch.arange(len(images))]
    return network.spectrum.synthesise(chosen)


@torch.no_grad()
def validation(network: PrincipalGenerator, source: Faces) -> tuple[Tensor, dict[str, Tensor]]:
    """Validation faces, and what halves and wholes of their streams show before they are refined, at each effort."""
    images = source.validation(VALIDATION)
    target, rough = network.spectrum.analyse(images), {}
    for effort in range(GREEDY, MAX_EFFORT + 1):
        for name, levels in (("half", network.config.levels // 2), ("whole", network.config.levels)):
            for splits in network.splits(network.nearest(target, effort == GREEDY), VALIDATION, levels):
                after = splits.after
            rough[f"{name} at effort {effort}"] = network.spectrum.synthesise(network._implied(after, levels))
    return images, rough


@torch.no_grad()
def decibels(refiner: Refiner, rough: Tensor, images: Tensor) -> float:
    """PSNR of the mean error of what the refiner makes of rough images."""
    refined = torch.cat([refiner(part) for part in rough.split(BATCH)])
    return psnr(float(squared_errors(to_pixels(images), to_pixels(refined)).mean()))


if __name__ == "__main__":
    typer.run(main)
