"""Trains the feature network of the project's Fréchet distance: what was this face drawn from, and how bad is it?

    python experiments/train_features.py [--steps N] [--faces N] [--cache FOLDER]

Half of the images are blurred, half are noisy, and the network is to tell by how much. Prints the shares of variance
that it tells on validation faces, of the latents and of the two; writes ddncodec/metrics/features.safetensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from ddncodec.data.faces import FACES_LATENT, VALIDATION_SEEDS, Faces
from ddncodec.files import atomic_write
from ddncodec.metrics.features import WEIGHTS, FaceFeatures

BATCH = 128
VALIDATED = 1_000
PEAK = 2e-3


def main(steps: Annotated[int, typer.Option(help="Steps of 128 faces.")] = 5_000,
         faces: Annotated[int, typer.Option(help="How many of the training seeds.")] = 100_000,
         cache: Annotated[Path, typer.Option(help="A folder that keeps the faces.")] = Path("runs/faces")) -> None:
    """Train, print, write."""
    torch.manual_seed(0)
    source = Faces(64, cache, faces)
    network = FaceFeatures().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, steps, pct_start=0.1)
    for step in range(steps):
        first = step * BATCH % faces
        images, amounts = degrade(source.images(range(first, first + BATCH)))
        wanted = torch.cat([latents([i % faces for i in range(first, first + BATCH)]), amounts], 1)
        optimizer.zero_grad()
        loss = functional.mse_loss(network.told(network(images)), wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            print(f"step {step + 1}: loss {loss.item():.3f}, told {told(network, source)}", flush=True)
    with atomic_write(WEIGHTS, overwrite=True) as file:
        file.write(save({name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
                         for name, tensor in network.state_dict().items()}))


def latents(seeds: list[int] | range) -> Tensor:
    """The latents of these seeds: (len(seeds), 100)."""
    return torch.stack([torch.randn(FACES_LATENT, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def degrade(images: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the images (B, 3, R, R) blurred and noisy, and how much, each 0 to 3: (B, 2)."""
    amounts = 3 * torch.rand(len(images), 2) * (torch.rand(len(images), 2) < 0.5)
    blur, noise = amounts[:, :, None, None, None].unbind(1)
    small = functional.avg_pool2d(images, 4)
    blurred = functional.interpolate(small, size=images.shape[-2:], mode="bilinear")
    images = images + blur / 3 * (blurred - images) + 0.05 * noise * torch.randn_like(images)
    return images.clamp(-1, 1), amounts


@torch.no_grad()
def told(network: FaceFeatures, source: Faces) -> str:
    """The shares of variance that the network tells of degraded validation faces: of latents, blur and noise."""
    network.eval()
    images, amounts = degrade(source.validation(VALIDATED))
    wanted = torch.cat([latents(VALIDATION_SEEDS[:VALIDATED]), amounts], 1)
    shares = 1 - (network.told(network(images)) - wanted).square().mean(0) / wanted.var(0)
    network.train()
    return " ".join(f"{part.mean().item():.3f}" for part in torch.split(shares, [FACES_LATENT, 1, 1]))


if __name__ == "__main__":
    typer.run(main)
