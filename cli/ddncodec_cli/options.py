"""Options that several commands have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ddncodec.effort import CLOSED_LOOP, GREEDY
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
Effort = Annotated[
    int | None,
    typer.Option(min=GREEDY, max=CLOSED_LOOP, help="How hard to search: 1 is greedy, as in the paper; 2 looks "
                 "ahead, the default where the model can; 3 decodes and corrects too, in ten times the time."),
]
Format = Annotated[
    str | None, typer.Option(metavar="png|webp|bmp|tiff|ppm|jpg", help="Whatever the output's suffix; face.ddn "
                                                                       "becomes face.webp, say.")
]
Look = Annotated[str, typer.Option(metavar="NAME", help="faithful, or a look that the model has, as natural.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Column = Annotated[
    str | None, typer.Option(metavar="NAME", help="The inputs are Parquet files: the column that is read.")
]
Drop = Annotated[bool, typer.Option("--drop", help="With --column: leave the column that is read out of the outputs.")]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Running:
    """How a command works through many files. Its fields are options of each command that is `running`."""

    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="So many processes of one thread each; by default one for "
                                                             "each core, where there is more than one batch of files.")
    ] = None
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out inputs whose output exists, as after an interruption.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Tell nothing on stderr but what fails.")] = False
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Tell on stderr of each file, and at the end where the time went.")
    ] = False
    json_lines: Annotated[
        bool, typer.Option("--jsonl", help="Print a line of JSON for each file as it is done, or fails.")
    ] = False


def running(command: Command) -> Command:
    """The command with an option for each field of `Running` in place of its parameter `how`."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> Any:
        how = Running(**{name: given.pop(name) for name in ours})
        return command(**given, how=how)

    ours = inspect.signature(Running, eval_str=True).parameters
    theirs = inspect.signature(command, eval_str=True).parameters
    both = [*(parameter for name, parameter in theirs.items() if name != "how"), *ours.values()]
    wrapper.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in both}
    return wrapper  # type: ignore[return-value]
