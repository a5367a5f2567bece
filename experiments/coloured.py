"""What a network that is given the luminance makes of grey faces, on the test seeds: figures, and a picture.

    python experiments/coloured.py MODEL [--images N] [--json FILE] [--picture FILE]

Picks are random (Sec. 4): each image is one of the colourings that the network thinks possible, not the likeliest.
`grey` is how near its luminance is to the one given, `colour` how near it is to the original, beside the grey image
itself, both PSNR of the mean error in dB; `fd64` the Fréchet distance to the originals. `guided` is what picks near to
the originals reach.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from sheet import save_sheet
from torch import Tensor, split

from ddncodec import load_model
from ddncodec.data.faces import TEST_SEEDS, Faces
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.metrics.features import face_features
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.network.config import GREY
from ddncodec.pixels import grey_of, to_pixels, to_tensor
from ddncodec.training.watch import grid

BATCH, PICTURED, COLOURINGS = 100, 8, 3


def main(model: str,
         images: Annotated[int, typer.Option(help="How many of the test seeds.")] = len(TEST_SEEDS),
         json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
         picture: Annotated[Path | None, typer.Option(help="Rows: originals, grey, three colourings.")] = None) -> None:
    """Print the figures; see the module."""
    codec = load_model(model)
    config = codec.info.config
    if config.condition is None or config.condition.kind != GREY:
        raise typer.BadParameter(f"{model} takes no luminance")
    originals = Faces(config.resolution).draw(TEST_SEEDS[:images])
    grey = grey_of(originals)
    random = torch.Generator().manual_seed(0)

    def coloured(condition: Tensor) -> Tensor:
        picks = torch.randint(config.k, (len(condition), config.levels), generator=random)
        return torch.cat([codec.network.decode(some, part)
                          for some, part in zip(split(picks, BATCH), split(condition, BATCH), strict=True)])

    shown, as_grey = coloured(grey), grey.expand(-1, 3, -1, -1)
    guided = torch.cat([codec.network.reconstruct(part, condition=some).image
                        for part, some in zip(split(originals, BATCH), split(grey, BATCH), strict=True)])
    figures: dict[str, Any] = {
        "model": codec.info.name, "weights": codec.info.id.hex(), "data": f"{images} test seeds",
        "grey": _near(as_grey, grey_of(shown).expand(-1, 3, -1, -1)),
        "colour": _near(originals, shown), "colour_of_the_grey_image": _near(originals, as_grey),
        "fd64": _distance(originals, shown), "fd64_of_the_grey_image": _distance(originals, as_grey),
        "guided": _near(originals, guided),
    }
    typer.echo(json.dumps(figures, indent=2))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if picture:
        rows = [originals[:PICTURED], as_grey[:PICTURED], *(coloured(grey[:PICTURED]) for _ in range(COLOURINGS))]
        save_sheet(picture, grid(rows))


def _near(first: Tensor, second: Tensor) -> float:
    return round(psnr(float(squared_errors(to_pixels(first), to_pixels(second)).mean())), 2)


def _distance(first: Tensor, second: Tensor) -> float:
    found = [face_features(to_tensor(to_pixels(images))) for images in (first, second)]
    return round(frechet_distance(*found), 2)


if __name__ == "__main__":
    typer.run(main)
