"""The pictures of a folder, an archive, WebDataset shards or an array file, one by one. Nothing in them is trusted."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

import numpy as np

from ddncodec.errors import DataMissing, DdnError, UnreadableImage, memory_errors, reason
from ddncodec.files import open_input
from ddncodec.images import READ_SUFFIXES, Picture, Pixels, check_size, fit, read_picture
from ddncodec.listing import Listing, leave_out, list_files
from ddncodec.tar import MAX_MEMBER, TAR_SUFFIXES, Tar, damage, is_tar

Read = Callable[[BinaryIO], Picture]


class Entry(NamedTuple):
    """A picture's name, its pixels (H, W, 3) or why they cannot be read, and its class where that is known."""

    name: str
    content: Pixels | DdnError
    label: int | None = None


def pictures(data: str, skipped: Counter[str] | None = None, resolution: int | None = None) -> Iterator[Entry]:
    """Everything at a path that should be a picture, in an order that is always the same.

    skipped: counts how many files of folders and archives are left out, by why; see `list_files`. resolution: fit the
    pictures to so many pixels a side, as `read_picture` does; None leaves them at their own sizes.

    A folder and those below it, or a folder of tars; a zip or tar archive; WebDataset shards (a pattern in braces);
    an .npz file, of which the largest uint8 array (N, H, W), (N, H, W, 1 or 3), (N, 3, H, W) or, as CIFAR's,
    (N, 3072) is taken; an IDX file as MNIST's, also gzipped. Raises InputMissing, DataMissing where there is no such
    thing, or no picture in it. Memory does not grow with the number of pictures, but for their names.

    A folder that has all of its pictures in several folders has a class for each of those, in the order of their
    names; an IDX file's classes are in the file whose name says labels-idx1 for its images-idx3.
    """
    skipped = Counter() if skipped is None else skipped
    found = _files(data)
    skipped.update(found.skipped)
    files = found.files
    classes = _classes(Path(data), files)
    anything = bool(found.unreadable)
    for file in files:
        for entry in _entries(file, skipped, partial(read_picture, resolution=resolution)):
            anything = True
            if resolution and not isinstance(entry.content, DdnError):
                entry = entry._replace(content=fit(entry.content, resolution))  # a row of an array
            yield entry if not classes else entry._replace(label=classes[file.relative_to(data).parts[0]])
    for error in found.unreadable:
        yield Entry(str(error.name), error)
    if not anything:
        raise DataMissing("it holds no picture", data)


def _entries(file: Path, skipped: Counter[str], read: Read) -> Iterator[Entry]:
    """The pictures of one file."""
    if is_tar(file.name):
        return _tar(file, skipped, read)
    if file.name.lower().endswith(".zip"):
        return _zip(file, skipped, read)
    if file.name.lower().endswith(".npz"):
        return _npz(file)
    if _is_idx(file.name):
        return _idx(file)
    return iter([_picture(file, read)])


def _classes(folder: Path, files: list[Path]) -> dict[str, int]:
    """The number of each folder in a folder of several, unless there are pictures or archives beside them."""
    if not os.path.isdir(folder):
        return {}
    places = [file.relative_to(folder).parts for file in files]
    names = sorted({parts[0] for parts in places})
    return {name: number for number, name in enumerate(names)
            if len(names) > 1 and all(len(parts) > 1 for parts in places)}


