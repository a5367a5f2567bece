"""What `sample` and `guide` share: images drawn a batch at a time, into a grid or a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from math import ceil
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec.batches import BATCH
from ddncodec.errors import UnknownWeights
from ddncodec.files import is_special
from ddncodec_cli import progress
from ddncodec_cli.jobs import (
    STANDARD,
    Outputs,
    identities,
    image_format,
    path_of,
    require_free,
    require_other,
    write_standard,
)

if TYPE_CHECKING:
    from ddncodec.codec import Codec
    from ddncodec.generate import Drawn
    from ddncodec.images import Pixels
    from ddncodec.weights import WeightsInfo

Count = Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="How many images.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of chance: the same seed, the same images.")]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="PATH",
                      help="A picture or a grid; without a suffix or with a / at its end a folder; - is a pipe.")
]
SaveLatent = Annotated[
    bool, typer.Option("--save-latent", help="Write each image's .ddn beside it: decoding it gives the image.")
]


class Results:
    """Where the images of a run go; what cannot be written is refused before any is drawn.

    Raises OutputExists; UnknownWeights where latents are to be saved that a .ddn file cannot hold.
    """

    def __init__(self, output: str, count: int, info: WeightsInfo, save_latent: bool, force: bool,
                 inputs: Iterable[Path | None]) -> None:
        self._output = path_of(output)
        self._folder = output.endswith(os.sep) or isdir(output) or not (
            self._output == STANDARD or self._output.suffix or is_special(self._output))
        self._format = image_format(None if self._folder else self._output)
        self._count, self._force, self._save_latent = count, force, save_latent
        if save_latent and info.config.condition is not None:
            raise UnknownWeights(f"{info.name} needs each image's {info.config.condition.kind}, which a .ddn file "
                                 "does not hold: its latents cannot be saved")
        if save_latent and not self._folder and (count > 1 or self._output == STANDARD):
            raise typer.BadParameter("--save-latent of several images wants a folder: -o without a suffix")
        read = identities(path for path in inputs if path)
        for index in range(count if self._folder else 1):
            for target in (self._picture(index), self._latent(index)) if save_latent else (self._picture(index),):
                require_other(target, read)
                require_free(target, force)

    def _picture(self, index: int) -> Path:
        return self._output / f"{index:0{len(str(self._count - 1))}}.png" if self._folder else self._output

    def _latent(self, index: int) -> Path:
        return self._picture(index).with_suffix(".ddn")

    def draw(self, codec: Codec, drawn: Callable[[int, int], list[Drawn]]) -> None:
        """Write them all, as `drawn` draws them, given the first one's number and how many.

        Where a person watches, with a progress bar, or for one batch a sign of life.
        """
        from ddncodec import container
        from ddncodec.images import Picture, write_picture

        kept = []

        def encoded(pixels: Pixels) -> memoryview:
            data = BytesIO()
            write_picture(Picture(pixels), data, self._format)
            return data.getbuffer()

        watched = sys.stderr.isatty()
        with (
            Outputs(self._force) as outputs,
            progress.shown(watched and self._count > BATCH) as bars, _waiting(watched and self._count <= BATCH),
            bars.phase("drawing", self._count) as advance,
        ):
            for first in range(0, self._count, BATCH):
                for index, image in enumerate(drawn(first, min(BATCH, self._count - first)), first):
                    if self._folder:
                        outputs.write(self._picture(index), encoded(image.pixels))
                    else:
                        kept.append(image.pixels)
                    if self._save_latent:
                        stream = codec.to_stream(Picture(image.pixels), image.latent)
                        outputs.write(self._latent(index), container.to_bytes(stream))
                    advance()
                outputs.require_published()
            if self._output == STANDARD:
                write_standard(encoded(_grid(kept)))
            elif not self._folder:
                outputs.write(self._output, encoded(_grid(kept)))
                outputs.require_published()


def _grid(images: Sequence[Pixels]) -> Pixels:
    from ddncodec.images import grid

    return grid(images, ceil(len(images) ** 0.5))

def _waiting(shown: bool) -> AbstractContextManager[object]:
    if not shown:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("drawing")
