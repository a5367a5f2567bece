"""Reading archives: by number, by name, or block by block. Needs neither torch nor numpy."""

from __future__ import annotations

import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import pairwise
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from ddncodec import container
from ddncodec.archive.format import (
    BLOCK_BYTES,
    BLOCK_MAGIC,
    END_BYTES,
    HEADER_BYTES,
    INDEX_BYTES,
    INDEX_MAGIC,
    MAX_PART,
    MAX_RECORDS,
    BlockHeader,
    Entry,
    Header,
    IndexHeader,
    index_offset,
    unpack_entries,
    unpack_names,
)
from ddncodec.container import Packed
from ddncodec.errors import ChecksumMismatch, DdnError, InputMissing, RecordMissing, Truncated
from ddncodec.files import open_input

_CACHED = 16  # blocks, or their names, of those that were looked into last
_CHUNK = 2**20  # bytes that are searched at once for the next part, after a damaged one

_PART = re.compile(b"%b|%b" % (re.escape(BLOCK_MAGIC), re.escape(INDEX_MAGIC)))

Complain = Callable[[DdnError], None]


class Record(NamedTuple):
    """One image of an archive.

    number: from 0 on, by which `Archive` has it again. name: "" for none. packed: what its .ddn file would hold.
    """

    number: int
    name: str
    packed: Packed

    def to_bytes(self) -> bytes:
        """The .ddn file. Raises as `Latent.unpack`, and AbsurdSize, where what was stored is no latent or size."""
        return container.packed_to_bytes(self.packed)


class Block:
    """Some consecutive records of an archive, read and checked.

    Attributes:
        first: The number of the first one.
        payloads: Their packed latents, one after the other.

    Args:
        archive: Its header.
        header: The block's.
        body: All that follows the block's header.
    """

    def __init__(self, archive: Header, header: BlockHeader, body: bytes) -> None:
        self._archive, self._header = archive, header
        self.first = header.first
        view = memoryview(body)
        payloads = header.records * archive.payload_bytes
        self.payloads = view[:payloads]
        self._sizes = view[payloads : payloads + header.sizes_bytes()]
        self._names = view[payloads + header.sizes_bytes() :]

    def __len__(self) -> int:
        return self._header.records

    @cached_property
    def names(self) -> list[bytes]:
        """The records' names, b"" for those that have none. Raises BadMetadata, AbsurdSize."""
        return unpack_names(bytes(self._names), len(self))

    def record(self, index: int) -> Record:
        """Its record at this place, 0 for the first. Raises as `names`."""
        archive, size = self._archive, self._archive.payload_bytes
        payload = bytes(self.payloads[index * size : (index + 1) * size])
        width, height = self._header.size(self._sizes, index)
        return Record(self.first + index, as_text(self.names[index]),
                      Packed(archive.weights_id, width, height, archive.k, archive.levels, payload))

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, range(len(self)))


