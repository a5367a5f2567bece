"""`ddncodec encode`: images to .ddn files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ddncodec import zoo
from ddncodec.effort import GREEDY, MAX_EFFORT
from ddncodec_cli import options
from ddncodec_cli.jobs import (
    Failures,
    Job,
    Outputs,
    destination,
    halved,
    in_batches,
    lazy_codec,
    made,
    plan,
    read_picture,
    require_free,
)


def encode(
    inputs: options.Inputs,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    levels: options.Levels = None,
    effort: Annotated[
        int | None,
        typer.Option(min=GREEDY, max=MAX_EFFORT, help="How hard to search; 1 is greedy, as in the paper."),
    ] = None,
    model: Annotated[str, typer.Option(help="A model's name, or the path of a weights file.")] = zoo.DEFAULT,
    comment: Annotated[str | None, typer.Option(help="Text to keep in the file.")] = None,
    keep_icc: Annotated[bool, typer.Option(help="Keep an embedded RGB profile; else the colours go to sRGB.")] = False,
    device: options.Device = "auto",
) -> None:
    """Encode images; face.png becomes face.ddn.

    An image is fitted to the model's resolution, and comes back at its own size.
    """
    from ddncodec.container import to_bytes
    from ddncodec.images import READ_SUFFIXES, Picture

    failures = Failures()
    jobs = plan(inputs, *destination(output, output_dir), recursive, ".ddn",
                lambda name: Path(name).suffix.lower() in READ_SUFFIXES, failures)
    info = zoo.find(model)
    codec = lazy_codec(lambda: info, device)

    def work(part: Sequence[Job]) -> None:
        pictures: dict[Job, Picture] = {}  # fitted to the resolution
        for job in part:
            with failures.guard(job.source):
                require_free(job.target, force)
                pictures[job] = read_picture(job.source, keep_icc=keep_icc, resolution=info.config.resolution)
        if not pictures:
            return
        try:
            latents = halved([picture.pixels for picture in pictures.values()],
                             lambda images: codec().encode_batch(images, levels, effort))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        with Outputs(force, failures.guard) as outputs:
            for (job, picture), latent in zip(pictures.items(), latents, strict=True):
                with failures.guard(job.source):
                    outputs.write(*job, to_bytes(codec().to_stream(picture, made(latent), comment)))

    in_batches(jobs, work)
    raise typer.Exit(failures.exit_code)
