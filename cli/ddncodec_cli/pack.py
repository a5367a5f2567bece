"""`ddncodec pack`: images and .ddn files into an archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddncodec import container, zoo
from ddncodec.archive import Archive, append_archive, open_archive
from ddncodec.batches import BATCH, halved
from ddncodec.errors import DdnError, OutputExists, UnknownWeights
from ddncodec_cli import completion, options
from ddncodec_cli.archives import SetOut, new_archive
from ddncodec_cli.jobs import (
    Failures,
    Job,
    Jobs,
    coder_of,
    expand,
    identities,
    read_bytes,
    read_picture,
    require_free,
    require_other,
    stream_suffix,
)
from ddncodec_cli.running import Finished, Work, run, to_do

if TYPE_CHECKING:
    from ddncodec.images import Picture
    from ddncodec.weights import WeightsInfo

KEPT_IN_FILES = {"icc": "a colour profile, without which colours may differ", "comment": "a comment"}


@options.running
def pack(
    inputs: options.Inputs,
    output: SetOut,
    recursive: options.Recursive = False,
    append: Annotated[
        bool, typer.Option("--append", help="Go on with the archive that is there, or begin it. It grows in its place, "
                                            "and what is written stays, whatever ends the command.")
    ] = False,
    force: options.Force = False,
    levels: options.Levels = None,
    effort: options.Effort = None,
    model: Annotated[
        str | None, typer.Option(autocompletion=completion.models, help="What images are encoded by; by default as the "
                                                                        "archive's others or the first .ddn file.")
    ] = None,
    with_names: Annotated[bool, typer.Option("--names/--no-names", help="Keep the files' names.")] = True,
    device: options.Device = "auto",
    *,
    how: options.Running,
) -> None:
    """Put images and .ddn files into one archive, in which each takes little more than its picks.

    Images are encoded. Files of the same weights go in as they are, cut to the levels of the archive; profiles and
    comments are not kept. Names are those of the files without suffix, below a folder with the path.
    """
    if force and append:
        raise typer.BadParameter("--force makes a new archive, and --append goes on with the old one")
    if how.skip_existing and not append:
        raise typer.BadParameter("--skip-existing is for --append: it leaves out what the archive has")
    failures = Failures(how.quiet)
    if not append:
        require_free(output, force)
    named = list_named(inputs, recursive, with_names, failures)
    require_other(output, identities(map(Path, named.values())))
    weights_id = None
    if append and isfile(output):
        with open_archive(output) as archive:
            weights_id = archive.header.weights_id
            named = new_to(archive, named, how.skip_existing, failures) if with_names else named
    elif named:
        weights_id = stated_weights(Path(next(iter(named.values()))))
    work = Packing(model, weights_id, levels, effort, device)
    jobs = Jobs(Job(Path(source), None) for source in named.values())
    if how.dry_run or not jobs:
        jobs = to_do(jobs, how, failures, force, work.verb)
        raise typer.Exit(failures.exit_code)
    lost: Counter[str] = Counter()
    names = iter(named.items())
    with append_archive(output, levels) if append else new_archive(output, force, levels) as writer:
        for done in run(jobs, work, how, failures):
            name = next(name for name, source in names if source == str(done.job.source))
            with failures.guard(done.job.source):
                assert done.data is not None  # as the job has no target
                packed = container.packed_from_bytes(done.data)
                lost.update(what for what in KEPT_IN_FILES if getattr(packed, what) is not None)
                writer.add_packed(packed, name if with_names else "")
        if not len(writer) and failures.exit_code:
            raise typer.Exit(failures.exit_code)  # and there is no archive
    for what, count in lost.items():
        failures.note(f"{count:,} files have {KEPT_IN_FILES[what]}, which an archive does not keep")
    raise typer.Exit(failures.exit_code)


def list_named(inputs: Sequence[Path], recursive: bool, with_names: bool, failures: Failures) -> dict[str, str]:
    """The inputs by their names, each of its own; by their paths where none are to be kept."""
    named: dict[str, str] = {}
    for folder, sources in expand(inputs, recursive, _takes, failures):
        for source in sources:
            with failures.guard(Path(source)):
                path = Path(source)
                below = path.relative_to(folder) if folder else Path(path.name)
                name = str(below.with_suffix("") if _takes(below.name) else below)
                name = name if with_names else source
                if name in named:
                    raise OutputExists(f"{named[name]} has the name {name} too")
                named[name] = source
    return named


def _takes(name: str) -> bool:
    from ddncodec.images import READ_SUFFIXES

    suffix = Path(name).suffix.lower()
    return suffix == stream_suffix(bare=False) or suffix in READ_SUFFIXES


def new_to(archive: Archive, named: dict[str, str], skip: bool, failures: Failures) -> dict[str, str]:
    """Those inputs whose names an archive does not have; the others are skipped, or else failures."""
    new = {}
    for name, source in named.items():
        with failures.guard(Path(source)):
            if archive.number_of(name) is None:
                new[name] = source
            elif not skip:
                raise OutputExists(f"the archive has a record named {name}; --skip-existing leaves such inputs out")
    if skip and len(new) < len(named):
        failures.note(f"{len(named) - len(new):,} inputs are in the archive already and are skipped")
    return new


def is_stream(source: Path) -> bool:
    """Whether an input is a .ddn file; a pipe by its name alone."""
    if source.suffix.lower() == stream_suffix(bare=False) or not isfile(source):
        return source.suffix.lower() == stream_suffix(bare=False)
    with suppress(DdnError):
        return read_bytes(source, len(container.MAGIC) - 1) == container.MAGIC
    return False


def stated_weights(source: Path) -> bytes | None:
    """The id of the weights of a .ddn file, if it is a file and a good one."""
    with suppress(DdnError):
        if isfile(source) and is_stream(source):
            return container.packed_from_bytes(read_bytes(source, container.MAX_FILE)).weights_id
    return None


class Packing(Work["bytes | Picture", bytes]):
    """Pictures and .ddn files to .ddn files.

    model: what pictures are encoded by; None: the weights of an id, or the default where that is None, too.
    """

    verb, doing, resume = "pack", "packing", "the same command with --append --skip-existing goes on"

    def __init__(self, model: str | None, weights_id: bytes | None, levels: int | None, effort: int | None, device: str
                 ) -> None:
        self._levels, self._effort = levels, effort
        self._info = cache(lambda: _encoding_weights(model, weights_id))
        self._coder = cache(lambda: coder_of(self._info(), device, many=True))

    def prepare(self, jobs: Jobs) -> bool:
        return all(is_stream(job.source) for job in jobs[:BATCH]) or self._coder().on_cpu

    def read(self, job: Job) -> bytes | Picture:
        if is_stream(job.source):
            return read_bytes(job.source, container.MAX_FILE)
        return read_picture(job.source, resolution=self._info().config.resolution)

    def compute(self, items: Sequence[bytes | Picture]) -> list[bytes | DdnError]:
        pictures = [item for item in items if not isinstance(item, bytes)]
        encoded = iter(halved(pictures, self._encode) if pictures else ())
        return [item if isinstance(item, bytes) else next(encoded) for item in items]

    def _encode(self, pictures: Sequence[Picture]) -> list[bytes | DdnError]:
        from ddncodec.encoding import Request, encode_pictures

        try:
            found = encode_pictures([self._coder()], pictures, Request(self._levels, self._effort))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return [one if isinstance(one, DdnError) else one.data for one in found]

    def finish(self, job: Job, made: bytes) -> Finished:
        return Finished(made, {"bytes": len(made)})


def _encoding_weights(model: str | None, weights_id: bytes | None) -> WeightsInfo:
    if model is not None or weights_id is None:
        return zoo.find(model or zoo.DEFAULT)
    info = zoo.find_id(weights_id)
    if info.id != weights_id:
        raise UnknownWeights(f"{info.name} decodes what the weights {weights_id.hex()} made, but does not make it: "
                             "begin another archive")
    return info