class Archive:
    """A .ddns archive, open for reading; `open_archive` makes one. It is a sequence of records, and a context manager.

    Attributes:
        header: What all records have in common: weights id, K and levels.
        damage: What was found damaged when it was opened; the rest can be read. Blocks that are damaged inside are
            told when they are read.
        end: Where its last whole part ends, in bytes.
        last_index: Where its last whole index begins; 0 where there is none. Blocks behind it are of an append that
            did not come to its end.

    Args:
        file: Open for reading bytes, from its beginning on; it can seek.

    Raises:
        DdnError: The file is no archive; docs/format.md lists the kinds.

    Examples:
        >>> import ddncodec, io
        >>> ddncodec.Archive(io.BytesIO(b"GIF89a"))
        Traceback (most recent call last):
            ...
        ddncodec.errors.BadMagic: not a .ddns archive: it starts with 47 49 46 38, not dd 44 4e 53
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._descriptor: int | None = None  # of a file that forks of this process can read, too
        with suppress(OSError):
            self._descriptor = file.fileno()
        try:
            self.bytes = file.seek(0, os.SEEK_END)
        except OSError:
            raise InputMissing("an archive is read from a file, not from a pipe") from None
        self.header = Header.unpack(self._read(0, HEADER_BYTES))
        self.damage: list[DdnError] = []
        self.last_index, self.end = 0, HEADER_BYTES
        self.entries = self._find_blocks()
        self._firsts = [entry.first for entry in self.entries]
        self._block = lru_cache(_CACHED)(self._read_block)
        self.names_of = lru_cache(_CACHED)(self._read_names)

    def __len__(self) -> int:
        """How many numbers are taken: those of damaged records too."""
        return self.entries[-1].first + self.entries[-1].records if self.entries else 0

    @property
    def is_closed(self) -> bool:
        """Whether the last append came to its end."""
        return self.end == self.bytes and all(entry.offset < self.last_index for entry in self.entries[-1:])

    def __getitem__(self, number: int) -> Record:
        """The record of a number, from 0 on. Raises RecordMissing, and DdnError where its block is damaged."""
        place = bisect_right(self._firsts, number) - 1
        if not 0 <= number < len(self):
            raise RecordMissing(f"there is no record {number:,}: it has {len(self):,}")
        entry = self.entries[max(place, 0)]
        if not entry.first <= number < entry.first + entry.records:
            raise RecordMissing(f"record {number:,} is lost: it was where the archive is damaged")
        return self._block(place).record(number - entry.first)

    def __iter__(self) -> Iterator[Record]:
        for block in self.blocks():
            yield from block

    def find(self, name: str) -> Record:
        """The first record of a name.

        Reads the names of the blocks alone whose range of names has it: one, where records were added in the order of
        their names.

        Args:
            name: As it was given to `ArchiveWriter.add`.

        Returns:
            The record.

        Raises:
            RecordMissing: No record has it.
            DdnError: A block that may have it is damaged.
        """
        if (number := self.number_of(name)) is None:
            raise RecordMissing(f"there is no record named {name}")
        return self[number]

    def number_of(self, name: str) -> int | None:
        """The number of the first record of a name, or None; see `find`."""
        wanted = as_bytes(name)
        if not wanted:
            return None
        for place, (_, first, _, lowest, highest) in enumerate(self.entries):
            if lowest <= wanted <= highest and (index := self.names_of(place).get(wanted)) is not None:
                return first + index
        return None

    def blocks(self, complain: Complain | None = None) -> Iterator[Block]:
        """All whole blocks, in the order of their numbers.

        Args:
            complain: What is told of a damaged one, which is left out. None: it is raised.

        Returns:
            Each of them once it is read and checked.

        Raises:
            DdnError: A block is damaged, and nobody is told.
        """
        for place in range(len(self.entries)):
            try:
                block = self._read_block(place)
            except DdnError as error:
                if complain is None:
                    raise
                complain(error)
            else:
                yield block

    def close(self) -> None:
        """Close the file, whose archive this is; see `open_archive`."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    # Blocks.

    def _read_block(self, place: int) -> Block:
        entry, header = self.entries[place], self._block_header(place)
        body = self._read(entry.offset + BLOCK_BYTES, header.body_bytes(self.header))
        if zlib.crc32(body) != header.crc:
            raise self._damaged(entry, ChecksumMismatch("its CRC32 does not match"))
        block = Block(self.header, header, body)
        try:
            _ = block.names  # now, so that whoever has a block can have its records
        except DdnError as error:
            raise self._damaged(entry, error) from None
        return block

    def _read_names(self, place: int) -> dict[bytes, int]:
        """Each name's first place in a block; what else it holds is not read."""
        entry, header = self.entries[place], self._block_header(place)
        offset = entry.offset + BLOCK_BYTES + header.body_bytes(self.header) - header.names
        try:
            names = unpack_names(self._read(offset, header.names), header.records)
        except DdnError as error:
            raise self._damaged(entry, error) from None
        return {name: index for index, name in reversed(list(enumerate(names)))}

    def _block_header(self, place: int) -> BlockHeader:
        entry = self.entries[place]
        header = BlockHeader.unpack(self._read(entry.offset, BLOCK_BYTES))
        if header is None or (header.first, header.records) != (entry.first, entry.records):
            raise self._damaged(entry, ChecksumMismatch("its header is not what it was"))
        body = header.body_bytes(self.header)
        if body > MAX_PART or entry.offset + BLOCK_BYTES + body > self.bytes:
            raise self._damaged(entry, Truncated("it is longer than can be"))
        return header

    @staticmethod
    def _damaged(entry: Entry, error: DdnError) -> DdnError:
        last = entry.first + entry.records - 1
        return type(error)(f"the block of records {entry.first:,} to {last:,}, at byte {entry.offset:,}, is damaged: "
                           f"{error.reason}")

    # Finding the blocks: by the indexes, from the last one back, and behind the last one, or without it, one by one.

    def _find_blocks(self) -> list[Entry]:
        """The entries of all blocks that can be found; `damage`, `end` and `last_index` say the rest."""
        last = index_offset(self._read(max(0, self.bytes - END_BYTES), END_BYTES)) or 0
        if entries := self._listed(last, self.bytes):
            self.last_index, self.end = last, self.bytes
            return entries
        parts = list(self._parts())
        if parts and parts[-1].block and not self._is_whole(parts[-1].offset, parts[-1].block):
            parts.pop()  # a write that did not come to its end
        places = [place for place, part in enumerate(parts) if not part.block]
        if places and (entries := self._listed(*parts[places[-1]][:2])):
            self.last_index, self.end, _ = parts[places[-1]]
            parts = parts[places[-1] + 1 :]
        number = entries[-1].first + entries[-1].records if entries else 0
        for offset, end, block in parts:
            entry = Entry(offset, block.first, block.records) if block else Entry(offset, number, 0)
            if entry.first < number or not self._possible(entry):
                continue  # not one of the archive's, and so told with what is damaged around it
            if offset > self.end:
                lost = f": records {number:,} to {entry.first - 1:,} are lost" if entry.first > number else ""
                self.damage.append(ChecksumMismatch(f"bytes {self.end:,} to {offset - 1:,} are damaged{lost}"))
            if block:
                entries.append(entry)
            number, self.end = entry.first + entry.records, end
        if self.end < self.bytes:
            self.damage.append(Truncated(f"the last append broke off: the {self.bytes - self.end:,} bytes after byte "
                                         f"{self.end:,} are no whole block"))
        return entries

    def _listed(self, offset: int, end: int) -> list[Entry]:
        """The entries of the index that begins and ends there, and of all before it; none where one is not whole."""
        parts: list[list[Entry]] = []
        while HEADER_BYTES <= offset < end:
            index = IndexHeader.unpack(self._read(offset, INDEX_BYTES))
            if index is None or index.length > MAX_PART or (not parts and offset + index.bytes != end):
                return []
            try:
                parts.append(unpack_entries(index, self._read(offset + INDEX_BYTES, index.length)))
            except DdnError:
                return []
            end, offset = offset, index.previous
        entries = [entry for part in reversed(parts) for entry in part]
        followed = all(one.offset + BLOCK_BYTES <= other.offset and one.first + one.records <= other.first
                       for one, other in pairwise(entries))
        sane = all(0 < entry.records <= MAX_RECORDS and self._possible(entry) for entry in entries)
        return entries if not offset and followed and sane else []

    def _possible(self, entry: Entry) -> bool:
        """Whether a block may be there: all records before it, lost ones too, have had their bytes."""
        return entry.first * self.header.payload_bytes <= entry.offset < self.bytes

    def _parts(self) -> Iterator[_Part]:
        """All blocks and indexes that fit, by their headers."""
        position = HEADER_BYTES
        while position < self.bytes:
            start = self._read(position, BLOCK_BYTES)
            block, index = BlockHeader.unpack(start), IndexHeader.unpack(start)
            length = block.body_bytes(self.header) + BLOCK_BYTES if block else index.bytes if index else self.bytes
            if position + length <= self.bytes and length <= MAX_PART:
                yield _Part(position, position + length, block)
                position += length
            else:
                position = self._next_part(position + 1)

    def _next_part(self, position: int) -> int:
        """Where the next block or index seems to begin, from here on; the archive's end where none does."""
        while position < self.bytes:
            chunk = self._read(position, _CHUNK)
            if found := _PART.search(chunk):
                return position + found.start()
            position += max(1, len(chunk) - len(BLOCK_MAGIC) + 1)
        return self.bytes

    def _is_whole(self, offset: int, header: BlockHeader) -> bool:
        return zlib.crc32(self._read(offset + BLOCK_BYTES, header.body_bytes(self.header))) == header.crc

    def _read(self, offset: int, count: int) -> bytes:
        """Bytes of the file, fewer at its end. Raises InputMissing."""
        try:
            if self._descriptor is not None:
                return os.pread(self._descriptor, count, offset)
            self._file.seek(offset)
            return self._file.read(count)
        except OSError as error:
            raise InputMissing(f"cannot be read: {error.strerror}") from None


