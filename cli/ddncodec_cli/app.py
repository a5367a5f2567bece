"""The program `ddncodec`: its commands, and how every refusal becomes one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ddncodec.errors import DdnError, OutputFailed
from ddncodec.threads import share_cpu
from ddncodec_cli.dataset import app as dataset
from ddncodec_cli.decode import decode
from ddncodec_cli.encode import encode
from ddncodec_cli.eval import evaluate
from ddncodec_cli.guide import guide
from ddncodec_cli.info import info
from ddncodec_cli.jobs import complain
from ddncodec_cli.models import app as models
from ddncodec_cli.sample import sample
from ddncodec_cli.train import train
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
for command in (encode, decode, info, verify, sample, guide, train):
    app.command()(command)
app.command("eval")(evaluate)
app.add_typer(models, name="models")
app.add_typer(dataset, name="dataset")


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
) -> None:
    pass


def main() -> None:
    """Run the command line; a refusal is one line on stderr and its kind's exit code."""
    share_cpu()
    try:
        app()
    except DdnError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # standard output is full, say
        complain(f"{error.filename or 'standard input or output'}: {error.strerror}")
        sys.exit(OutputFailed.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
