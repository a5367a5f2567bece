"""How good the models of photographs are, on photographs that no training saw: their metrics.json and prefixes.png.

    python experiments/photographs.py photos               # files of 160 bytes and fewer, and WebP's and JPEG XL's
    python experiments/photographs.py placeholder --bare   # bare streams of 24 bytes and fewer

After `make photos`, on its held-out crops, on its nearly flat ones and on synthetic faces of the test seeds; all
through the whole pipeline, shown at 64×64. `--write` writes the two files beside the model's weights.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from flatness import fine_energy
from photos import PHOTOS, SIDE
from sheet import save_sheet

from ddncodec import decode_batch, encode_batch, load_model
from ddncodec.codec import Codec
from ddncodec.evaluation.data import BUILT_IN, load
from ddncodec.evaluation.peers import FILE_CODECS, tune_image
from ddncodec.images import Pixels, fit, grid
from ddncodec.metrics.distortion import psnr, squared_errors

BUDGETS = {False: (160, 80, 40), True: (24, 21, 16)}  # bytes; 21 are the 28 characters of a BlurHash in base64url
PEERS = ("webp", "jpegxl")
EVERY, SHOWN = 30, 8  # crops in the picture


def psnr_of_mean_error(originals: Pixels, shown: Pixels) -> float:
    """In dB."""
    return round(psnr(float(squared_errors(originals, shown).mean())), 2)


def shown(codec: Codec, images: Pixels, effort: int, budget: int, bare: bool) -> Pixels:
    """What is seen of images (N, SIDE, SIDE, 3) that were encoded in at most so many bytes each."""
    files = encode_batch(images, codec, effort=effort, max_bytes=budget, bare=bare)
    assert max(map(len, files)) <= budget
    return np.stack([fit(pixels, SIDE) for pixels in decode_batch(files, codec, bare=bare)])


def peer(name: str, images: Pixels, budget: int) -> float | None:
    """PSNR of a file codec that is tuned to each image, with free downscaling; None where an image does not fit."""
    codec = next(codec for codec in FILE_CODECS if codec.name == name)
    coded = [tune_image(codec, image, (budget,))[0][0] for image in images]
    found = [one.pixels for one in coded if one is not None]
    return psnr_of_mean_error(images, np.stack(found)) if len(found) == len(images) else None


def main(
    model: Annotated[str, typer.Argument(help="A model's name, or the path of a weights file.")],
    bare: Annotated[bool, typer.Option("--bare", help="Measure bare streams.")] = False,
    photographs: Annotated[Path, typer.Option(help="The folder that `make photos` filled.")] = PHOTOS,
    faces: Annotated[int, typer.Option(help="How many of the test seeds.")] = 1_000,
    write: Annotated[bool, typer.Option("--write", help="Write metrics.json and prefixes.png.")] = False,
) -> None:
    """Print the figures; see the module."""
    codec = load_model(model)
    held_out, flat = (load(str(photographs / name), SIDE).pixels for name in ("held-out", "flat"))
    synthetic = load(BUILT_IN, SIDE, faces).pixels
    first, *_ = budgets = BUDGETS[bare]
    efforts: dict[str, Any] = {}
    for effort in codec.efforts:
        flattened = shown(codec, flat, effort, first, bare)
        efforts[str(effort)] = {
            "psnr_of_mean_error": {budget: psnr_of_mean_error(held_out, shown(codec, held_out, effort, budget, bare))
                                   for budget in budgets},
            "faces": psnr_of_mean_error(synthetic, shown(codec, synthetic, effort, first, bare)),
            "flat": psnr_of_mean_error(flat, flattened),
            "fine_energy_of_flat": round(float(fine_energy(flattened).mean() / fine_energy(flat).mean()), 2),
        }
    figures = {
        "weights": codec.info.id.hex(),
        "data": f"{len(held_out)} crops of held-out photographs, {len(flat)} nearly flat ones (make photos); "
                f"{faces:,} synthetic faces of the test seeds; in bytes of {'bare streams' if bare else 'whole files'}",
        "efforts": efforts,
    }
    if not bare:
        figures["peers"] = {name: peer(name, held_out, first) for name in PEERS}
    text = json.dumps(figures, indent=2)
    typer.echo(text)
    if write:
        some = held_out[::EVERY][:SHOWN]
        rows = [shown(codec, some, codec.default_effort, budget, bare) for budget in reversed(budgets)]
        save_sheet(codec.info.path.with_name("prefixes.png"), grid(list(chain(some, *rows)), len(some)))
        codec.info.path.with_name("metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
