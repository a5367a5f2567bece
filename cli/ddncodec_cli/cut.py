"""`ddncodec cut`: shorter .ddn files, coarser pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from ddncodec import bare as bare_streams
from ddncodec import container
from ddncodec.errors import DdnError
from ddncodec.weights import WeightsInfo
from ddncodec_cli import options
from ddncodec_cli.archives import cut_archive, is_archive
from ddncodec_cli.jobs import Failures, Job, destination, plan, read_bytes, require_apart, stream_suffix
from ddncodec_cli.running import Finished, Work, run
from ddncodec_cli.weights import read_bare, require_model


@options.running
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
    *,
    how: options.Running,
) -> None:
    """Shorten .ddn files, which need no weights for it; a file that is short enough is copied.

    In an archive (.ddns) all records are cut. A bare stream's text becomes its bytes. Outputs are named by -o or
    --output-dir: a file is not cut in its place.
    """
    if levels is None and max_bytes is None:
        raise typer.BadParameter("say how short: --bytes or --levels")
    if output is None and output_dir is None and any(str(path) != "-" for path in inputs):
        raise typer.BadParameter("say where to: -o or --output-dir")
    if not bare and any(map(is_archive, inputs)):
        if len(inputs) > 1 or max_bytes is not None:
            raise typer.BadParameter("an archive is cut alone, and to --levels")
        cut_archive(inputs[0], destination(output, output_dir)[0], force, levels)
    of = require_model(bare, model)
    suffix = stream_suffix(bare)
    failures = Failures(how.quiet)
    jobs = plan(inputs, *destination(output, output_dir), recursive, suffix,
                lambda name: Path(name).suffix.lower() == suffix, failures)
    require_apart(jobs, how.json_lines)
    for _ in run(jobs, Cutting(of, levels, max_bytes), how, failures, force):
        pass
    raise typer.Exit(failures.exit_code)


class Cutting(Work[bytes, bytes]):
    """Streams to shorter ones. of: the weights of bare streams; None for files."""

    verb, doing = "cut", "cutting"

    def __init__(self, of: WeightsInfo | None, levels: int | None, max_bytes: int | None) -> None:
        self._of, self._levels, self._max_bytes = of, levels, max_bytes

    def read(self, job: Job) -> bytes:
        return read_bare(job.source) if self._of else read_bytes(job.source, container.MAX_FILE)

    def compute(self, items: Sequence[bytes]) -> list[bytes | DdnError]:
        return [self._cut(data) for data in items]

    def _cut(self, data: bytes) -> bytes | DdnError:
        try:
            if self._of:
                return bare_streams.cut(data, self._of.config.k, self._levels, self._max_bytes)
            return container.cut(data, self._levels, self._max_bytes)
        except DdnError as error:
            return error

    def finish(self, job: Job, made: bytes) -> Finished:
        return Finished(made, {"bytes": len(made)})
