"""`ddncodec encode`: images to .ddn files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec import zoo
from ddncodec.bare import to_text
from ddncodec.batches import BATCH, halved
from ddncodec_cli import completion, options, tables
from ddncodec_cli.jobs import (
    STANDARD,
    Failures,
    Job,
    Jobs,
    coder_of,
    complain,
    destination,
    plan,
    printable,
    read_picture,
    require_apart,
    shown,
    stream_suffix,
)
from ddncodec_cli.running import Facts, Finished, Work, run

if TYPE_CHECKING:
    from ddncodec.encoding import Encoded, Request
    from ddncodec.errors import DdnError
    from ddncodec.images import Picture
    from ddncodec.weights import WeightsInfo


@options.running
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
    effort: options.Effort = None,
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
    *,
    how: options.Running,
) -> None:
    """Encode images; face.png becomes face.ddn.

    An image is fitted to the model's resolution, and comes back at its own size. With --bytes, --psnr, several models
    or --json the files are decoded too, and what was reached is told.

    In Parquet files the images of --column become payloads, in WebDataset shards (.tar) .ddn files; docs/columns.md.
    """
    from ddncodec.encoding import Request
    from ddncodec.images import READ_SUFFIXES

    if psnr is not None and not 0 < psnr < math.inf:
        raise typer.BadParameter(f"--psnr is a finite number above 0, not {psnr}")
    bare = bare or text
    if bare and (comment is not None or keep_icc):
        raise typer.BadParameter("a bare stream has no room for a comment or a profile")
    request = Request(levels, effort, max_bytes, psnr, comment, bare)
    if tables.are_tables(inputs, column):
        if text:
            raise typer.BadParameter("--text is for images in files of their own")
        tables.encode(tables.Places(inputs, output, output_dir, recursive, force), column, drop, request, model, device,
                      keep_icc, as_json, how)
    failures = Failures(how.quiet)
    jobs = plan(inputs, *destination(output, output_dir), recursive, stream_suffix(bare),
                lambda name: Path(name).suffix.lower() in READ_SUFFIXES, failures, printed=text)
    require_apart(jobs, (as_json or how.json_lines) and not text)
    infos = zoo.find_several(model)
    if bare and len(infos) > 1:
        raise typer.BadParameter("a bare stream does not say which of several models made it")
    told = max_bytes is not None or psnr is not None or len(infos) > 1
    work = Encoding(infos, device, request, keep_icc, measured=told or as_json, text=text,
                    in_json=as_json or how.json_lines, many=len(jobs) > BATCH)
    reports = []
    for done in run(jobs, work, how, failures, force):
        if as_json:
            reports.append(done.facts)
        elif told and not (how.json_lines or how.quiet):
            _tell(done.facts, len(infos) > 1)
        if done.facts.get("reached") is False:
            failures.note(f"{shown(done.job.source)}: {psnr:g} dB is not reached: it is "
                          f"{_decibels(done.facts['psnr'])}")
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    raise typer.Exit(failures.exit_code)


class Encoding(Work["Picture", "Encoded"]):
    """Pictures to files.

    request: what each file is to be. measured: decode each file, to say its PSNR. text: write bare streams as text.
    in_json: what goes to standard output as text is a part of the facts. many: encode fast, rather than begin fast.
    """

    verb, doing = "encode", "encoding"

    def __init__(self, infos: Sequence[WeightsInfo], device: str, request: Request, keep_icc: bool, *,
                 measured: bool, text: bool, in_json: bool, many: bool) -> None:
        self._infos = infos
        self._coder = cache(lambda info: coder_of(info, device, many))  # a bad input is told before one is loaded
        self._resolution = max(info.config.resolution for info in infos)
        self._request, self._keep_icc = request, keep_icc
        self._measured, self._text, self._in_json = measured, text, in_json

    def prepare(self, jobs: Jobs) -> bool:
        return all(self._coder(info).on_cpu for info in self._infos)

    def read(self, job: Job) -> Picture:
        return read_picture(job.source, keep_icc=self._keep_icc, resolution=self._resolution)

    def compute(self, items: Sequence[Picture]) -> list[Encoded | DdnError]:
        from ddncodec.encoding import encode_pictures

        try:
            return halved(items, lambda some: encode_pictures(
                [self._coder(info) for info in self._infos], some, self._request, measured=self._measured))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    def finish(self, job: Job, made: Encoded) -> Finished:
        text = to_text(made.data) if self._text else None
        facts: Facts = {
            "text": text,
            "bytes": len(made.data),
            "levels": made.stream.latent.levels,
            "levels_of_model": made.codec.levels,
        }
        if made.psnr is not None:
            wanted = self._request.psnr
            facts["psnr"] = made.psnr if math.isfinite(made.psnr) else None  # of a picture that is the original
            facts["reached"] = None if wanted is None else made.psnr >= wanted
        facts |= {"weights": made.stream.weights_hex, "model": made.codec.info.name}
        if text is None:
            return Finished(made.data, facts)
        return Finished(None if self._in_json and job.target == STANDARD else text.encode() + b"\n", facts)


def _tell(facts: Facts, several: bool) -> None:
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
