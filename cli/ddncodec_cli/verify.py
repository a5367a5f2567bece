"""`ddncodec verify`: whether .ddn files are whole and can be decoded here."""

from __future__ import annotations

from typing import Annotated

import typer

from ddncodec_cli import completion, options
from ddncodec_cli.jobs import Failures, printable
from ddncodec_cli.weights import read_stream, require_model, weights_of


def verify(
    files: options.Streams,
    model: Annotated[
        str | None, typer.Option(autocompletion=completion.models,
                                 help="A model's name or weights file; by default the models here.")
    ] = None,
    bare: options.Bare = False,
) -> None:
    """Check .ddn files against the format and their checksum, and that their weights are here.

    Prints a line for each file that is well; the exit code is that of the first one that is not. A bare stream
    has no checksum: that it can be one of the model's is all that is checked.
    """
    of = require_model(bare, model)
    failures = Failures()
    for path in files:
        with failures.guard(path):
            stream = read_stream(path, of)
            weights_of(stream.weights_id, model).check(stream)
            typer.echo(f"{printable(str(path))}: ok")
    raise typer.Exit(failures.exit_code)
