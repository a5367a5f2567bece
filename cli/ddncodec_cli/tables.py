"""What `encode` and `decode` do where a file has many images: a column of a Parquet file, a WebDataset shard."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn, TypeAlias

import typer

from ddncodec import zoo
from ddncodec.errors import DdnError, InputMissing, MissingExtra, OutputFailed
from ddncodec.files import atomic_write
from ddncodec.progress import Progress
from ddncodec.threads import cores
from ddncodec_cli import progress
from ddncodec_cli.jobs import (
    STANDARD,
    Failures,
    Jobs,
    destination,
    input_size,
    named,
    plan,
    require_free,
    shown,
    stream_suffix,
)
from ddncodec_cli.options import Running
from ddncodec_cli.running import to_do

if TYPE_CHECKING:
    from ddncodec.columns import ColumnCoder
    from ddncodec.encoding import Request
    from ddncodec.processes import Processes
    from ddncodec.shards import Files

PARQUET = (".parquet", ".pq")
Told = Callable[[object, DdnError], None]  # what in a file cannot be done, and why
Convert: TypeAlias = "Callable[[Path, BinaryIO, Told, Progress, Processes], dict[str, Any]]"  # gives a file's facts
LARGE = 2**24  # bytes of all inputs: those of less are done before other processes have begun


class Places(NamedTuple):
    """The options that say what is read and written, as `encode` and `decode` have them."""

    inputs: Sequence[Path]
    output: str | None
    output_dir: Path | None
    recursive: bool
    force: bool


def are_tables(inputs: Iterable[Path], column: str | None) -> bool:
    """Whether inputs have many images each."""
    return column is not None or any(_is_parquet(path.name) or _is_shard(path.name) for path in inputs)


def encode(places: Places, column: str | None, drop: bool, request: Request, model: str, device: str, keep_icc: bool,
           as_json: bool, how: Running) -> NoReturn:
    """Encode the images in files that are not images, and exit."""
    infos = zoo.find_several(model)  # raises for what there is not before any file is touched
    if column is None:
        from ddncodec.images import READ_SUFFIXES
        from ddncodec.workers import Encoder

        _convert_shards(places, lambda name: Path(name).suffix.lower() in READ_SUFFIXES, stream_suffix(request.bare),
                        Encoder(model, request, device, keep_icc), as_json, how, "encode")
    if len(infos) > 1 or request.bare or request.psnr or request.comment is not None or keep_icc:
        raise typer.BadParameter("a column has payloads of one model and of one length, and nothing else: "
                                 "use --levels or --bytes")
    _require_pyarrow()
    from ddncodec.columns import ColumnEncoder
    from ddncodec.latent import payload_bytes
    from ddncodec.sizes import kept

    config = infos[0].config
    if request.levels is not None and request.levels > config.levels:
        raise typer.BadParameter(f"levels must be 1 to {config.levels}, not {request.levels}")
    levels = kept(lambda count: payload_bytes(config.k, count), config.levels, request.levels, request.max_bytes)
    _convert_columns(places, ColumnEncoder(column, model, levels, request.effort, device, drop), as_json, how,
                     "encode")


def decode(places: Places, column: str | None, drop: bool, levels: int | None, model: str | None, bare: bool,
           device: str, suffix: str, kind: str, how: Running) -> NoReturn:
    """Decode what is in files that are not .ddn files, and exit.

    suffix, kind: of the files of the images, and their format.
    """
    if model is not None:
        zoo.find(model)
    if column is None:
        from ddncodec.workers import Decoder

        _convert_shards(places, lambda name: Path(name).suffix.lower() == stream_suffix(bare), f".{suffix}",
                        Decoder(model, levels, bare, device, kind), False, how, "decode")
    if bare:
        raise typer.BadParameter("a column has payloads, not bare streams")
    _require_pyarrow()
    from ddncodec.columns import ColumnDecoder

    _convert_columns(places, ColumnDecoder(column, model, levels, device, drop, suffix), False, how, "decode")


def _convert_columns(places: Places, coder: ColumnCoder, as_json: bool, how: Running, verb: str) -> NoReturn:
    from ddncodec import parquet

    def convert(source: Path, file: BinaryIO, told: Told, bars: Progress, workers: Processes) -> dict[str, Any]:
        with bars.phase(shown(source), parquet.rows_of(source)) as advance:
            return parquet.convert(source, file, coder, lambda row, why: told(f"row {row:,}", why), advance,
                                   workers.map)._asdict()

    _run(places, _is_parquet, ".parquet", convert, as_json, how, verb)


def _convert_shards(places: Places, takes: Callable[[str], bool], suffix: str, files: Files, as_json: bool,
                    how: Running, verb: str) -> NoReturn:
    from ddncodec import shards

    for path in places.inputs:
        if not _is_shard(path.name):
            raise typer.BadParameter(f"{path} is a Parquet file, whose column of images --column names"
                                     if _is_parquet(path.name) else f"{path} is no shard: give it apart")

    def convert(source: Path, file: BinaryIO, told: Told, bars: Progress, workers: Processes) -> dict[str, Any]:
        with bars.phase(shown(source)) as advance:
            return shards.convert(source, file, takes, suffix, files, told, advance, workers.map)._asdict()

    expanded = [path for pattern in places.inputs for path in _expand(pattern)]
    _run(places._replace(inputs=expanded), lambda name: False, "", convert, as_json, how, verb)


def _run(places: Places, takes: Callable[[str], bool], suffix: str, convert: Convert, as_json: bool, how: Running,
         verb: str) -> NoReturn:
    """Convert file after file, each whole or not at all.

    takes, suffix: as `plan`; verb: as `to_do`. convert: writes a file, tells what in it cannot be done, and gives the
    facts of it.
    """
    from ddncodec.processes import Processes

    output, output_dir = destination(places.output, places.output_dir)
    if output_dir is None and output in (None, STANDARD):
        raise typer.BadParameter("say where to: -o FILE or --output-dir")
    failures = Failures(how.quiet)
    jobs = plan(places.inputs, output, output_dir, places.recursive, suffix, takes, failures)
    left = to_do(jobs, how, failures, places.force, verb)
    reports = []
    with progress.shown(sys.stderr.isatty() and not how.quiet) as bars, Processes(_processes(left, how)) as workers:
        for source, target in left:
            assert target is not None, "a plan has each"
            facts: dict[str, Any] = {"file": str(source), "output": str(target)}
            try:
                with named(source), _output(target, places.force) as file:
                    facts |= convert(source, file, partial(_tell, failures, source), bars, workers)
                reports.append(facts)
            except DdnError as error:
                failures.tell(error)
                facts |= {"error": str(error), "exit_code": error.exit_code}
            except ValueError as error:
                raise typer.BadParameter(str(error)) from None
            if how.json_lines:
                typer.echo(json.dumps(facts))
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    raise typer.Exit(failures.exit_code)


@contextmanager
def _output(target: Path, force: bool) -> Iterator[BinaryIO]:
    """A file to write an output to, in a folder that is made. Raises OutputExists, OutputFailed."""
    require_free(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"cannot make {target.parent}: {error.strerror}") from None
    with atomic_write(target, overwrite=force) as file:
        yield file


def _processes(jobs: Jobs, how: Running) -> int:
    """How many processes to work with."""
    size = 0
    for job in jobs:
        with suppress(InputMissing):
            size += input_size(job.source)
    return how.jobs or (cores() if size >= LARGE else 1)


def _tell(failures: Failures, source: Path, what: object, error: DdnError) -> None:
    failures.tell(error.of(f"{shown(source)}: {what}"))


def _expand(pattern: Path) -> Iterator[Path]:
    """The files of a pattern such as train-{000..127}.tar."""
    if "{" not in str(pattern) or exists(pattern):
        yield pattern
        return
    if not find_spec("braceexpand"):
        raise MissingExtra("patterns of shards want braceexpand: pip install 'ddncodec[webdataset]'")
    from braceexpand import braceexpand

    try:
        yield from map(Path, braceexpand(str(pattern)))
    except ValueError:
        raise typer.BadParameter(f"{pattern} is no pattern of shards: its braces do not match") from None


def _require_pyarrow() -> None:
    if not find_spec("pyarrow"):
        raise MissingExtra("Parquet files want pyarrow: pip install 'ddncodec[parquet]'")


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(PARQUET)


def _is_shard(name: str) -> bool:
    from ddncodec.tar import is_tar

    return is_tar(name)