def listing(data: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the files that `pictures` reads: what says whether they are the same.

    Raises InputMissing, DataMissing as it does.
    """
    files = _files(data).files
    labels = [beside for file in files if (beside := _labels_beside(file))]
    states = [(str(file), file.stat()) for file in [*files, *labels] if file.exists()]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def _files(data: str) -> Listing:
    """The picture files of a folder, or the archives and array files, that a path means."""
    if os.path.isdir(data):  # unlike a Path's method, false for a name that is too long
        found = list_files(Path(data), _is_picture)
        return found if found.names else list_files(Path(data), is_tar)
    files = _shards(data) if "{" in data and not os.path.exists(data) else [Path(data)]
    for file in files:
        if os.path.exists(file) and not os.path.isfile(file):  # to open a FIFO would wait for its writer
            raise DataMissing("it is not a regular file", file)
        open_input(file).close()
        name = file.name.lower()
        if not (is_tar(name) or name.endswith((".zip", ".npz")) or _is_idx(name)):
            raise DataMissing(f"it is not a folder, nor .zip, {', '.join(TAR_SUFFIXES)}, .npz or IDX (…-ubyte)", file)
    return Listing(list(map(str, files)))


def _shards(pattern: str) -> list[Path]:
    """The files of a pattern such as train-{000..127}.tar.

    The library says which; they are read as other archives, for it would read members of any size, and run what
    follows a `pipe:`.
    """
    if not find_spec("webdataset"):
        raise DataMissing("WebDataset shards want the package webdataset: pip install webdataset")
    from webdataset.shardlists import expand_urls

    try:
        return [Path(shard) for shard in expand_urls(pattern)]
    except ValueError as error:
        raise DataMissing(f"{pattern} is no pattern of shards: {reason(error)}") from None


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in READ_SUFFIXES


def _is_idx(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith("-ubyte")


def _picture(path: Path, read: Read) -> Entry:
    try:
        with memory_errors(), open_input(path) as file:
            return Entry(str(path), read(file).pixels)
    except DdnError as error:
        return Entry(str(path), error)


def _zip(path: Path, skipped: Counter[str], read: Read) -> Iterator[Entry]:
    try:
        with damage("the archive"), zipfile.ZipFile(path) as archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                if not member.is_dir() and not leave_out(member.filename, _is_picture, skipped):
                    name = f"{path}:{member.filename}"
                    try:
                        with damage("the archive's member"), archive.open(member) as file:
                            entry = _decoded(name, file, member.file_size, read)
                    except UnreadableImage as error:  # this one alone
                        entry = Entry(name, error)
                    yield entry
    except DdnError as error:
        yield Entry(str(path), error)


def _tar(path: Path, skipped: Counter[str], read: Read) -> Iterator[Entry]:
    try:
        with damage("the archive"), Tar.open(path) as archive:
            for member in archive:
                if not member.isdir() and not leave_out(member.name, _is_picture, skipped):
                    file = archive.extractfile(member) if member.isfile() else None
                    yield (_decoded(f"{path}:{member.name}", file, member.size, read) if file else
                           Entry(f"{path}:{member.name}", UnreadableImage("it is a link or a device")))
                archive.members = []  # type: ignore[attr-defined]  # it would remember every one
    except DdnError as error:  # nothing can be found behind the damage
        yield Entry(str(path), error)


def _decoded(name: str, file: IO[bytes], size: int, read: Read) -> Entry:
    """The picture in a member of so many bytes."""
    try:
        if size > MAX_MEMBER:
            raise UnreadableImage(f"its file has more than {MAX_MEMBER:,} bytes")
        with memory_errors():
            return Entry(name, read(BytesIO(file.read(size))).pixels)
    except DdnError as error:
        return Entry(name, error)


def _npz(path: Path) -> Iterator[Entry]:
    try:
        with damage("it"), zipfile.ZipFile(path) as archive:
            shapes = {member: shape for member in archive.infolist() if (shape := _npy_shape(archive, member))}
            if not shapes:
                raise UnreadableImage("it holds no uint8 array of pictures, stored row by row")
            member = max(shapes, key=lambda member: prod(shapes[member]))
            with archive.open(member) as file:
                file.seek(member.file_size - prod(shapes[member]))
                yield from _rows(path, file.read, shapes[member])
    except UnreadableImage as error:
        raise DataMissing(f"{path}: {error}") from None


def _npy_shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...] | None:
    """The shape of a member that holds pictures, and as many bytes as its header says; else None."""
    try:
        with archive.open(member) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            whole = member.file_size - file.tell() == prod(shape)
    except Exception:  # numpy raises nearly anything on damaged headers; other members may be well
        return None
    return shape if whole and dtype == np.uint8 and not by_columns and _holds_pictures(shape) else None


def _idx(path: Path) -> Iterator[Entry]:
    """The pictures of an IDX file, and their classes where they lie beside it."""
    beside = _labels_beside(path)
    with _open_idx(path, 3) as (file, shape):
        if not _holds_pictures(shape):
            raise UnreadableImage("it holds no grey pictures of 8 bits")
        if beside is None:
            yield from _rows(path, file.read, shape)
            return
        with _open_idx(beside, 1) as (labels, (count,)):
            if count != shape[0]:
                raise UnreadableImage(f"it holds {shape[0]:,} pictures, where {beside} has classes of {count:,}")
            for entry in _rows(path, file.read, shape):
                yield entry._replace(label=labels.read(1)[0])


def _labels_beside(path: Path) -> Path | None:
    """The file of the classes of an IDX file's pictures, if there is one."""
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    return beside if _is_idx(path.name) and beside != path and beside.exists() else None


@contextmanager
def _open_idx(path: Path, rank: int) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
    """IDX: 0, 0, 8 for unsigned bytes, the number of dimensions, each of them in 4 bytes, and the bytes."""
    try:
        with damage("it"), gzip.open(path) if path.suffix.lower() == ".gz" else open_input(path) as file:
            zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            if (zero, kind, dimensions) != (0, 8, rank):
                raise UnreadableImage(f"it holds no array of bytes with {rank} dimensions")
            start, size = file.tell(), prod(shape)
            file.seek(start + size - 1)  # no further: it may expand to far more
            if len(file.read(2)) != 1:
                raise UnreadableImage(f"it does not hold the {size:,} bytes that its header says")
            file.seek(start)
            yield cast(IO[bytes], file), shape
    except UnreadableImage as error:
        raise DataMissing(f"{path}: {error}") from None


def _holds_pictures(shape: tuple[int, ...]) -> bool:
    match shape:
        case (_, _, _) | (_, _, _, 1 | 3) | (_, 3, _, _) | (_, 3072):
            return prod(shape) > 0
        case _:
            return False


def _rows(path: Path, read: Callable[[int], bytes], shape: tuple[int, ...]) -> Iterator[Entry]:
    """The pictures of an array of bytes, which are read one picture after the other."""
    try:
        height, width = _size(shape[1:])
        check_size(width, height)
    except DdnError as error:  # as every picture is
        yield Entry(str(path), error)
        return
    for number in range(shape[0]):
        name = f"{path}:{number}"
        try:
            with damage("the array"):
                pixels = _channels_last(np.frombuffer(read(prod(shape[1:])), np.uint8).reshape(shape[1:]))
        except DdnError as error:  # nor can those behind it
            yield Entry(name, error)
            return
        yield Entry(name, pixels)


def _size(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of a row of an array."""
    match shape:
        case (3072,):
            return 32, 32
        case (3, height, width) if width not in (1, 3):
            return height, width
        case _:
            return shape[:2]


def _channels_last(row: Pixels) -> Pixels:
    """A picture as (H, W, 3), whichever way a row of an array holds it."""
    match row.shape:
        case (_, _):
            return row[:, :, None].repeat(3, 2)
        case (_, _, 1):
            return row.repeat(3, 2)
        case (_, _, 3):
            return row
        case (3, _, _):
            return row.transpose(1, 2, 0)
        case _:
            return row.reshape(3, 32, 32).transpose(1, 2, 0)
