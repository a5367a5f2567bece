"""The boxes that AVIF and JPEG 2000 files are made of (ISO/IEC 14496-12). Nothing in them is trusted."""

from collections.abc import Iterator
from io import SEEK_CUR
from typing import IO, NamedTuple

from ddncodec.errors import UnreadableImage


class Box(NamedTuple):
    """A box's kind, four bytes, and its content."""

    kind: bytes
    content: bytes


def find(file: IO[bytes], wanted: bytes, most: int) -> bytes:
    """The content of a file's first box of a kind, or so many bytes of it; empty if there is none."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        size, read, kind = int.from_bytes(head[:4], "big"), 8, head[4:]
        if size == 1:
            size, read = int.from_bytes(file.read(8), "big"), 16
        if kind == wanted:
            return file.read(min(size - read, most) if size else most)  # 0: to the end of the file
        if size < read or size > 2**62:
            break
        file.seek(size - read, SEEK_CUR)
    return b""


def inside(content: bytes) -> Iterator[Box]:
    """The boxes in the content of one. Raises UnreadableImage where they do not fill it."""
    at = 0
    while at < len(content):
        size, kind, start = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(content[start : start + 8], "big"), start + 8
        end = at + size if size else len(content)
        if not start <= end <= len(content):
            raise UnreadableImage("the image file is damaged: a box is not as long as it says")
        yield Box(kind, content[start:end])
        at = end


def first(content: bytes, kind: bytes) -> bytes:
    """The content of the first box of a kind in the content of one; empty if there is none."""
    return next((box.content for box in inside(content) if box.kind == kind), b"")
