"""Smaller weights that supersede others: heads in 8 bits, and the streams of the others still decode.

    python experiments/supersede.py WEIGHTS OUT [--earlier WEIGHTS]... [--images DATA] [--count N]

Writes the network of WEIGHTS, a model's name or a weights file, to OUT with all that loses little by it in 8 bits, and
its exported graphs beside that. It names as earlier ones those of `--earlier`, by default WEIGHTS, and those that they
name; to each the largest change of a pixel is stated that was seen in pictures of their streams, of several lengths.
Prints that and the PSNR of either's own streams. OUT may be WEIGHTS; a prior beside it holds for both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ddncodec import load_model
from ddncodec.codec import Codec
from ddncodec.data.faces import VALIDATION_SEEDS, Faces
from ddncodec.evaluation.data import load
from ddncodec.export import export
from ddncodec.images import Pixels
from ddncodec.latent import Latent
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.pixels import to_pixels
from ddncodec.weights import MAX_DEVIATION, Earlier, read_info, save_network

BATCH = 32
LENGTHS = (1, 0.5, 0.25, 0.1)  # of the streams, in parts of a whole one


def encoded(codec: Codec, images: Pixels) -> list[Latent]:
    """Whole latents of images, at the highest effort."""
    return [latent for i in range(0, len(images), BATCH) for latent in codec.encode_batch(images[i : i + BATCH])]


def decoded(codec: Codec, latents: list[Latent]) -> Pixels:
    """The images of latents, (N, R, R, 3)."""
    parts = (latents[i : i + BATCH] for i in range(0, len(latents), BATCH))
    return np.stack([pixels for part in parts for pixels in codec.decode_batch(part)])


def compare(images: Pixels, latents: list[Latent], one: Codec, other: Codec) -> int:
    """Print how near to images two codecs' pictures of the same streams are; the largest change of a pixel."""
    largest = 0
    for part in LENGTHS:
        some = [latent.prefix(max(1, round(part * latent.levels))) for latent in latents]
        drawn, changed = (decoded(codec, some) for codec in (one, other))
        largest = max(largest, int(np.abs(drawn.astype(int) - changed).max()))
        before, after = (psnr(float(squared_errors(images, pixels).mean())) for pixels in (drawn, changed))
        typer.echo(f"  {some[0].levels:5,} levels: {before:.3f} dB, now {after:.3f} ({after - before:+.3f}); "
                   f"changed by up to {largest} of 255")
    return largest


def main(
    weights: Annotated[str, typer.Argument(help="A model's name, or the path of a weights file.")],
    out: Annotated[Path, typer.Argument(help="The weights file to write.")],
    earlier: Annotated[list[str] | None, typer.Option(help="Whose streams are to decode; by default those of WEIGHTS.")]
        = None,
    images: Annotated[str | None, typer.Option(help="A folder or an archive; by default synthetic faces.")] = None,
    count: Annotated[int, typer.Option(help="How many images to measure on.")] = 96,
) -> None:
    """Write the weights, and print what they change; see the module."""
    codec = load_model(weights, "cpu")
    superseded = [load_model(name, "cpu") for name in earlier or [weights]]
    name = superseded[0].info.name
    side = codec.resolution
    originals = (load(images, side, count).pixels if images
                 else to_pixels(Faces(side).draw(VALIDATION_SEEDS[:count])))
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "weights.safetensors"
        save_network(trial, codec.network, name, eight_bits=True)
        new = load_model(trial, "cpu")
    typer.echo(f"{codec.info.path.stat().st_size:,} bytes of {name}, {codec.info.id.hex()}")
    named: dict[bytes, int] = {}
    for old in superseded:
        typer.echo(f"{len(originals)} images, streams of {old.info.id.hex()}:")
        changed = compare(originals, encoded(old, originals), old, new)
        for one in (Earlier(old.info.id, 0), *old.info.earlier):
            named[one.id] = min(max(named.get(one.id, 0), one.deviation + changed), MAX_DEVIATION)
    named.pop(new.info.id, None)
    before, after = (psnr(float(squared_errors(originals, decoded(own, encoded(own, originals))).mean()))
                     for own in (codec, new))
    typer.echo(f"own streams: {before:.3f} dB, now {after:.3f} ({after - before:+.3f})")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_network(out, codec.network, name, eight_bits=True, earlier=[Earlier(*one) for one in named.items()])
    assert read_info(out).id == new.info.id
    typer.echo(f"{out.stat().st_size:,} bytes of {out}, {new.info.id.hex()}")
    for graph in export(read_info(out), out.parent):
        typer.echo(f"{graph.stat().st_size:,} bytes of {graph.name}")


if __name__ == "__main__":
    typer.run(main)
