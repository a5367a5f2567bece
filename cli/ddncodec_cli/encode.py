"""`ddncodec encode`: images to .ddn files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddncodec import zoo
from ddncodec.bare import to_text
from ddncodec.batches import halved, made
from ddncodec.effort import CLOSED_LOOP, GREEDY
from ddncodec_cli import completion, options, tables
from ddncodec_cli.jobs import (
    STANDARD,
    Failures,
    Job,
    Outputs,
    complain,
    destination,
    in_batches,
    lazy_codec,
    plan,
    printable,
    read_picture,
    require_free,
    shown,
    stream_suffix,
)

if TYPE_CHECKING:
    from ddncodec.encoding import Encoded
    from ddncodec.images import Picture


def encode(
    inputs: options.Inputs,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    levels: options.Levels = None,
    max_bytes: options.MaxBytes = None,
    psnr: Annotated[
        float | None,
        typer.Option("--psnr", metavar="DB", help="The smallest file whose picture, at the model's resolution, is that "
                                                  "near; all levels where none is. Decodes every smaller one."),
    ] = None,
    effort: Annotated[
        int | None,
        typer.Option(min=GREEDY, max=CLOSED_LOOP, help="How hard to search: 1 is greedy, as in the paper; 2 looks "
                     "ahead, the default where the model can; 3 decodes and corrects too, in ten times the time."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(autocompletion=completion.several_models,
                     help="A model's name, or the path of a weights file; several as A,B, or auto, all that ship and "
                          "are not conditional: each image by the nearest. Takes the time of all, and of decoding."),
    ] = zoo.DEFAULT,
    comment: Annotated[str | None, typer.Option(help="Text to keep in the file.")] = None,
    keep_icc: Annotated[bool, typer.Option(help="Keep an embedded RGB profile; else the colours go to sRGB.")] = False,
    device: options.Device = "auto",
    bare: Annotated[
        bool, typer.Option("--bare", help="Write face.ddnb: the picks and two bytes, no checksum, no model's name.")
    ] = False,
    text: Annotated[
        bool, typer.Option("--text", help="Print bare streams as base64url, a line each, or write that to -o.")
    ] = False,
    as_json: options.Json = False,
    column: options.Column = None,
    drop: options.Drop = False,
) -> None:
    """Encode images; face.png becomes face.ddn.

    An image is fitted to the model's resolution, and comes back at its own size. With --bytes, --psnr, several models
    or --json the files are decoded too, and what was reached is told.

    In Parquet files the images of --column become payloads, in WebDataset shards (.tar) .ddn files; docs/columns.md.
    """
    from ddncodec.images import READ_SUFFIXES

    if psnr is not None and not 0 < psnr < math.inf:
        raise typer.BadParameter(f"--psnr is a finite number above 0, not {psnr}")
    bare = bare or text
    if bare and (comment is not None or keep_icc):
        raise typer.BadParameter("a bare stream has no room for a comment or a profile")
    if tables.are_tables(inputs, column):
        if text:
            raise typer.BadParameter("--text is for images in files of their own")
        from ddncodec.encoding import Request

        tables.encode(tables.Places(inputs, output, output_dir, recursive, force), column, drop,
                      Request(levels, effort, max_bytes, psnr, comment, bare), model, device, keep_icc, as_json)
    failures = Failures()
    jobs = plan(inputs, *destination(output, output_dir), recursive, stream_suffix(bare),
                lambda name: Path(name).suffix.lower() in READ_SUFFIXES, failures, printed=text)
    if as_json and not text and any(job.target == STANDARD for job in jobs):
        raise typer.BadParameter("--json and the file would both go to standard output; -o names a file")
    infos = zoo.find_several(model)
    if bare and len(infos) > 1:
        raise typer.BadParameter("a bare stream does not say which of several models made it")
    codecs = [lazy_codec(lambda info=info: info, device) for info in infos]  # type: ignore[misc]
    resolution = max(info.config.resolution for info in infos)
    told = max_bytes is not None or psnr is not None or len(infos) > 1
    reports = []

    def work(part: Sequence[Job]) -> None:
        pictures: dict[Job, Picture] = {}  # fitted to the resolution
        for job in part:
            with failures.guard(job.source):
                require_free(job.target, force)
                pictures[job] = read_picture(job.source, keep_icc=keep_icc, resolution=resolution)
        if not pictures:
            return
        from ddncodec.encoding import Request, encode_pictures

        request = Request(levels, effort, max_bytes, psnr, comment, bare)
        try:
            results = halved(list(pictures.values()), lambda some: encode_pictures(
                [codec() for codec in codecs], some, request, measured=told or as_json))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        written: list[tuple[Job, Encoded]] = []
        with Outputs(force, failures.guard) as outputs:
            for job, result in zip(pictures, results, strict=True):
                with failures.guard(job.source):
                    encoded = made(result)
                    if not (as_json and job.target == STANDARD):  # the text is in the JSON
                        outputs.write(*job, to_text(encoded.data).encode() + b"\n" if text else encoded.data)
                    written.append((job, encoded))
        for job, encoded in written:
            if job.source not in failures.sources:
                facts = _facts(job, encoded, psnr, text)
                if as_json:
                    reports.append(facts)
                elif told:
                    _tell(facts, len(infos) > 1)
                if facts["reached"] is False:
                    complain(f"{shown(job.source)}: {psnr:g} dB is not reached: it is {_decibels(facts['psnr'])}")

    in_batches(jobs, work)
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    raise typer.Exit(failures.exit_code)


def _facts(job: Job, encoded: Encoded, wanted: float | None, text: bool) -> dict[str, Any]:
    """What was reached; the PSNR of a picture that is the original is null."""
    reached = encoded.psnr
    return {
        "file": str(job.source),
        "output": str(job.target),
        "text": to_text(encoded.data) if text else None,
        "bytes": len(encoded.data),
        "levels": encoded.stream.latent.levels,
        "levels_of_model": encoded.codec.levels,
        "psnr": reached if reached is not None and math.isfinite(reached) else None,
        "reached": None if wanted is None else reached is not None and reached >= wanted,
        "weights": encoded.stream.weights_hex,
        "model": encoded.codec.info.name,
    }


def _tell(facts: dict[str, Any], several: bool) -> None:
    """A line about a file: on standard output, unless the file is there."""
    text = (f"{facts['bytes']:,} bytes, {facts['levels']:,} of {facts['levels_of_model']:,} levels, "
            f"{_decibels(facts['psnr'])}" + (f", by {facts['model']}" if several else ""))
    if facts["output"] == str(STANDARD):
        complain(text)
    else:
        typer.echo(printable(f"{facts['output']}: {text}"))


def _decibels(psnr: float | None) -> str:
    """Rounded down, so that nothing seems to be reached that is not."""
    return "the original itself" if psnr is None else f"{math.floor(100 * psnr) / 100:.2f} dB"
