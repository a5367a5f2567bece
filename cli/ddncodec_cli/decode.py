"""`ddncodec decode`: .ddn files to images."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec.batches import BATCH, halved, made
from ddncodec_cli import completion, options, tables
from ddncodec_cli.jobs import (
    Failures,
    Job,
    Outputs,
    decoder_of,
    destination,
    image_format,
    in_batches,
    plan,
    require_free,
    stream_suffix,
)
from ddncodec_cli.weights import read_stream, require_model, weights_of

if TYPE_CHECKING:
    from ddncodec.container import Stream
    from ddncodec.decoding import StreamDecoder
    from ddncodec.weights import WeightsInfo


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
    format: Annotated[
        str | None, typer.Option(metavar="png|webp|bmp|tiff|ppm|jpg", help="Whatever the output's suffix; face.ddn "
                                                                           "becomes face.webp, say.")
    ] = None,
    device: options.Device = "auto",
    column: options.Column = None,
    drop: options.Drop = False,
) -> None:
    """Decode .ddn files; face.ddn becomes face.png.

    Bare streams come back with the model's resolution on their longer side.

    The output's suffix decides its format: png, webp, bmp, tiff, ppm or jpg; standard output is PNG.

    In Parquet files the payloads of --column become PNG, and so do .ddn files in WebDataset shards (.tar).
    """
    from ddncodec.images import write_picture

    of = require_model(bare, model, partial)
    if tables.are_tables(inputs, column):
        tables.decode(tables.Places(inputs, output, output_dir, recursive, force), column, drop, levels, model, bare,
                      device)
    failures = Failures()
    output_file, output_dir = destination(output, output_dir)
    suffix = f".{format or 'png'}"
    kind = image_format(Path(f"image{suffix}") if format else output_file)
    jobs = plan(inputs, output_file, output_dir, recursive, suffix,
                lambda name: Path(name).suffix.lower() == stream_suffix(bare), failures)

    @functools.cache
    def weights(weights_id: bytes) -> WeightsInfo:
        return weights_of(weights_id, model)

    @functools.cache
    def decoder(info: WeightsInfo) -> StreamDecoder:
        return decoder_of(info, device, many=len(jobs) > BATCH)

    def work(part: Sequence[Job]) -> None:
        by_weights: dict[WeightsInfo, dict[Job, Stream]] = defaultdict(dict)  # which decode those of earlier ones too
        for job in part:
            with failures.guard(job.source):
                require_free(job.target, force)
                stream = read_stream(job.source, of, partial)
                info = weights(stream.weights_id)
                decoder(info).info.check(stream)
                by_weights[info][job] = stream
        for info, streams in by_weights.items():
            ours = decoder(info)
            images = halved(list(streams.values()), functools.partial(ours.decode_streams, levels=levels))
            with Outputs(force, failures.guard) as outputs:
                for (job, stream), pixels in zip(streams.items(), images, strict=True):
                    with failures.guard(job.source):
                        data = BytesIO()
                        write_picture(ours.to_picture(_bounded(stream, max_side), made(pixels)), data, kind)
                        outputs.write(*job, data.getbuffer())

    in_batches(jobs, work)
    raise typer.Exit(failures.exit_code)


def _bounded(stream: Stream, side: int | None) -> Stream:
    """The stream of a picture whose longer side is no more than that."""
    longer = max(stream.width, stream.height)
    if side is None or longer <= side:
        return stream
    width, height = (max(1, round(length * side / longer)) for length in (stream.width, stream.height))
    return replace(stream, width=width, height=height)
