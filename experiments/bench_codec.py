"""How fast the shipped BinDDN encodes and decodes, next to CompressAI's bmshj2018-hyperprior on the same images.

    python experiments/bench_codec.py [--json FILE]

Both go from uint8 images, 64 at a time, to the bytes of each and back, in turns; figures are of the median round.
CompressAI's weights are untrained, which changes what it draws and hardly how long it takes. "Drawing" is encoding as
it once was, by the pass that also draws what the picks decode to; it must make the same files.
Ends with code 1 if it does not, or if a promise is not kept: so many images a second, and times the drawing encoder's.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, NamedTuple

import torch
import typer
from peers import importing

from ddncodec import container, load_model
from ddncodec.data import TEST_SEEDS, Faces
from ddncodec.effort import GREEDY, LOOK_AHEAD
from ddncodec.images import Picture, Pixels
from ddncodec.latent import Latent
from ddncodec.pixels import to_pixels, to_tensor


class Speed(NamedTuple):
    """Images a second."""

    encoded: float
    decoded: float


BATCH, IMAGES, ROUNDS = 64, 256, 5
PROMISED = Speed(25, 50)  # at effort 1, at least, on two cores
PROMISED_GAIN = 1.8  # times as many images encoded a second as with drawing, at least
OURS, DRAWING = "ddncodec binddn, effort 1", "ddncodec binddn, effort 1, drawing"

Encode = Callable[[Pixels], Sequence[Any]]
Decode = Callable[[Sequence[Any]], Pixels | list[Pixels]]
Method = tuple[Encode, Decode]


def ours(effort: int, draw: bool = False) -> Method:
    """Encoder to the bytes of .ddn files, and decoder. With `draw` the encoder draws the decoded images too."""
    codec = load_model("binddn")

    def drawing(images: Pixels) -> list[Latent]:
        indices = codec.network.reconstruct(to_tensor(images), effort=effort).indices
        return [Latent(tuple(row), codec.info.config.k) for row in indices.tolist()]

    def encode(images: Pixels) -> list[bytes]:
        latents = drawing(images) if draw else codec.encode_batch(list(images), effort=effort)
        return [container.to_bytes(codec.to_stream(Picture(image), latent))
                for image, latent in zip(images, latents, strict=True)]

    def decode(files: Sequence[bytes]) -> list[Pixels]:
        return [picture.pixels for picture in codec.to_pictures([container.from_bytes(file) for file in files])]

    return encode, decode


def compressai() -> Method:
    """Encoder to CompressAI's strings, and decoder."""
    with importing("CompressAI", "torchvision", "torch_geometric"), warnings.catch_warnings():  # its data sets'
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


def measure(methods: Mapping[str, Method], images: Pixels) -> tuple[dict[str, Speed], dict[str, list[Any]]]:
    """Images a second of each method, of the median round, and what it encoded them to."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    files: dict[str, list[Any]] = {}
    for round_ in range(ROUNDS + 1):
        for name, (encode, decode) in methods.items():
            began = perf_counter()
            files[name] = [encode(images[first : first + BATCH]) for first in range(0, len(images), BATCH)]
            between = perf_counter()
            for part in files[name]:
                decode(part)
            if round_:  # the first one warms up
                times[name].append((between - began, perf_counter() - between))
    return {name: Speed(*(len(images) / statistics.median(way) for way in zip(*taken, strict=True)))
            for name, taken in times.items()}, files


def main(json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None) -> None:
    """Print the table; see the module."""
    methods = {OURS: ours(GREEDY), DRAWING: ours(GREEDY, draw=True),
               **{f"ddncodec binddn, effort {effort}": ours(effort) for effort in range(GREEDY + 1, LOOK_AHEAD + 1)},
               "CompressAI bmshj2018-hyperprior": compressai()}
    speeds, files = measure(methods, to_pixels(Faces(64).draw(TEST_SEEDS[:IMAGES])))
    typer.echo(f"{IMAGES} faces of 64×64, {BATCH} at a time, {torch.get_num_threads()} threads; images a second")
    for name, speed in speeds.items():
        typer.echo(f"{name:34} {speed.encoded:7.0f} encoded {speed.decoded:7.0f} decoded")
    if json_file:
        figures = {name: speed._asdict() for name, speed in speeds.items()}
        json_file.write_text(json.dumps({"threads": torch.get_num_threads(), "speeds": figures}, indent=2) + "\n")
    greedy, gain = speeds[OURS], speeds[OURS].encoded / speeds[DRAWING].encoded
    promises = {
        f"at effort 1 at least {PROMISED.encoded} encoded and {PROMISED.decoded} decoded":
            greedy.encoded >= PROMISED.encoded and greedy.decoded >= PROMISED.decoded,
        f"encoding without drawing makes the same files, at least {PROMISED_GAIN} times as many a second ({gain:.2f})":
            files[OURS] == files[DRAWING] and gain >= PROMISED_GAIN,
    }
    for promise, kept in promises.items():
        typer.echo(f"{promise}: {'yes' if kept else 'NO'}")
    raise typer.Exit(0 if all(promises.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
