"""The paper's networks that ship, measured: PSNR after each level, use of the nodes, samples (Figs 6, 13, Sec. 4).

    python experiments/paper/networks.py [--images N]

Beside each stands a principal generator of as many bits, trained here for a few minutes. Writes each model's
metrics.json and pictures, the table of README.md, and docs/paper/networks.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import torch
import typer
from digits import DIGITS, TEST, TRAIN
from markers import filled, table
from picks import bits_a_pick, counts_of, dead_nodes
from record import RECORDS, ROOT, RUNS, recording
from torch import Tensor
from trainings import trained

from ddncodec import sample, zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.data import TEST_SEEDS, VALIDATION_SEEDS, Faces
from ddncodec.data.pictures import pictures
from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels, fit, grid, write_picture
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.metrics.features import face_features
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.network.config import GeneratorConfig
from ddncodec.network.paper.generator import PaperGenerator
from ddncodec.pixels import to_pixels, to_tensor
from ddncodec.samplers.guided import GuidedSampler
from ddncodec.training.recipe import Recipe

BATCH = 100
PICTURED = 10  # images in a row of a picture
PRINCIPAL_STEPS = 300  # of 64 images, after as many for each head: minutes of one thread


@dataclass(frozen=True)
class Subject:
    """A model that ships. test: N images it never saw, (N, 3, R, R). more: others, to count picks of; None: the same.

    data: what its principal counterpart trains on, as `train --data` takes it; None: the synthetic faces.
    """

    model: str
    test: Callable[[int], Tensor]
    more: Callable[[int], Tensor]
    data: Path | None = None


def faces(seeds: range) -> Callable[[int], Tensor]:
    """The synthetic faces of the first of these seeds, at 32×32."""
    return lambda count: Faces(32).draw(seeds[:count])


def digits(file: str) -> Callable[[int], Tensor]:
    """The first digits of an IDX file, at 32×32."""
    def read(count: int) -> Tensor:
        entries = [entry.content for entry in pictures(str(DIGITS / file))]
        return to_tensor(np.stack([fit(content, 32) for content in entries if isinstance(content, np.ndarray)][:count]))

    return read


SUBJECTS = (
    Subject("paper-faces32", faces(TEST_SEEDS), faces(VALIDATION_SEEDS)),
    Subject("paper-binddn32", faces(TEST_SEEDS), faces(VALIDATION_SEEDS)),
    Subject("paper-digits", digits(TEST), digits(TRAIN), DIGITS / TRAIN),
)


def main(images: Annotated[int, typer.Option(help="Test images, and samples, of each.")] = 1_000,
         more: Annotated[int, typer.Option(help="Images to count picks of.")] = 10_000,
         steps: Annotated[int, typer.Option(help="Of the principal generators.")] = PRINCIPAL_STEPS,
         out: Annotated[Path, typer.Option(help="Where the record goes.")] = RECORDS,
         dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no model's files, nor README.md.")] = False
         ) -> None:
    """See the module."""
    rows = []
    differs = "32×32 images, hours of one thread, networks of 10 MB at most"
    with recording("networks", "Sec. 4, Figs 6, 13", differs, out) as record:
        for subject in SUBJECTS:
            codec = load_weights(zoo.find(subject.model))
            name = codec.info.name
            found = measured(codec, subject, images, more)
            found["principal"] = principal(codec, subject, images, steps)
            record.figures[name] = found
            record.row(f"`{name}`, PSNR", f"{found['psnr_of_mean_error']:.2f} dB; a principal generator "
                       f"of as many bits {found['principal']['psnr_of_mean_error']:.2f} dB")
            record.row("bits a pick, of its log2 K", f"{found['bits_a_pick']:.2f} of {np.log2(codec.k):g}")
            record.row("nodes that are never picked", f"{found['dead_nodes']} of {found['nodes']:,}")
            for kind, distance in found["frechet_distance"].items():
                record.row(f"Fréchet distance in `fd64`, {kind}", f"{distance:.1f}")
            sheets = {"levels": prefixes(codec, subject), "samples": samples(codec)}
            for shows, sheet in sheets.items():
                record.picture(sheet, f"-{name}-{shows}", enlarged=2)
                if not dry_run:
                    with atomic_write(codec.info.path.with_name(f"{shows}.png"), overwrite=True) as file:
                        write_picture(Picture(sheet.repeat(2, 0).repeat(2, 1)), file)
            if not dry_run:
                with atomic_write(codec.info.path.with_name("metrics.json"), overwrite=True) as file:
                    file.write((json.dumps(found, indent=2) + "\n").encode())
            rows.append([f"`{name}`", f"{codec.k}, {codec.levels}", f"{codec.info.config.bits:g}",
                         f"{found['psnr_of_mean_error']:.2f} dB", f"{found['bits_a_pick']:.2f}",
                         f"{found['principal']['psnr_of_mean_error']:.2f} dB"])
    if not dry_run:
        readme = ROOT / "README.md"
        head = ["the paper's network", "K, L", "bits", "PSNR", "bits a pick", "principal generator, as many bits"]
        with atomic_write(readme, overwrite=True) as file:
            text = filled(readme.read_text(encoding="utf-8"), "paper", {"networks": table(head, rows)})
            file.write(text.encode())


@torch.no_grad()
def measured(codec: Codec, subject: Subject, images: int, more: int) -> dict[str, Any]:
    """The figures of a model's card."""
    network = codec.network
    assert isinstance(network, PaperGenerator)
    test, counted = subject.test(images), subject.more(more)
    by_level = [psnr(fmean(errors)) for errors in level_errors(network, test)]
    picks = torch.cat([network.encode(part) for part in torch.split(counted, BATCH)])  # (N, L)
    counts = counts_of(picks, codec.k)
    bits = bits_a_pick(counts)
    found = {
        "weights": codec.info.id.hex(), "images": len(test), "picks_counted_on": len(counted),
        "psnr_of_mean_error": round(by_level[-1], 2), "psnr_by_level": [round(value, 2) for value in by_level],
        "bits_a_pick": round(bits.mean().item(), 3), "bits_by_level": [round(one, 2) for one in bits.tolist()],
        "nodes": counts.numel(), "dead_nodes": dead_nodes(counts), "frechet_distance": {},
    }
    if subject.data is None:  # the features are of faces
        drawn = to_tensor(np.stack([one.pixels for one in sample(images, codec)]))
        real = face_features(counted[:images])
        found["frechet_distance"] = {"samples": round(frechet_distance(face_features(drawn), real), 1),
                                     "other real images": round(frechet_distance(face_features(test), real), 1)}
    return found


