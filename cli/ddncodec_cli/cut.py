"""`ddncodec cut`: shorter .ddn files, coarser pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from ddncodec import bare as bare_streams
from ddncodec import container
from ddncodec_cli import options
from ddncodec_cli.jobs import (
    Failures,
    Job,
    Outputs,
    destination,
    in_batches,
    plan,
    read_bytes,
    require_free,
    stream_suffix,
)
from ddncodec_cli.weights import read_bare, require_model


def cut(
    inputs: options.StreamsBelow,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    levels: options.Levels = None,
    max_bytes: options.MaxBytes = None,
    bare: options.Bare = False,
    model: options.BareModel = None,
) -> None:
    """Shorten .ddn files, which need no weights for it; a file that is short enough is copied.

    A bare stream's text becomes its bytes. Outputs are named by -o or --output-dir: a file is not cut in its place.
    """
    if levels is None and max_bytes is None:
        raise typer.BadParameter("say how short: --bytes or --levels")
    if output is None and output_dir is None and any(str(path) != "-" for path in inputs):
        raise typer.BadParameter("say where to: -o or --output-dir")
    of = require_model(bare, model)
    suffix = stream_suffix(bare)
    failures = Failures()
    jobs = plan(inputs, *destination(output, output_dir), recursive, suffix,
                lambda name: Path(name).suffix.lower() == suffix, failures)

    def work(part: Sequence[Job]) -> None:
        with Outputs(force, failures.guard) as outputs:
            for job in part:
                with failures.guard(job.source):
                    require_free(job.target, force)
                    if of:
                        outputs.write(*job, bare_streams.cut(read_bare(job.source), of.config.k, levels, max_bytes))
                    else:
                        data = read_bytes(job.source, container.MAX_FILE)
                        outputs.write(*job, container.cut(data, levels, max_bytes))

    in_batches(jobs, work)
    raise typer.Exit(failures.exit_code)
