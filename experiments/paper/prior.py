"""How near samples are to faces, and how many bits of a latent are redundant: under the paper's uniform picks and odds.

    python experiments/paper/prior.py [--images N]

Fréchet distances are the project's own (`fd64`), to the faces of the published test seeds; as many validation faces
say what real ones are at. Cross-entropies are of the test faces' whole latents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from record import RECORDS, recording
from torch import Tensor

from ddncodec import load_model
from ddncodec.codec import Codec
from ddncodec.data import TEST_SEEDS, VALIDATION_SEEDS, Faces
from ddncodec.generate import NO_PRIOR, OWN_PRIOR, prior_of
from ddncodec.images import Pixels, grid
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.metrics.features import face_features
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.pixels import to_pixels, to_tensor
from ddncodec.priors.counting import cross_entropy
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import PerImageStreams

MODELS = ("binddn", "k512")
BATCH, COLUMNS = 100, 12


@torch.no_grad()
def samples(codec: Codec, count: int, prior: str) -> Pixels:
    """So many images of a model, (N, R, R, 3): as `sample` draws them, but for its decoding one by one."""
    chosen, parts = prior_of(codec, prior), []
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        none = torch.zeros(len(numbers), 0, dtype=torch.int64)
        sampler = ReplaySampler(none, RandomSampler(PerImageStreams(0, numbers), prior=chosen))
        parts.append(to_pixels(codec.network.run(sampler, len(numbers)).image))
    return np.concatenate(parts)


def quality(codec: Codec, images: Tensor, levels: int) -> float:
    """PSNR of the mean error, in dB, of so many levels of the images."""
    errors = []
    for part in torch.split(images, BATCH):
        shown = codec.network.reconstruct(part, levels, codec.network.max_effort).image
        errors.append(squared_errors(to_pixels(part), to_pixels(shown)))
    return psnr(float(np.concatenate(errors).mean()))


def main(
    images: Annotated[int, typer.Option(min=2, help="How many samples, and how many faces they are compared with.")
                      ] = len(TEST_SEEDS),
    out: Annotated[Path, typer.Option(help="The folder of the findings.")] = RECORDS,
) -> None:
    """See the module."""
    with recording("prior", "Sec. 3.1, samples", "The principal generator, not the paper's networks; synthetic faces; "
                   "Fréchet distances in the project's features, not FIDs.", out) as record:
        for name in MODELS:
            codec = load_model(name, "cpu")
            faces = Faces(codec.resolution)
            real = to_pixels(faces.draw(TEST_SEEDS[:images]))
            seen = face_features(to_tensor(real))
            others = face_features(faces.draw(VALIDATION_SEEDS[:images]))
            drawn = {"uniform": samples(codec, images, NO_PRIOR), "odds": samples(codec, images, OWN_PRIOR)}
            distances = {what: round(frechet_distance(face_features(to_tensor(pixels)), seen), 2)
                         for what, pixels in drawn.items()}
            distances["other faces"] = round(frechet_distance(others, seen), 2)

            prior = prior_of(codec)
            if prior is None:
                raise typer.BadParameter(f"{name} has no prior: ddncodec prior {name}")
            bits = cross_entropy(codec.network, {"odds": prior},
                                 [(part, None) for part in torch.split(to_tensor(real), BATCH)])["odds"]
            whole = codec.info.config.bits
            # What as many bits buy at the end of the stream: where a latent ends that takes what all of it is worth.
            per_level = whole / codec.levels
            shorter = round(bits / per_level)
            gained = quality(codec, to_tensor(real), codec.levels) - quality(codec, to_tensor(real), shorter)
            record.figures[name] = {"fd64": distances, "images": images, "bits": whole, "bits_by_odds": round(bits, 1),
                                    "redundant_bits": round(whole - bits, 1),
                                    "psnr_of_as_many_bits": round(gained, 3)}
            for what, distance in distances.items():
                record.row(f"`{name}`, fd64 of {images:,}: {what}", f"{distance:.1f}")
            record.row(f"`{name}`, bits of a latent of {whole:g}, entropy-coded by the odds",
                       f"{bits:.0f}: {(whole - bits) / 8:.1f} bytes less, or {gained:.2f} dB")
            rows = [real, drawn["odds"], drawn["uniform"]]
            record.picture(grid([picture for row in rows for picture in row[:COLUMNS]], min(COLUMNS, images)),
                           f"-{name}")


if __name__ == "__main__":
    typer.run(main)
