"""`ddncodec decode`: .ddn files to images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec_cli import options
from ddncodec_cli.jobs import STANDARD, Failures, Job, in_batches, lazy_codec, plan, read, require_free, write
from ddncodec_cli.weights import weights_of

if TYPE_CHECKING:
    from ddncodec.codec import Codec
    from ddncodec.container import Stream


def decode(
    inputs: options.Inputs,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    levels: options.Levels = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name or weights file; by default the one that the file names.")
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Decode .ddn files; face.ddn becomes face.png.

    The output's suffix decides its format: png, webp, bmp, tiff, ppm or jpg; standard output is PNG.
    """
    from ddncodec import container
    from ddncodec.images import format_of, write_picture

    failures = Failures()
    jobs = plan(inputs, output, output_dir, recursive, ".png", lambda p: p.suffix.lower() == ".ddn", failures)
    try:
        image_format = "PNG" if output in (None, STANDARD) else format_of(output)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    @cache
    def codec(weights_id: bytes) -> Codec:
        return lazy_codec(lambda: weights_of(weights_id, model), device)()

    def work(part: Sequence[Job]) -> None:
        by_weights: dict[bytes, dict[Job, Stream]] = defaultdict(dict)
        for job in part:
            with failures.guard(job.source):
                require_free(job.target, force)
                with read(job.source) as file:
                    stream = container.read(file)
                codec(stream.weights_id).info.check(stream)
                by_weights[stream.weights_id][job] = stream
        for weights_id, streams in by_weights.items():
            pictures = codec(weights_id).to_pictures(list(streams.values()), levels)
            for job, picture in zip(streams, pictures, strict=True):
                with failures.guard(job.source):
                    data = BytesIO()
                    write_picture(picture, data, image_format)
                    write(job.target, data.getvalue(), force)

    in_batches(jobs, work)
    raise typer.Exit(failures.exit_code)
