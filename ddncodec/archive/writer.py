"""Writing archives: records are appended, and what is there is never written again. Needs neither torch nor numpy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from ddncodec.archive.format import MAX_NAME, Entry, Header, pack_block, pack_index
from ddncodec.archive.reader import Archive, as_bytes
from ddncodec.container import Packed, check_size, packed_from_bytes
from ddncodec.errors import (
    AbsurdSize,
    BadMetadata,
    DdnError,
    OutputExists,
    OutputFailed,
    PayloadLength,
    Truncated,
    UnknownWeights,
)
from ddncodec.files import put_on_disk
from ddncodec.latent import check_payload, cut_payload

RECORDS = 1_024  # of a block
BLOCK_AIM = 2**20  # bytes of a block of long records, which has fewer
FEWEST = 128  # records, for what a block costs beyond them
INDEXED = 1_024  # blocks of an index


class ArchiveWriter:
    """Appends records to an archive; `append_archive` makes one.

    Records are written a block at a time. Those of the last block, and the index, are written by `close`: without it
    the archive holds all whole blocks.

    Attributes:
        header: What all records have in common; None until the first one says it.

    Args:
        file: Open for writing bytes, where the next block is to be; it need not seek.
        levels: How many levels each record has; None: as many as the first one.
        archive: What the file holds already; None: nothing.

    Examples:
        >>> import ddncodec, io
        >>> from ddncodec.container import Packed
        >>> file = io.BytesIO()
        >>> writer = ddncodec.ArchiveWriter(file)
        >>> writer.add_packed(Packed(weights_id=b"1234", width=64, height=64, k=2, levels=16, payload=b"ab"), "a")
        >>> writer.close()
        >>> ddncodec.Archive(file).find("a").packed.payload
        b'ab'
    """

    def __init__(self, file: BinaryIO, levels: int | None = None, archive: Archive | None = None) -> None:
        self._file, self._levels = file, levels
        self.header = archive.header if archive else None
        self._offset, self._number, self._previous = 0, 0, 0
        self._entries: list[Entry] = []  # of blocks that no index lists
        if archive:
            self._offset, self._number, self._previous = archive.end, len(archive), archive.last_index
            self._entries = unlisted(archive)
        self._broken = False
        self._payloads: list[bytes] = []
        self._sizes: list[tuple[int, int]] = []
        self._names: list[bytes] = []

    def __len__(self) -> int:
        """How many numbers are taken: the number of the next record."""
        return self._number + len(self._payloads)

    def add(self, data: bytes, name: str = "") -> None:
        """Append an image.

        Args:
            data: Its .ddn file, made with the weights of all others, of as many levels or more: it is cut. Its colour
                profile and comment are not kept.
            name: Any text of at most 4,096 bytes of UTF-8 without a null character; "" for none. Names need not differ.

        Returns:
            Nothing: the number of the record is the length before.

        Raises:
            UnknownWeights: It was made with other weights.
            PayloadLength: It has fewer levels.
            BadMetadata, AbsurdSize: The archive cannot have such a name.
            OutputFailed: The archive cannot be written.
            DdnError: The file is damaged or none; docs/format.md lists the kinds.
        """
        self.add_packed(packed_from_bytes(data), name)

    def add_packed(self, packed: Packed, name: str = "") -> None:
        """Append what a .ddn file holds; see `add`."""
        check_size(packed.width, packed.height)
        check_payload(packed.payload, packed.k, packed.levels)
        if b"\0" in (stored := as_bytes(name)):
            raise BadMetadata("a name with a null character")
        if len(stored) > MAX_NAME:
            raise AbsurdSize(f"a name of {len(stored):,} bytes; the limit is {MAX_NAME:,}")
        header = self.header or Header(packed.weights_id, packed.k, self._levels or packed.levels)
        if (packed.weights_id, packed.k) != (header.weights_id, header.k):
            raise UnknownWeights(f"it was made with the weights {packed.weights_id.hex()}, K = {packed.k:,}, and the "
                                 f"archive is of {header.weights_id.hex()}, K = {header.k:,}")
        if packed.levels < header.levels:
            raise PayloadLength(f"it has {packed.levels:,} levels, and the archive's records have {header.levels:,}")
        self.header = header
        self._payloads.append(cut_payload(packed.payload, packed.k, packed.levels, header.levels))
        self._sizes.append((packed.width, packed.height))
        self._names.append(stored)
        if len(self._payloads) >= max(FEWEST, min(RECORDS, BLOCK_AIM // header.payload_bytes)):
            self._write_block(header)

    def close(self) -> None:
        """Write what is left, and the index; nothing after a write that failed; see `append_archive`."""
        if self._broken or not self.header:
            return
        if self._payloads:
            self._write_block(self.header)
        if self._entries:
            self._write_index()

    def _write_block(self, header: Header) -> None:
        block = pack_block(header, self._number, self._payloads, self._sizes, self._names)
        if not self._offset:
            self._write(header.pack() + block)
        else:
            self._write(block)
        entry = Entry(self._offset - len(block), self._number, len(self._payloads), *name_range(self._names))
        self._entries.append(entry)
        self._number += len(self._payloads)
        self._payloads, self._sizes, self._names = [], [], []
        if len(self._entries) >= INDEXED:
            self._write_index()

    def _write_index(self) -> None:
        """List all blocks that no index lists: whoever finds an index looks for no others before it."""
        offset = self._offset
        self._write(pack_index(self._entries, self._previous, offset))
        self._previous, self._entries = offset, []

    def _write(self, data: bytes) -> None:
        self._broken = True  # until it is written: whatever ends this leaves no more than a part at the end
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise OutputFailed(f"the archive cannot be written: {error.strerror}") from None
        self._offset += len(data)
        self._broken = False


@contextmanager
def append_archive(path: str | PathLike[str], levels: int | None = None) -> Iterator[ArchiveWriter]:
    """Append to a .ddns archive, or begin one; needs neither torch nor weights.

    The file grows in its place. Whatever ends the process, all blocks that were written by then can be read, and
    `append_archive` goes on behind them; what an earlier one left unfinished at the end is cut off.

    Args:
        path: The file; there is none afterwards if there was none and nothing was added.
        levels: How many levels each record has, 1 or more; None: as many as those that are there, or the first one.

    Returns:
        For `with`: what appends; the block's end closes it.

    Raises:
        PayloadLength: The archive that is there has other levels.
        OutputExists: Another process appends to it.
        OutputFailed: It cannot be written.
        DdnError: What is there is no archive; docs/format.md lists the kinds.

    Examples:
        >>> import ddncodec, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> for part in range(2):
        ...     with ddncodec.append_archive(f"{folder.name}/set.ddns", levels=576) as writer:
        ...         for image in ddncodec.sample(2, seed=part):
        ...             writer.add(ddncodec.encode(image.pixels))
        >>> with ddncodec.open_archive(f"{folder.name}/set.ddns") as archive:
        ...     print(len(archive), archive.header.levels)
        4 576
    """
    path = Path(path)
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputFailed(f"cannot write {path}: {error.strerror}") from None
    with file:
        with suppress(OSError):  # of a file system that knows no locks
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputExists("another process is at work in it", path) from None
        archive = None
        with suppress(Truncated):  # within its header: a first write that broke off, or none yet
            archive = Archive(file)
        if archive and levels not in (None, archive.header.levels):
            raise PayloadLength(f"its records have {archive.header.levels:,} levels, not {levels:,}", path)
        writer = ArchiveWriter(file, levels, archive)
        file.truncate(archive.end if archive else 0)
        file.seek(0, os.SEEK_END)
        try:
            yield writer
        finally:
            writer.close()
            if writer.header is None:
                path.unlink()
            else:
                put_on_disk(file)


def unlisted(archive: Archive) -> list[Entry]:
    """The entries of an archive's blocks that no index lists, with the range of their names where these can be read."""
    entries = []
    for place, entry in enumerate(archive.entries):
        if entry.offset > archive.last_index:
            with suppress(DdnError):
                entry = Entry(entry.offset, entry.first, entry.records, *name_range(list(archive.names_of(place))))
            entries.append(entry)
    return entries


def name_range(names: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The lowest and the highest of a block's names, of those that have one."""
    named = [name for name in names if name]
    return (min(named), max(named)) if named else (b"", b"")
