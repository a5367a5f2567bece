"""`ddncodec decode`: .ddn files to images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from io import BytesIO
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ddncodec.batches import BATCH, halved
from ddncodec.errors import DdnError
from ddncodec.looks import FAITHFUL
from ddncodec_cli import completion, options, tables
from ddncodec_cli.jobs import (
    Failures,
    Job,
    Jobs,
    decoder_of,
    destination,
    image_format,
    plan,
    require_apart,
    shown,
    stream_suffix,
)
from ddncodec_cli.running import Finished, Work, run
from ddncodec_cli.weights import read_partial, read_stream, require_model, weights_of

if TYPE_CHECKING:
    from ddncodec.container import Stream
    from ddncodec.decoding import StreamDecoder
    from ddncodec.images import Picture, Pixels
    from ddncodec.weights import WeightsInfo


@options.running
def decode(
    inputs: options.StreamsBelow,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    levels: options.Levels = None,
    partial: options.Partial = False,
    bare: options.Bare = False,
    model: Annotated[
        str | None, typer.Option(autocompletion=completion.models,
                                 help="A model's name or weights file; by default the one that the file names.")
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(min=1, help="At most so many pixels on the longer side; else the original's size.")
    ] = None,
    format: options.Format = None,
    look: options.Look = FAITHFUL,
    device: options.Device = "auto",
    column: options.Column = None,
    drop: options.Drop = False,
    *,
    how: options.Running,
) -> None:
    """Decode .ddn files; face.ddn becomes face.png.

    Of what a file leaves open, the faithful look draws what is nearest to the original on average, and so soft; the
    natural look, where a model has it, draws detail that is likely, not detail that was there.

    Bare streams come back with the model's resolution on their longer side.

    The output's suffix decides its format: png, webp, bmp, tiff, ppm or jpg; standard output is PNG.

    In Parquet files the payloads of --column become PNG, and so do .ddn files in WebDataset shards (.tar).
    """
    of = require_model(bare, model, partial)
    if tables.are_tables(inputs, column):
        if partial or max_side is not None or look != FAITHFUL:
            raise typer.BadParameter("--partial, --max-side and --look are for files, not for what is in tables and "
                                     "shards")
        suffix = format or "png"
        tables.decode(tables.Places(inputs, output, output_dir, recursive, force), column, drop, levels, model, bare,
                      device, suffix, image_format(Path(f"image.{suffix}")), how)
    failures = Failures(how.quiet)
    output_file, output_dir = destination(output, output_dir)
    suffix = f".{format or 'png'}"
    kind = image_format(Path(f"image{suffix}") if format else output_file)
    jobs = plan(inputs, output_file, output_dir, recursive, suffix,
                lambda name: Path(name).suffix.lower() == stream_suffix(bare), failures)
    require_apart(jobs, how.json_lines)
    work = Decoding(model, device, of, levels, partial, kind, max_side, look, many=len(jobs) > BATCH)
    for done in run(jobs, work, how, failures, force):
        if done.facts["broke_off"]:
            failures.note(f"{shown(done.job.source)}: it broke off {done.facts['broke_off']}")
    raise typer.Exit(failures.exit_code)


class Found(NamedTuple):
    """What is in an input. broke_off: after what, if it did."""

    stream: Stream
    broke_off: str | None


class Decoded(NamedTuple):
    """A stream and its image at the model's resolution; by: what decoded it."""

    found: Found
    pixels: Pixels
    by: StreamDecoder


class Decoding(Work[Found, Decoded]):
    """Streams to pictures.

    model: of all of them; None: the one that each names. of: the weights of bare streams. levels: at most so many.
    kind: the pictures' format. max_side: of a picture, in pixels. look: the name of what is
    drawn with. many: decode fast, rather than begin fast.
    """

    verb, doing = "decode", "decoding"

    def __init__(self, model: str | None, device: str, of: WeightsInfo | None, levels: int | None, partial: bool,
                 kind: str, max_side: int | None, look: str = FAITHFUL, *, many: bool) -> None:
        self._of, self._levels, self._partial = of, levels, partial
        self._kind, self._max_side = kind, max_side
        self._weights = cache(lambda weights_id: weights_of(weights_id, model))  # one may decode earlier ones' streams
        self._decoder = cache(lambda info: decoder_of(info, device, many, look))

    def prepare(self, jobs: Jobs) -> bool:
        for job in jobs[:BATCH]:
            if isfile(job.source):
                with suppress(DdnError):
                    return self._decoder_of(self.read(job)).on_cpu
        return True

    def read(self, job: Job) -> Found:
        found = Found(*read_partial(job.source)) if self._partial else Found(read_stream(job.source, self._of), None)
        return self._checked(found)

    def _checked(self, found: Found) -> Found:
        self._decoder_of(found).info.check(found.stream)
        return found

    def _decoder_of(self, found: Found) -> StreamDecoder:
        return self._decoder(self._weights(found.stream.weights_id))

    def compute(self, items: Sequence[Found]) -> list[Decoded | DdnError]:
        decoders = [self._decoder_of(found) for found in items]
        results: dict[int, Decoded | DdnError] = {}
        for decoder in dict.fromkeys(decoders):
            ours = [number for number, one in enumerate(decoders) if one is decoder]
            images = halved([items[number].stream for number in ours],
                            partial(decoder.decode_streams, levels=self._levels))
            for number, pixels in zip(ours, images, strict=True):
                results[number] = pixels if isinstance(pixels, DdnError) else Decoded(items[number], pixels, decoder)
        return [results[number] for number in range(len(items))]

    def finish(self, job: Job, made: Decoded) -> Finished:
        (stream, broke_off), pixels, by = made
        picture = by.to_picture(_bounded(stream, self._max_side), pixels)
        data = picture_bytes(picture, self._kind)
        levels = stream.latent.levels if self._levels is None else min(self._levels, stream.latent.levels)
        height, width = picture.size
        return Finished(data, {
            "bytes": len(data), "width": width, "height": height, "levels": levels, "weights": stream.weights_hex,
            "model": by.info.name, "broke_off": broke_off,
        })


def picture_bytes(picture: Picture, kind: str) -> memoryview:
    """A picture's file, in this format."""
    from ddncodec.images import write_picture

    data = BytesIO()
    write_picture(picture, data, kind)
    return data.getbuffer()


def _bounded(stream: Stream, side: int | None) -> Stream:
    """The stream of a picture whose longer side is no more than that."""
    longer = max(stream.width, stream.height)
    if side is None or longer <= side:
        return stream
    width, height = (max(1, round(length * side / longer)) for length in (stream.width, stream.height))
    return replace(stream, width=width, height=height)
