"""The pictures of a folder, an archive, WebDataset shards or an array file, one by one. Nothing in them is trusted."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ddncodec.errors import DataMissing, DdnError, UnreadableImage
from ddncodec.files import open_input
from ddncodec.images import READ_SUFFIXES, Pixels, read_picture

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_MEMBER = 2**28  # bytes of one picture's file in an archive
BROKEN = (OSError, EOFError, ValueError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError,
          NotImplementedError, RuntimeError)  # what reading a damaged archive raises


class Entry(NamedTuple):
    """A picture's name, and its pixels (H, W, 3) or why they cannot be read."""

    name: str
    content: Pixels | DdnError


def pictures(data: str) -> Iterator[Entry]:
    """Everything at a path that should be a picture, in an order that is always the same.

    A folder and those below it; a zip or tar archive; WebDataset shards (a pattern in braces); an .npz file, of
    which the largest uint8 array (N, H, W), (N, H, W, 1 or 3), (N, 3, H, W) or, as CIFAR's, (N, 3072) is taken; an
    IDX file as MNIST's, also gzipped. Raises InputMissing, DataMissing where there is no such thing.
    """
    path = Path(data)
    name = path.name.lower()
    if "{" in data:
        return _shards(data)
    if path.is_dir():
        return _folder(path)
    open_input(path).close()
    if name.endswith(ARCHIVE_SUFFIXES):
        return _zip(path) if name.endswith(".zip") else _tar(path)
    if name.endswith(".npz"):
        return _rows(_npz(path))
    if name.removesuffix(".gz").endswith("-ubyte"):
        return _rows(_idx(path))
    raise DataMissing(f"{data} is not a folder, nor {', '.join(ARCHIVE_SUFFIXES)}, .npz or IDX (…-ubyte)")


def listing(data: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the files that `pictures` would read: what says whether they are the same."""
    path = Path(data)
    files = [Path(shard) for shard in _expand(data)] if "{" in data else _image_files(path) if path.is_dir() else [path]
    states = [(str(file), file.stat()) for file in files if file.exists()]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_picture(path.name))


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in READ_SUFFIXES


def _folder(folder: Path) -> Iterator[Entry]:
    for path in _image_files(folder):
        try:
            with open_input(path) as file:
                yield Entry(str(path), read_picture(file).pixels)
        except DdnError as error:
            yield Entry(str(path), error)


def _zip(path: Path) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                if _is_picture(member.filename):
                    try:
                        with archive.open(member) as file:
                            data = file.read(MAX_MEMBER + 1)
                    except BROKEN as error:  # this member alone
                        yield Entry(member.filename, UnreadableImage(f"it cannot be unpacked: {error}"))
                    else:
                        yield _decoded(member.filename, data)
    except (zipfile.BadZipFile, OSError) as error:
        yield Entry(str(path), UnreadableImage(f"the archive is damaged: {error}"))


def _tar(path: Path) -> Iterator[Entry]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and _is_picture(member.name) else None
                if file is not None:
                    yield _decoded(member.name, file.read(MAX_MEMBER + 1))
    except BROKEN as error:  # nothing can be found behind the damage
        yield Entry(str(path), UnreadableImage(f"the archive is damaged: {error}"))


def _expand(pattern: str) -> list[str]:
    """The shards of a pattern such as train-{000..127}.tar."""
    if not find_spec("webdataset"):
        raise DataMissing("WebDataset shards want the package webdataset: pip install webdataset")
    from webdataset.shardlists import expand_urls

    return list(expand_urls(pattern))


def _shards(pattern: str) -> Iterator[Entry]:
    shards = _expand(pattern)
    for shard in shards:
        open_input(Path(shard)).close()

    def samples() -> Iterator[Entry]:
        from webdataset import WebDataset

        damaged: list[Exception] = []

        def note(error: Exception) -> bool:
            damaged.append(error)
            return True

        for sample in WebDataset(shards, shardshuffle=False, handler=note, empty_check=False):
            for suffix, data in sample.items():
                if _is_picture(f"x.{suffix}"):
                    yield _decoded(f"{sample['__url__']}:{sample['__key__']}.{suffix}", data)
        for error in damaged:
            yield Entry(pattern, UnreadableImage(f"a shard is damaged: {error}"))

    return samples()


def _decoded(name: str, data: bytes) -> Entry:
    try:
        if len(data) > MAX_MEMBER:
            raise UnreadableImage(f"its file has more than {MAX_MEMBER:,} bytes")
        return Entry(name, read_picture(BytesIO(data)).pixels)
    except DdnError as error:
        return Entry(name, error)


def _rows(array: npt.NDArray[np.uint8]) -> Iterator[Entry]:
    """The pictures of an array (N, H, W) or (N, H, W, 3)."""
    for number, row in enumerate(array):
        yield Entry(str(number), row if row.ndim == 3 else row[:, :, None].repeat(3, 2))


def _npz(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {member.filename: _header(archive, member) for member in archive.infolist()}
        found = {name: header for name, header in headers.items()
                 if header.dtype == np.uint8 and _channels_last(header) is not None}
        if not found:
            raise DataMissing(f"{path} holds no uint8 array of pictures")
        name = max(found, key=lambda name: found[name].size)
        with np.load(path, allow_pickle=False) as arrays:
            rows = _channels_last(arrays[name.removesuffix(".npy")])
    except BROKEN as error:
        raise DataMissing(f"{path} is damaged: {error}") from None
    assert rows is not None
    return rows


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """An array like a member, but without its memory; what is no plain array is empty.

    A header that promises more than the member holds is refused, since reading would allocate it.
    """
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            return np.empty(0)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            return np.empty(0)
        if member.file_size - file.tell() != dtype.itemsize * np.prod(shape, dtype=np.float64):
            raise ValueError(f"{member.filename} is not as long as its header says")
    return np.broadcast_to(np.zeros((), dtype), shape)


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Pictures as (N, H, W) or (N, H, W, 3), whichever way an array holds them."""
    match array.shape:
        case (_, _, _) | (_, _, _, 3):
            return array
        case (_, _, _, 1):
            return array[..., 0]
        case (_, 3, _, _):
            return array.transpose(0, 2, 3, 1)
        case (_, 3072):
            return array.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        case _:
            return None


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    """IDX: 0, 0, 8 for unsigned bytes, the number of dimensions, each of them in 4 bytes, and the bytes."""
    file: BinaryIO | gzip.GzipFile
    try:
        with gzip.open(path) if path.suffix == ".gz" else open_input(path) as file:
            zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            if (zero, kind) != (0, 8) or dimensions != 3:
                raise ValueError("it holds no grey pictures of 8 bits")
            size = shape[0] * shape[1] * shape[2]
            data = b"".join(iter(lambda: file.read(2**24), b""))
        if len(data) != size:
            raise ValueError(f"it holds {len(data):,} bytes of pictures, where its header says {size:,}")
    except BROKEN as error:
        raise DataMissing(f"{path} is not an IDX file of pictures: {error}") from None
    return np.frombuffer(data, np.uint8).reshape(shape)