class _Part(NamedTuple):
    """Where a block or an index, whose `block` is None, begins and ends."""

    offset: int
    end: int
    block: BlockHeader | None


def open_archive(path: str | PathLike[str]) -> Archive:
    """Open a .ddns archive for reading; needs neither torch nor weights.

    Args:
        path: The file.

    Returns:
        The archive, to be closed or used by `with`.

    Raises:
        InputMissing: There is no such file, or it may not be read.
        DdnError: It is no archive; docs/format.md lists the kinds. Damage behind its header is no error here:
            `Archive.damage` tells it.

    Examples:
        >>> import ddncodec, numpy as np, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with ddncodec.append_archive(f"{folder.name}/set.ddns") as writer:
        ...     for name, grey in (("black", 0), ("white", 255)):
        ...         writer.add(ddncodec.encode(np.full((48, 64), grey, np.uint8)), name)
        >>> with ddncodec.open_archive(f"{folder.name}/set.ddns") as archive:
        ...     print(len(archive), [record.name for record in archive], archive.header.levels)
        ...     image = ddncodec.decode(archive.find("white").to_bytes())
        2 ['black', 'white'] 1152
        >>> image.shape, bool(image.mean() > 200)
        ((48, 64, 3), True)
    """
    file = open_input(Path(path))
    try:
        return Archive(file)
    except BaseException:
        file.close()
        raise


def as_bytes(name: str) -> bytes:
    """A name as an archive has it: UTF-8; of a file whose name is none, its own bytes."""
    return name.encode("utf-8", "surrogateescape")


def as_text(name: bytes) -> str:
    """The inverse of `as_bytes`."""
    return name.decode("utf-8", "surrogateescape")
