"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inputs = Annotated[list[Path], typer.Argument(help="Files or, with -r, directories; - is standard input.")]
Streams = Annotated[list[Path], typer.Argument(help=".ddn files; - is standard input.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Output file; - is standard output.")]
OutputDir = Annotated[Path | None, typer.Option(help="Directory for the outputs of several inputs.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Take the files below directories.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite outputs that exist.")]
Levels = Annotated[int | None, typer.Option(min=1, help="Use the first N levels alone: a coarser image.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