def level_errors(network: PaperGenerator, images: Tensor) -> list[list[float]]:
    """The mean squared error of each image, in 8-bit steps, as it is shown after each level: L lists of N."""
    levels: list[list[float]] = [[] for _ in range(network.config.levels)]
    for part in torch.split(images, BATCH):
        for errors, block in zip(levels, network.blocks(GuidedSampler(part), len(part)), strict=True):
            errors.extend(squared_errors(to_pixels(part), to_pixels(network.shown(block.prediction))))
    return levels


def principal(codec: Codec, subject: Subject, images: int, steps: int) -> dict[str, Any]:
    """What a principal generator of as many bits reaches on the same images."""
    network = trained(counterpart(codec.info.config, subject.data, steps), RUNS)
    test = subject.test(images)
    drawn = torch.cat([network.reconstruct(part, effort=network.max_effort).image
                       for part in torch.split(test, BATCH)])
    error = fmean(squared_errors(to_pixels(test), to_pixels(drawn)))
    return {"steps": steps, "psnr_of_mean_error": round(psnr(error), 2)}


def counterpart(config: GeneratorConfig, data: Path | None, steps: int) -> Recipe:
    """A principal generator of the same K, L and resolution, its training cut short."""
    images = {"faces": 20_000} if data is None else {"data": str(data)}
    return Recipe.of({
        "network": {"k": config.k, "levels": config.levels, "resolution": config.resolution},
        "train": {"cache": str(RUNS / "faces"), "augment": 0.0, "steps": steps, "head_steps": steps} | images})


def prefixes(codec: Codec, subject: Subject) -> Pixels:
    """Test images, and what the first 1/8, 1/4, 1/2 and all of the levels show of them."""
    originals = list(to_pixels(subject.test(PICTURED)))
    latents = codec.encode_batch(originals)
    rows = [originals, *(codec.decode_batch([latent.prefix(max(1, codec.levels // share)) for latent in latents])
                         for share in (8, 4, 2, 1))]
    return grid([image for row in rows for image in row], PICTURED)


def samples(codec: Codec) -> Pixels:
    """Four rows of samples; not chosen."""
    return grid([one.pixels for one in sample(4 * PICTURED, codec)], PICTURED)


if __name__ == "__main__":
    typer.run(main)
