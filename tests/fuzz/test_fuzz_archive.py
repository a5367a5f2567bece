"""Archives that are damaged: each record comes back as it was put in, or is refused by name."""

import contextlib
import io

from fuzzing import damaged, fuzz

from ddncodec.archive import Archive, ArchiveWriter
from ddncodec.container import Packed
from ddncodec.errors import DdnError

ID = bytes.fromhex("0badcafe")


def archive(k: int, levels: int, parts: list[list[tuple[str, int, int, bytes]]]) -> bytes:
    data = io.BytesIO()
    for part in parts:
        found = Archive(data) if data.getbuffer() else None
        writer = ArchiveWriter(data, levels, found)
        data.seek(0, io.SEEK_END)
        for name, width, height, payload in part:
            writer.add_packed(Packed(ID, width, height, k, levels, payload), name)
        writer.close()
    return data.getvalue()


FILES = [
    archive(2, 16, [[("a", 64, 48, b"ab"), ("b", 67, 48, b"cd"), ("", 1, 65_535, b"ef")], [("c", 64, 48, b"gh")]]),
    archive(3, 5, [[("", 64, 64, bytes([number])) for number in range(0, 240, 8)]]),
]
PAYLOADS = {b"ab", b"cd", b"ef", b"gh"} | {bytes([number]) for number in range(0, 240, 8)}


@fuzz(damaged(FILES))
def check(data: bytes) -> None:
    try:
        found = Archive(io.BytesIO(data))
    except DdnError:
        return
    for block in found.blocks(lambda error: None):
        for record in block:
            with contextlib.suppress(DdnError):
                record.to_bytes()
            assert record.packed.payload in PAYLOADS
    for number in range(min(len(found), 40)):
        with contextlib.suppress(DdnError):
            assert found[number].number == number
    for name in ("a", "c", "x"):
        with contextlib.suppress(DdnError):
            assert found.find(name).name == name
    out = io.BytesIO(data)
    writer = ArchiveWriter(out, archive=Archive(out))
    out.seek(found.end)
    out.truncate()
    writer.close()


test_an_archive_that_is_damaged_gives_its_records_or_refuses_them = check
