"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddncodec_cli import completion
from ddncodec_cli.jobs import path_of

_FILES = "Files or, with -r, directories; - is standard input."
Inputs = Annotated[list[Path], typer.Argument(parser=path_of, autocompletion=completion.images, help=_FILES)]
StreamsBelow = Annotated[list[Path], typer.Argument(parser=path_of, autocompletion=completion.streams, help=_FILES)]
Streams = Annotated[
    list[Path], typer.Argument(parser=path_of, autocompletion=completion.streams,
                               help=".ddn files; - is standard input.")
]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="PATH",
                             help="Output file, or directory if it ends in /; - is standard output.")
]
OutputDir = Annotated[Path | None, typer.Option(help="Directory for the outputs of several inputs.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Take the files below directories.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite outputs that exist.")]
Levels = Annotated[int | None, typer.Option(min=1, help="Use the first N levels alone: a coarser image.")]
MaxBytes = Annotated[
    int | None, typer.Option("--bytes", metavar="N", min=1, help="At most N bytes each: the longest prefix that fits.")
]
Bare = Annotated[
    bool, typer.Option("--bare", help="They are bare streams of --model, or the text of such.")
]
_MODEL = "A model's name, or the path of a weights file."
Model = Annotated[str, typer.Option(autocompletion=completion.models, help=_MODEL)]
NamedModel = Annotated[str, typer.Argument(autocompletion=completion.models, help=_MODEL)]
BareModel = Annotated[
    str | None, typer.Option("--model", autocompletion=completion.models,
                             help="Of bare streams: a model's name or weights file.")
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Take the whole levels of files that broke off, whose checksum is lost.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Column = Annotated[
    str | None, typer.Option(metavar="NAME", help="The inputs are Parquet files: the column that is read.")
]
Drop = Annotated[bool, typer.Option("--drop", help="With --column: leave the column that is read out of the outputs.")]
