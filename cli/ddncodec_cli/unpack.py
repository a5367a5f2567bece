"""`ddncodec unpack` and `extract`: what is in an archive, as pictures or as .ddn files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from ddncodec import container
from ddncodec.archive import Archive, Record, as_text
from ddncodec.batches import BATCH
from ddncodec.errors import BadMetadata, OutputExists
from ddncodec_cli import completion, options
from ddncodec_cli.archives import Set, opened
from ddncodec_cli.decode import Decoding, Found, picture_bytes
from ddncodec_cli.jobs import (
    STANDARD,
    Failures,
    Job,
    Jobs,
    Outputs,
    decoder_of,
    destination,
    image_format,
    require_free,
    stream_suffix,
    write_standard,
)
from ddncodec_cli.running import Finished, Work, run
from ddncodec_cli.weights import weights_of

Model = Annotated[
    str | None, typer.Option(autocompletion=completion.models,
                             help="A model's name or weights file; by default the one that the archive names.")
]


@options.running
def unpack(
    archive: Set,
    output_dir: Annotated[Path, typer.Option(help="Directory for the outputs.")],
    force: options.Force = False,
    levels: options.Levels = None,
    ddn: Annotated[bool, typer.Option("--ddn", help="Write .ddn files, which takes no weights.")] = False,
    format: options.Format = None,
    model: Model = None,
    device: options.Device = "auto",
    *,
    how: options.Running,
) -> None:
    """Write each record of an archive to a file: a picture or, with --ddn, a .ddn file.

    Files have the records' names, and those without one their number.
    """
    if ddn and format is not None:
        raise typer.BadParameter("--format is of pictures, and --ddn writes none")
    suffix = stream_suffix(bare=False) if ddn else f".{format or 'png'}"
    kind = None if ddn else image_format(Path(f"image{suffix}"))
    failures = Failures(how.quiet)
    with opened(archive, failures) as found:
        jobs = plan_records(found, archive, output_dir, suffix, failures)
        done = (run(jobs, Extracting(found, levels), how, failures, force) if kind is None else
                run(jobs, Unpacking(found, levels, kind, model, device, many=len(jobs) > BATCH), how, failures, force))
        for _ in done:
            pass
    raise typer.Exit(failures.exit_code)


def plan_records(archive: Archive, path: Path, output_dir: Path, suffix: str, failures: Failures) -> Jobs:
    """A job for each record that can be read, whose source is the archive's path, # and the number."""
    jobs = Jobs()
    taken: dict[str, Path] = {}
    for block in archive.blocks(lambda error: failures.tell(error.of(path))):
        for number, name in enumerate(block.names, block.first):
            source = Path(f"{path}#{number}")
            with failures.guard(source):
                target = output_dir / (_below(as_text(name), number) + suffix)
                if taken.setdefault(str(target), source) != source:
                    raise OutputExists(f"{taken[str(target)]} would become {target} too")
                jobs.append(source, target)
    return jobs


def _below(name: str, number: int) -> str:
    """The path of a record's file below the outputs' directory. Raises BadMetadata for a name that leads out of it."""
    if not name:
        return f"{number:08}"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise BadMetadata(f"its name, {name}, is none of a file below the directory")
    return str(path)


class Unpacking(Decoding):
    """Records to pictures."""

    verb, doing = "unpack", "unpacking"

    def __init__(self, archive: Archive, levels: int | None, kind: str, model: str | None, device: str, *, many: bool
                 ) -> None:
        super().__init__(model, device, None, levels, False, kind, None, many=many)
        self._archive = archive

    def size(self, source: Path) -> int:
        return self._archive.header.payload_bytes

    def prepare(self, jobs: Jobs) -> bool:
        return self._decoder_of(self.read(jobs[0])).on_cpu

    def read(self, job: Job) -> Found:
        return self._checked(Found(record_of(self._archive, job).packed.stream, None))


class Extracting(Work[bytes, bytes]):
    """Records to .ddn files."""

    verb, doing = "unpack", "unpacking"

    def __init__(self, archive: Archive, levels: int | None) -> None:
        self._archive, self._levels = archive, levels

    def size(self, source: Path) -> int:
        return self._archive.header.payload_bytes

    def read(self, job: Job) -> bytes:
        return container.cut(record_of(self._archive, job).to_bytes(), self._levels)

    def compute(self, items: Sequence[bytes]) -> Sequence[bytes]:
        return items

    def finish(self, job: Job, made: bytes) -> Finished:
        return Finished(made, {"bytes": len(made)})


def record_of(archive: Archive, job: Job) -> Record:
    """The record that a job of `plan_records` is about. Raises DdnError."""
    return archive[int(job.source.name.rpartition("#")[2])]


def extract(
    archive: Set,
    which: Annotated[str, typer.Argument(metavar="NAME|#NUMBER", help="A record's name, or # and its number.")],
    output: options.Output = None,
    force: options.Force = False,
    levels: options.Levels = None,
    model: Model = None,
    device: options.Device = "auto",
) -> None:
    """Write one record of an archive to a file: a picture, or what it is in where the output's suffix is .ddn.

    By default the file has the record's name, or its number, in this folder, and is a PNG.
    """
    failures = Failures()
    output_file, output_dir = destination(output, None)
    with opened(archive, failures) as found:
        record = found[int(which[1:])] if re.fullmatch(r"#\d{1,15}", which) else found.find(which)
        name = PurePosixPath(record.name).name or str(record.number)
        target = output_file or (output_dir or Path()) / f"{name}.png"
        require_free(target, force)
        if target.suffix.lower() == stream_suffix(bare=False):
            data: bytes | memoryview = container.cut(record.to_bytes(), levels)
        else:
            kind = image_format(target)
            decoder = decoder_of(weights_of(record.packed.weights_id, model), device, many=False)
            (picture,) = decoder.to_pictures([record.packed.stream], levels)
            data = picture_bytes(picture, kind)
    if target == STANDARD:
        write_standard(data)
    else:
        with Outputs(force) as outputs:
            outputs.write(target, data)
            outputs.require_published()
    raise typer.Exit(failures.exit_code)
