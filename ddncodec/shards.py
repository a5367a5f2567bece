"""WebDataset shards: tars whose images become .ddn files, or the other way, in memory that does not grow."""

from __future__ import annotations

import copy
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import tee
from pathlib import Path
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO, NamedTuple, TypeAlias

from ddncodec.batches import BATCH
from ddncodec.errors import DdnError, OutputExists, UnreadableImage
from ddncodec.files import open_input
from ddncodec.tar import MAX_MEMBER, Tar, damage

MAX_BATCH = 2**26  # bytes of members in memory

Files: TypeAlias = Callable[[Sequence[bytes]], list[bytes | DdnError]]  # an `Encoder` or a `Decoder`
Map: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # as `map`, in one process or several


class Counts(NamedTuple):
    """What became of a shard: how many members were to be converted, and how many could not be."""

    members: int
    failed: int


class _Member(NamedTuple):
    """A member of a shard.

    header: its name, times and the like. file: what is in it; None for a folder or a link. data: the same, of one
    that is to be converted, or why there is nothing.
    """

    header: tarfile.TarInfo
    file: IO[bytes] | None = None
    data: bytes | DdnError | None = None


def convert(source: Path, target: BinaryIO, takes: Callable[[str], bool], suffix: str, files: Files,
            told: Callable[[str, DdnError], None], advance: Callable[[int], None] = lambda members: None,
            each: Map = map) -> Counts:
    """Write a shard with other files in the place of some; the others and the order stay.

    Args:
        source: The tar to read; its name says how it and the one written are compressed.
        target: Where to write.
        takes: Whether a member of this name is to be converted.
        suffix: Of such members' new names.
        files: What makes files of files.
        told: Of each member that cannot be converted, which then is left out, its name and why.
        advance: Told how many members are converted.
        each: As `map`, which calls `files` for one batch after the other; another may do it elsewhere.

    Returns:
        How many members were to be converted, and could not be.

    Raises:
        InputMissing: There is no such file.
        UnreadableImage: It is no tar, or damaged.
        DdnError, ValueError: As `files`.
    """
    open_input(source).close()
    members = failed = 0
    sample, names = "", set[str]()  # the sample that is being written, and the names in it
    batches, same = tee(_batches(source, takes))
    results = each(files, ([member.data for member in batch if isinstance(member.data, bytes)] for batch in same))
    mode: Any = "w|" + _compression(source.name)
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for batch, result in zip(batches, results, strict=True):
            converted = iter(result)
            before = members
            for header, file, data in batch:
                if _sample(header.name) != sample:
                    sample, names = _sample(header.name), set()
                if data is None:
                    archive.addfile(header, file)
                    names.add(header.name)
                    continue
                members += 1
                name = header.name.rpartition(".")[0] + suffix
                made = next(converted) if isinstance(data, bytes) else data
                if isinstance(made, bytes) and name in names:
                    made = OutputExists(f"another member became {name}")
                if isinstance(made, DdnError):
                    failed += 1
                    told(header.name, made)
                else:
                    archive.addfile(_renamed(header, name, len(made)), BytesIO(made))
                    names.add(name)
            archive.members = []  # type: ignore[attr-defined]  # it would remember every one
            advance(members - before)
    return Counts(members, failed)


def _batches(source: Path, takes: Callable[[str], bool]) -> Iterator[list[_Member]]:
    """The members of a tar, as many at once as memory should hold."""
    batch: list[_Member] = []
    wanted = size = 0
    with damage("the archive"), Tar.open(source) as archive:
        for header in archive:
            member = _read(archive, header, takes)
            batch.append(member)
            wanted, size = wanted + (member.data is not None), size + header.size
            if wanted == BATCH or size >= MAX_BATCH:
                yield batch
                batch, wanted, size = [], 0, 0
            archive.members = []  # type: ignore[attr-defined]  # it would remember every one
        yield batch


def _read(archive: Tar, header: tarfile.TarInfo, takes: Callable[[str], bool]) -> _Member:
    """A member, with what is in it."""
    if header.issparse():  # a few bytes may mean a file of any size
        raise UnreadableImage("it holds a sparse file")
    file = archive.extractfile(header) if header.isfile() else None
    if not takes(header.name):
        return _Member(header, file and _copied(file))
    if file is None:
        return _Member(header, data=UnreadableImage("it is a link or a device"))
    if header.size > MAX_MEMBER:
        return _Member(header, data=UnreadableImage(f"its file has more than {MAX_MEMBER:,} bytes"))
    return _Member(header, data=file.read(header.size))


def _copied(file: IO[bytes]) -> IO[bytes]:
    """A copy of a file, in memory unless it is large."""
    copied = SpooledTemporaryFile(MAX_BATCH)  # noqa: SIM115  # closed when nobody has it any more
    copyfileobj(file, copied)
    copied.seek(0)
    return copied


def _renamed(header: tarfile.TarInfo, name: str, size: int) -> tarfile.TarInfo:
    """The header of another file in a member's place."""
    renamed = copy.copy(header)
    renamed.name, renamed.size = name, size
    renamed.pax_headers = {key: value for key, value in header.pax_headers.items() if key not in ("path", "size")}
    return renamed


def _sample(name: str) -> str:
    """What WebDataset goes by when it puts members together: the name up to the first dot."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _compression(name: str) -> str:
    """How a tar of this name is compressed, as `tarfile` says it."""
    end = name.lower().rpartition(".")[2]
    return {"tgz": "gz", "tar": ""}.get(end, end)
