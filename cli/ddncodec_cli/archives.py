"""What the commands of archives share, and those that copy or list archives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any

import typer

from ddncodec.archive import MAGIC, Archive, ArchiveWriter, Record, open_archive
from ddncodec.errors import DataMissing, DdnError, PayloadLength, UnknownWeights
from ddncodec.files import atomic_write
from ddncodec.latent import payload_bytes
from ddncodec_cli import options
from ddncodec_cli.jobs import Failures, identities, named, path_of, printable, read_bytes, require_other
from ddncodec_cli.weights import weights_of

SUFFIX = ".ddns"

Set = Annotated[Path, typer.Argument(parser=path_of, metavar="SET.ddns", help="An archive.")]
SetOut = Annotated[
    Path, typer.Option("-o", "--output", parser=path_of, metavar="SET.ddns", help="The archive to be.")
]


def is_archive(path: Path) -> bool:
    """Whether a file begins as an archive does."""
    with suppress(DdnError):
        return isfile(path) and read_bytes(path, len(MAGIC) - 1) == MAGIC
    return False


@contextmanager
def opened(path: Path, failures: Failures) -> Iterator[Archive]:
    """An archive, open for reading within the block; damage is told. Raises DdnError."""
    with named(path), open_archive(path) as archive:
        for error in archive.damage:
            failures.tell(error.of(path))
        yield archive


def whole_records(archive: Archive, path: Path, failures: Failures) -> Iterator[Record]:
    """All records that can be read; blocks that cannot are told."""
    for block in archive.blocks(lambda error: failures.tell(error.of(path))):
        yield from block


@contextmanager
def new_archive(path: Path, force: bool, levels: int | None = None) -> Iterator[ArchiveWriter]:
    """An archive to write to, which is there, whole, when the block ends well, if anything was added.

    Raises OutputExists, OutputFailed; DataMissing where nothing was added.
    """
    with atomic_write(path, overwrite=force) as file:
        writer = ArchiveWriter(file, levels)
        yield writer
        if not len(writer):
            raise DataMissing("there is nothing to put into it", path)
        writer.close()


def list_(
    archive: Set,
    as_json: options.Json = False,
) -> None:
    """List the records of an archive: number, size of the original image, name."""
    failures = Failures()
    with opened(archive, failures) as found:
        records = whole_records(found, archive, failures)
        if as_json:
            _print_array({"number": record.number, "name": record.name, "width": record.packed.width,
                          "height": record.packed.height} for record in records)
        else:
            for record in records:
                size = f"{record.packed.width} × {record.packed.height}"
                typer.echo(f"{record.number:>8}  {size:>13}  {printable(record.name)}".rstrip())
    raise typer.Exit(failures.exit_code)


def _print_array(rows: Iterable[dict[str, Any]]) -> None:
    """JSON of any length."""
    before = "["
    for row in rows:
        typer.echo(f"{before}\n  {json.dumps(row)}", nl=False)
        before = ","
    typer.echo("[]" if before == "[" else "\n]")


def cat(
    archives: Annotated[list[Path], typer.Argument(parser=path_of, metavar="SET.ddns...", help="Archives.")],
    output: SetOut,
    force: options.Force = False,
) -> None:
    """Copy archives of the same weights and levels into one, one after the other; also one that is damaged.

    Needs no weights.
    """
    failures = Failures()
    require_other(output, identities(archives))
    with new_archive(output, force) as writer:
        for path in archives:
            with failures.guard(path), opened(path, failures) as archive:
                _require_same(archive, writer)
                for record in whole_records(archive, path, failures):
                    writer.add_packed(record.packed, record.name)
        _end_if_empty(writer, failures)
    raise typer.Exit(failures.exit_code)


def _require_same(archive: Archive, writer: ArchiveWriter) -> None:
    ours, theirs = writer.header, archive.header
    if ours and (ours.weights_id, ours.k) != (theirs.weights_id, theirs.k):
        raise UnknownWeights(f"its weights are {theirs.weights_id.hex()}, K = {theirs.k:,}; those of the archives "
                             f"before are {ours.weights_id.hex()}, K = {ours.k:,}")
    if ours and ours.levels != theirs.levels:
        raise PayloadLength(f"its records have {theirs.levels:,} levels; those of the archives before have "
                            f"{ours.levels:,}")


def _end_if_empty(writer: ArchiveWriter, failures: Failures) -> None:
    """Leave no archive where all has failed, which was told."""
    if not len(writer) and failures.exit_code:
        raise typer.Exit(failures.exit_code)


def cut_archive(path: Path, output: Path | None, force: bool, levels: int | None) -> None:
    """What `cut` does to an archive. Raises DdnError, BadParameter."""
    if levels is None or output is None:
        raise typer.BadParameter("an archive is cut to --levels, and -o names the output")
    failures = Failures()
    require_other(output, identities([path]))
    with opened(path, failures) as archive, new_archive(output, force, min(levels, archive.header.levels)) as writer:
        for record in whole_records(archive, path, failures):
            writer.add_packed(record.packed, record.name)
        _end_if_empty(writer, failures)
    raise typer.Exit(failures.exit_code)


def archive_facts(path: Path, failures: Failures, model_of: Callable[[bytes], Any]) -> dict[str, Any]:
    """What `info` says of an archive. Raises DdnError."""
    with opened(path, failures) as archive:
        header = archive.header
        images = sum(entry.records for entry in archive.entries)
        model = model_of(header.weights_id)
        return {
            "file": str(path),
            "bytes": archive.bytes,
            "archive": True,
            "images": images,
            "bytes_an_image": archive.bytes / images if images else None,
            "blocks": len(archive.entries),
            "k": header.k,
            "levels": header.levels,
            "levels_of_model": model.config.levels if model else None,
            "payload_bytes": payload_bytes(header.k, header.levels),
            "weights": header.weights_id.hex(),
            "model": model.name if model else None,
            "complete": archive.is_closed,
        }


def show_archive(facts: dict[str, Any]) -> None:
    """Print these facts."""
    of = f" of {facts['levels_of_model']:,}" if facts["levels_of_model"] else ""
    each = f", {facts['bytes_an_image']:.2f} an image" if facts["images"] else ""
    lines = {
        "archive": f"{facts['images']:,} images in {facts['blocks']:,} blocks",
        "size": f"{facts['bytes']:,} bytes{each}",
        "latents": f"{facts['levels']:,}{of} levels, K = {facts['k']:,}: {facts['payload_bytes']:,} bytes",
        "weights": f"{facts['weights']} ({facts['model'] or 'not among the models here'})",
    } | ({} if facts["complete"] else {"broken": "an append did not come to its end; the next one goes on"})
    typer.echo(printable(facts["file"]))
    for name, text in lines.items():
        typer.echo(f"  {name:8} {text}")


def verify_archive(path: Path, model: str | None, how: options.Running, failures: Failures) -> None:
    """What `verify` does to an archive: each fault is told. Raises DdnError."""
    found = Failures()
    with opened(path, found) as archive:
        for number, record in enumerate(whole_records(archive, path, found)):
            with found.guard(Path(f"{path}#{record.number}")):
                record.to_bytes()
                if not number:  # they are of the same weights and levels
                    weights_of(record.packed.weights_id, model).check(record.packed.stream)
    failures.exit_code = failures.exit_code or found.exit_code
    if how.json_lines:
        typer.echo(json.dumps({"file": str(path), "images": len(archive), "exit_code": found.exit_code}))
    elif not (found.exit_code or how.quiet):
        typer.echo(f"{printable(str(path))}: ok")
