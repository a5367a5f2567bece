"""The program `ddncodec`: its commands, and how every refusal becomes one line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]
from typer.core import TyperGroup
from typer.main import get_command, get_group

from ddncodec.errors import DdnError, MissingExtra, OutputFailed, memory_errors
from ddncodec.files import discard_temporaries, set_sync
from ddncodec.threads import share_cpu
from ddncodec_cli.jobs import complain

# Where each command is, or the app that has its subcommands. A module is imported when its command is asked for: a
# single file is decoded in the time that it takes to import all of them.
COMMANDS = {
    "encode": "encode:encode",
    "decode": "decode:decode",
    "cut": "cut:cut",
    "info": "info:info",
    "verify": "verify:verify",
    "pack": "pack:pack",
    "unpack": "unpack:unpack",
    "extract": "unpack:extract",
    "list": "archives:list_",
    "cat": "archives:cat",
    "similar": "search:similar",
    "duplicates": "search:duplicates",
    "sample": "sample:sample",
    "guide": "guide:guide",
    "train": "train:train",
    "prior": "prior:prior",
    "export": "export:export",
    "demo": "demo:demo",
    "conformance": "conformance:conformance",
    "completion": "completion:completion",
    "eval": "eval:evaluate",
    "models": "models:app",
    "dataset": "dataset:app",
}


class Commands(Mapping[str, Any]):
    """The commands by name, each imported and made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _command(name, *COMMANDS[name].split(":"))

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _command(name: str, module: str, attribute: str) -> Any:
    found = getattr(import_module(f"ddncodec_cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return get_command(alone)


class Program(TyperGroup):
    """The program, which has the `Commands`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast(Any, Commands())


app = typer.Typer(
    name="ddncodec",
    cls=Program,
    help="A neural image codec for very small images: 144 bytes for a 64×64 face.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
completion_init()  # as add_completion would, without its two options


def _version(wanted: bool) -> None:
    if wanted:
        from ddncodec import __version__

        typer.echo(f"ddncodec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    sync: Annotated[
        bool, typer.Option("--sync/--no-sync", help="Wait until outputs are on the disk and survive a power cut.")
    ] = True,
) -> None:
    set_sync(sync)


def main() -> None:
    """Run the command line; a refusal is one line on stderr and its kind's exit code."""
    share_cpu()
    _open_streams()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a job behind & or nohup
            signal.signal(number, _stop)
    try:
        with memory_errors():
            app()
    except DdnError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        complain("torch is not installed: pip install torch; to decode, onnxruntime will do: pip install onnxruntime")
        sys.exit(MissingExtra.exit_code)
    except OSError as error:  # standard output is full, say
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still buffered, which would fail again at the exit
        if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
            sys.exit(1)
        complain(f"{error.filename or 'standard input or output'}: {error.strerror}")
        sys.exit(OutputFailed.exit_code)


def _open_streams() -> None:
    """Make the standard streams refuse what they cannot do, and show what they cannot encode as escapes."""
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:  # closed: its number would go to the next file opened, for libraries to write warnings into
            os.open(os.devnull, mode)  # gets the lowest free number
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _stop(number: int, frame: object) -> NoReturn:
    """Handle a signal that ends the program: exit as a shell would say of it, and leave nothing half-written."""
    discard_temporaries()  # here, since the exit may begin anywhere, between a file's creation and what cleans up too
    sys.exit(128 + number)
