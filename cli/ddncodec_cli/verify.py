"""`ddncodec verify`: whether .ddn files are whole and can be decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec_cli import completion, options
from ddncodec_cli.archives import is_archive, verify_archive
from ddncodec_cli.jobs import Failures, Job, Jobs, printable
from ddncodec_cli.running import Finished, Work, run
from ddncodec_cli.weights import read_stream, require_model, weights_of

if TYPE_CHECKING:
    from ddncodec.container import Stream
    from ddncodec.weights import WeightsInfo


@options.running
def verify(
    files: options.Streams,
    model: Annotated[
        str | None, typer.Option(autocompletion=completion.models,
                                 help="A model's name or weights file; by default the models here.")
    ] = None,
    bare: options.Bare = False,
    *,
    how: options.Running,
) -> None:
    """Check .ddn files and archives against the format and their checksum, and that their weights are here.

    Prints a line for each file that is well; the exit code is that of the first one that is not. A bare stream
    has no checksum: that it can be one of the model's is all that is checked.
    """
    of = require_model(bare, model)
    failures = Failures(how.quiet)
    archives = [path for path in files if not bare and is_archive(path)]
    for path in archives:
        with failures.guard(path):
            verify_archive(path, model, how, failures)
    jobs = Jobs(Job(path, None) for path in files if path not in archives)
    for done in run(jobs, Verifying(of, model), how, failures):
        if not (how.quiet or how.json_lines):
            typer.echo(f"{printable(str(done.job.source))}: ok")
    raise typer.Exit(failures.exit_code)


class Verifying(Work["Stream", "Stream"]):
    """Streams to whether they are well. of: the weights of bare streams; model: as the option."""

    verb, doing, resume = "verify", "verifying", "nothing was to be written"

    def __init__(self, of: WeightsInfo | None, model: str | None) -> None:
        self._of, self._model = of, model

    def read(self, job: Job) -> Stream:
        stream = read_stream(job.source, self._of)
        weights_of(stream.weights_id, self._model).check(stream)
        return stream

    def compute(self, items: Sequence[Stream]) -> Sequence[Stream]:
        return items

    def finish(self, job: Job, made: Stream) -> Finished:
        return Finished(None, {"levels": made.latent.levels, "weights": made.weights_hex})
