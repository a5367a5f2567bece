"""How fast the shipped BinDDN encodes and decodes, next to CompressAI's bmshj2018-hyperprior on the same images.

    python experiments/bench_codec.py [--json FILE]

Both go from uint8 images, 64 at a time, to the bytes of each and back, in turns; figures are of the median round.
CompressAI's weights are untrained, which changes what it draws and hardly how long it takes.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import torch
import typer
from stand_in import stand_in

from ddncodec import container, load_model
from ddncodec.data import TEST_SEEDS, Faces
from ddncodec.effort import GREEDY, MAX_EFFORT
from ddncodec.images import Picture, Pixels
from ddncodec.pixels import to_pixels, to_tensor

BATCH, IMAGES, ROUNDS = 64, 256, 5
PROMISED = {"encode": 25, "decode": 50}  # images a second of ours, at least, on two cores

Encode = Callable[[Pixels], Sequence[Any]]
Decode = Callable[[Sequence[Any]], Pixels | list[Pixels]]


def ours(effort: int) -> tuple[Encode, Decode]:
    """Encoder to the bytes of .ddn files, and decoder."""
    codec = load_model("binddn")

    def encode(images: Pixels) -> list[bytes]:
        return [container.to_bytes(codec.to_stream(Picture(image), latent))
                for image, latent in zip(images, codec.encode_batch(list(images), effort=effort), strict=True)]

    def decode(files: Sequence[bytes]) -> list[Pixels]:
        return [picture.pixels for picture in codec.to_pictures([container.from_bytes(file) for file in files])]

    return encode, decode


def compressai() -> tuple[Encode, Decode]:
    """Encoder to CompressAI's strings, and decoder. Raises ImportError."""
    stand_in("torchvision", "torch_geometric")  # for its data sets and transforms
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai.zoo import bmshj2018_hyperprior

    network = bmshj2018_hyperprior(quality=1, pretrained=False).eval()
    network.update()

    @torch.no_grad()
    def encode(images: Pixels) -> list[Any]:
        found = network.compress((to_tensor(images) + 1) / 2)
        return [found["strings"], found["shape"]]

    @torch.no_grad()
    def decode(found: Sequence[Any]) -> Pixels:
        return to_pixels(network.decompress(*found)["x_hat"] * 2 - 1)

    return encode, decode


def main(json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Print the table; see the module."""
    methods = {f"ddncodec binddn, effort {effort}": ours(effort) for effort in range(GREEDY, MAX_EFFORT + 1)}
    try:
        methods["CompressAI bmshj2018-hyperprior"] = compressai()
    except ImportError as error:
        typer.echo(f"CompressAI is not installed: {error}")
    images = to_pixels(Faces(64).draw(TEST_SEEDS[:IMAGES]))
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in methods}
    for round_ in range(ROUNDS + 1):
        for name, (encode, decode) in methods.items():
            began = perf_counter()
            encoded = [encode(images[first : first + BATCH]) for first in range(0, IMAGES, BATCH)]
            between = perf_counter()
            for part in encoded:
                decode(part)
            if round_:  # the first one warms up
                times[name]["encode"].append(between - began)
                times[name]["decode"].append(perf_counter() - between)
    speeds = {name: {way: IMAGES / statistics.median(taken) for way, taken in both.items()}
              for name, both in times.items()}
    typer.echo(f"{IMAGES} faces of 64×64, {BATCH} at a time, {torch.get_num_threads()} threads; images a second")
    for name, speed in speeds.items():
        typer.echo(f"{name:32} {speed['encode']:7.0f} encoded {speed['decode']:7.0f} decoded")
    if json_file:
        json_file.write_text(json.dumps({"threads": torch.get_num_threads(), "speeds": speeds}, indent=2) + "\n")
    greedy = next(iter(speeds.values()))
    kept = all(greedy[way] >= promised for way, promised in PROMISED.items())
    typer.echo(f"at effort 1 at least {PROMISED['encode']} encoded and {PROMISED['decode']} decoded: "
               f"{'yes' if kept else 'NO'}")
    raise typer.Exit(0 if kept else 1)


if __name__ == "__main__":
    typer.run(main)
