"""Whether what is flat stays flat: fine patterns that a model draws into crops of skies and walls.

    python experiments/flatness.py runs/photos/flat --model photos --model binddn --picture flat.png

Of each crop the energy is taken at frequencies above a quarter of the sampling rate, across or down: details finer than
four pixels. A model should not add any: its share of the originals' is at most 1.1, over all crops together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from sheet import save_sheet

from ddncodec import load_model
from ddncodec.evaluation.data import load
from ddncodec.images import Pixels, fit, grid
from ddncodec.metrics.distortion import psnr, squared_errors

LIMIT = 0.25  # of the sampling rate
CONTRAST = 4  # of the picture's crops, about each one's mean: patterns that one sees on a screen are faint in print


def fine_energy(images: Pixels) -> npt.NDArray[np.float64]:
    """Energy (N,) of images (N, R, R, 3) at frequencies above LIMIT, as a mean square of 8-bit steps."""
    spectrum = np.fft.fft2(images.astype(np.float64), axes=(1, 2), norm="forward")
    frequencies = np.abs(np.fft.fftfreq(images.shape[1]))
    fine = np.maximum(frequencies[:, None], frequencies) > LIMIT
    energy: npt.NDArray[np.float64] = (np.abs(spectrum[:, fine]) ** 2).sum(1).mean(1)
    return energy


def main(
    data: Annotated[str, typer.Argument(help="Nearly flat images, as `make photos` cuts them.")],
    model: Annotated[list[str], typer.Option(help="A model's name or weights file; several times.")],
    picture: Annotated[Path | None, typer.Option(help="The crops, and each model's below them, by contrast.")] = None,
) -> None:
    """Print each model's fine energy on flat images beside their own; see the module."""
    codecs = [load_model(name) for name in model]
    side = max(codec.resolution for codec in codecs)
    originals = load(data, side).pixels
    own = fine_energy(originals)
    rows = [originals]
    typer.echo(f"{len(originals)} images; their own fine energy is {own.mean():.2f}")
    for name, codec in zip(model, codecs, strict=True):
        decoded = codec.decode_batch(codec.encode_batch([fit(pixels, codec.resolution) for pixels in originals]))
        shown = np.stack([fit(pixels, side) for pixels in decoded])
        energy = fine_energy(shown)
        decibels = psnr(float(squared_errors(originals, shown).mean()))
        typer.echo(f"{name}: {energy.mean() / own.mean():.2f} of it, at most 1.1 in "
                   f"{(energy <= 1.1 * own).sum()} images; {decibels:.2f} dB")
        rows.append(shown)
    if picture is not None:
        save_sheet(picture, grid(list(enhanced(np.concatenate(rows))), len(originals)))


def enhanced(images: Pixels) -> Pixels:
    """Images (N, R, R, 3) with CONTRAST times the contrast."""
    means = images.mean((1, 2), keepdims=True)
    strong: Pixels = np.rint((means + CONTRAST * (images - means)).clip(0, 255)).astype(np.uint8)
    return strong


if __name__ == "__main__":
    typer.run(main)
