"""How good the models of photographs are, on photographs that no training saw: their metrics.json and prefixes.png.

    python experiments/photographs.py photos               # files of 160 bytes and fewer; WebP and JPEG XL
    python experiments/photographs.py placeholder --bare   # bare streams of 24 bytes and fewer; ThumbHash and BlurHash

After `make photos` and `make reserved`, on crops of the photographs that are held out and of those that nothing was
chosen by, on nearly flat ones of both, and on synthetic faces of the test seeds; all through the whole pipeline, shown
at 64×64. `--write` writes the two files beside the model's weights.
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
from reserved import RESERVED
from sheet import save_sheet

from ddncodec import decode_batch, encode_batch, load_model
from ddncodec.codec import Codec
from ddncodec.evaluation.data import BUILT_IN, load
from ddncodec.evaluation.evaluate import PEERS
from ddncodec.evaluation.peers import workers
from ddncodec.images import Pixels, fit, grid
from ddncodec.metrics.distortion import psnr, squared_errors

BUDGETS = {False: (160, 80, 40), True: (24, 21, 16)}  # bytes; 21 are the 28 characters of a BlurHash in base64url
COMPARED = {False: {"webp": 160, "jpegxl": 160}, True: {"thumbhash": 24, "blurhash-4x3": 28}}  # peers, by bytes
FLAT_LIMIT = 1.1  # of a flat crop's own fine energy: what a model may draw there
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
    """PSNR of a peer that is tuned to each image; None where an image does not fit."""
    (one,) = (one for one in PEERS if one.name == name)
    with workers(len(images)) as many:
        (coded,) = one.tune(images, (budget,), many, lambda count: None).coded
    found = [image.pixels for image in coded if image is not None]
    return psnr_of_mean_error(images, np.stack(found)) if len(found) == len(images) else None


def main(
    model: Annotated[str, typer.Argument(help="A model's name, or the path of a weights file.")],
    bare: Annotated[bool, typer.Option("--bare", help="Measure bare streams.")] = False,
    photographs: Annotated[Path, typer.Option(help="The folder that `make photos` filled.")] = PHOTOS,
    reserved: Annotated[Path, typer.Option(help="The folder that `make reserved` filled.")] = RESERVED,
    faces: Annotated[int, typer.Option(help="How many of the test seeds.")] = 1_000,
    write: Annotated[bool, typer.Option("--write", help="Write metrics.json and prefixes.png.")] = False,
) -> None:
    """Print the figures; see the module."""
    codec = load_model(model)
    sets = {"held_out": photographs, "reserved": reserved}
    crops, flat = ({name: load(str(folder / kind), SIDE).pixels for name, folder in sets.items()}
                   for kind in ("held-out", "flat"))
    synthetic = load(BUILT_IN, SIDE, faces).pixels
    first, *_ = budgets = BUDGETS[bare]
    efforts: dict[str, Any] = {}
    for effort in codec.efforts:
        found = efforts[str(effort)] = {"faces": psnr_of_mean_error(synthetic,
                                                                    shown(codec, synthetic, effort, first, bare))}
        for name in sets:
            flattened = shown(codec, flat[name], effort, first, bare)
            energy, own = fine_energy(flattened), fine_energy(flat[name])
            found[name] = {
                "psnr_of_mean_error": {
                    budget: psnr_of_mean_error(crops[name], shown(codec, crops[name], effort, budget, bare))
                    for budget in budgets},
                "flat": {"psnr_of_mean_error": psnr_of_mean_error(flat[name], flattened),
                         "fine_energy": round(float(energy.mean() / own.mean()), 2),
                         "not_above_its_own": round(float((energy <= FLAT_LIMIT * own).mean()), 2)},
            }
    counts = {name: f"{len(crops[name])} crops and {len(flat[name])} nearly flat ones" for name in sets}
    figures = {
        "weights": codec.info.id.hex(),
        "data": f"{counts['held_out']} of held-out photographs (make photos); {counts['reserved']} of photographs that "
                f"nothing was chosen by (make reserved); {faces:,} synthetic faces of the test seeds; in bytes of "
                f"{'bare streams' if bare else 'whole files'}",
        "efforts": efforts,
    }
    figures["peers"] = {name: {one: peer(one, some, budget) for one, budget in COMPARED[bare].items()}
                        for name, some in crops.items()}
    text = json.dumps(figures, indent=2)
    typer.echo(text)
    if write:
        some = crops["held_out"][::EVERY][:SHOWN]
        rows = [shown(codec, some, codec.default_effort, budget, bare) for budget in reversed(budgets)]
        save_sheet(codec.info.path.with_name("prefixes.png"), grid(list(chain(some, *rows)), len(some)))
        codec.info.path.with_name("metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
