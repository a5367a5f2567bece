"""`ddncodec conformance`: how far decoding on this machine is from the reference pictures."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec_cli import options
from ddncodec_cli.jobs import complain, decoder_of, lazy_codec, printable

if TYPE_CHECKING:
    from ddncodec.decoding import StreamDecoder
    from ddncodec.weights import WeightsInfo


class Decoder(StrEnum):
    """What decodes: AUTO is as `decode` chooses."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


def conformance(
    kit: Annotated[Path, typer.Argument(help="The kit's folder.")] = Path("conformance"),
    decoder: Annotated[
        Decoder, typer.Option(help="torch; onnx, exported decoders, for the models that have one; auto, as decode.")
    ] = Decoder.AUTO,
    device: options.Device = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Decode so many streams at once; all of a model.")] = None,
    as_json: options.Json = False,
) -> None:
    """Decode the streams of a conformance kit, and tell how far the pictures are from the reference.

    A line for each model that has such a decoder here. The exit code is 1 if a deviation is larger than the kit allows,
    or no model has one.
    """
    from ddncodec.conformance import deviations, read_kit

    def chosen(info: WeightsInfo) -> StreamDecoder | None:
        from ddncodec.exported import exported

        if decoder is Decoder.TORCH:
            return lazy_codec(lambda: info, device)()
        if decoder is Decoder.AUTO and find_spec("torch"):
            return decoder_of(info, device, many=True)
        return exported(info, many=True)

    read = read_kit(kit)
    found = []
    for one in deviations(read, chosen, batch):
        found.append(one)
        if not as_json:
            typer.echo(printable(
                f"{one.weights.model:16} {one.weights.id} {one.streams:4} streams: largest deviation {one.largest} "
                f"({one.weights.allowed} allowed), {one.differing:.3%} of samples differ"
                + ("" if one.conforms else f"; the worst is {one.worst}")))
    if as_json:
        typer.echo(json.dumps([one.facts() for one in found], indent=2))
    for weights in read.weights.values():
        if weights.id not in {one.weights.id for one in found}:
            complain(f"{weights.model} {weights.id}: left out: it has no such decoder here")
    raise typer.Exit(not found or not all(one.conforms for one in found))
