"""The program `ddncodec`: its commands, and how every refusal becomes one line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from ddncodec.errors import DdnError, MissingExtra, OutputFailed, memory_errors
from ddncodec.files import discard_temporaries, set_sync
from ddncodec.threads import share_cpu
from ddncodec_cli.archives import cat, list_
from ddncodec_cli.completion import completion
from ddncodec_cli.conformance import conformance
from ddncodec_cli.cut import cut
from ddncodec_cli.dataset import app as dataset
from ddncodec_cli.decode import decode
from ddncodec_cli.demo import demo
from ddncodec_cli.encode import encode
from ddncodec_cli.eval import evaluate
from ddncodec_cli.export import export
from ddncodec_cli.guide import guide
from ddncodec_cli.info import info
from ddncodec_cli.jobs import complain
from ddncodec_cli.models import app as models
from ddncodec_cli.pack import pack
from ddncodec_cli.prior import prior
from ddncodec_cli.sample import sample
from ddncodec_cli.train import train
from ddncodec_cli.unpack import extract, unpack
from ddncodec_cli.verify import verify

app = typer.Typer(
    name="ddncodec",
    help="A neural image codec for very small images: 144 bytes for a 64×64 face.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (encode, decode, cut, info, verify, pack, unpack, extract, cat, sample, guide, train, prior, export,
                demo, conformance, completion):
    app.command()(command)
app.command("list")(list_)
app.command("eval")(evaluate)
app.add_typer(models, name="models")
app.add_typer(dataset, name="dataset")
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
