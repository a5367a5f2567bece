"""FID of a model's samples and reconstructions, by InceptionV3 (Table 1); `make paper` does not run it.

    python experiments/paper/fid.py MODEL IMAGES INCEPTION [--samples N] [--device cuda] [--json FILE]

IMAGES is what `train --data` takes. INCEPTION is a TorchScript file that makes features (B, 2048) of images
(B, 3, H, W), uint8, when called with `return_features=True`, as the widely used inception-2015-12-05.pt does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from ddncodec import load_model, sample
from ddncodec.codec import Codec
from ddncodec.data.pictures import pictures
from ddncodec.images import Pixels, fit
from ddncodec.metrics.frechet import frechet_distance
from ddncodec_cli.progress import shown

BATCH = 100


def main(model: str, images: str, inception: Path,
         samples: Annotated[int, typer.Option(min=2, help="How many samples, and at most how many images.")] = 50_000,
         device: Annotated[str, typer.Option(help="Where InceptionV3 runs.")] = "cpu",
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """See the module."""
    codec = load_model(model)
    network = load_inception(inception, torch.device(device))
    real = list(islice(of(images, codec.resolution), samples))
    by = {"images": real, "reconstructions": reconstructed(codec, real), "samples": drawn(codec, samples)}
    features = {}
    for name, some in by.items():
        with shown(True) as progress, progress.phase(name, samples) as advance:
            parts = []
            left = iter(some)
            while part := list(islice(left, BATCH)):
                parts.append(features_of(network, np.stack(part), torch.device(device)))
                advance(len(part))
        features[name] = torch.cat(parts)
    figures = {"model": codec.info.name, "weights": codec.info.id.hex(), "images": len(real), "samples": samples,
               **{f"fid_of_{name}": round(frechet_distance(features[name], features["images"]), 3)
                  for name in ("reconstructions", "samples")}}
    typer.echo(json.dumps(figures, indent=2))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def load_inception(path: Path, device: torch.device) -> torch.jit.ScriptModule:
    """The network in a TorchScript file."""
    try:
        network: torch.jit.ScriptModule = torch.jit.load(path, device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError):
        raise typer.BadParameter(f"{path} is not a TorchScript file") from None
    return network.eval()


@torch.no_grad()
def features_of(network: torch.jit.ScriptModule, images: Pixels, device: torch.device) -> Tensor:
    """Features (B, D) of images (B, H, W, 3)."""
    found: Tensor = network(torch.from_numpy(images).permute(0, 3, 1, 2).to(device), return_features=True)
    return found.cpu()


def of(images: str, side: int) -> Iterator[Pixels]:
    """The pictures at a path, at the model's resolution."""
    return (fit(entry.content, side) for entry in pictures(images) if isinstance(entry.content, np.ndarray))


def reconstructed(codec: Codec, images: Iterable[Pixels]) -> Iterator[Pixels]:
    """What the picks of images stand for."""
    left = iter(images)
    while part := list(islice(left, BATCH)):
        yield from codec.decode_batch(codec.encode_batch(part))


def drawn(codec: Codec, count: int) -> Iterator[Pixels]:
    """Samples, numbers 0 to count − 1 of seed 0."""
    for first in range(0, count, BATCH):
        yield from (one.pixels for one in sample(min(BATCH, count - first), codec, first=first))


if __name__ == "__main__":
    typer.run(main)
