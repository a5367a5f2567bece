"""Archives: what goes in comes out, by number and by name; whatever happens to the file, the rest can be read."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import ddncodec
from ddncodec import container
from ddncodec.archive import Archive, ArchiveWriter, Header, append_archive, open_archive, writer
from ddncodec.archive.format import (
    BLOCK_BYTES,
    END_BYTES,
    HEADER,
    HEADER_BYTES,
    INDEX_BYTES,
    INDEX_MAGIC,
    MAGIC,
    BlockHeader,
    Entry,
    IndexHeader,
    pack_block,
    pack_index,
    sealed,
)
from ddncodec.container import Packed, Stream
from ddncodec.errors import (
    AbsurdSize,
    BadMagic,
    BadMetadata,
    ChecksumMismatch,
    DdnError,
    InputMissing,
    OutputExists,
    PayloadLength,
    RecordMissing,
    ReservedBits,
    Truncated,
    UnknownVersion,
    UnknownWeights,
)
from ddncodec.latent import Latent, packed_bits, payload_bytes

ID = bytes.fromhex("0badcafe")
LEVELS = 40
FEW = 4  # records of a block, where blocks are small

Named = tuple[str, Packed]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of `FEW` records, indexes of three blocks."""
    monkeypatch.setattr(writer, "RECORDS", FEW)
    monkeypatch.setattr(writer, "FEWEST", FEW)
    monkeypatch.setattr(writer, "INDEXED", 3)


def packed(number: int, *, width: int = 64, height: int = 64, k: int = 2, levels: int = LEVELS) -> Packed:
    """A latent that tells the number."""
    value = random.Random(number).randrange(k**levels) << -packed_bits(k, levels) % 8
    return Packed(ID, width, height, k, levels, value.to_bytes(payload_bytes(k, levels), "big"))


def written(path: Path, count: int, start: int = 0) -> list[Named]:
    """Append so many records, of rising names, and give them."""
    records = [(f"faces/{number:05}", packed(number)) for number in range(start, start + count)]
    with append_archive(path) as archive:
        for name, one in records:
            archive.add_packed(one, name)
    return records


def contents(archive: Archive) -> list[Named]:
    return [(record.name, record.packed) for record in archive]


names = st.one_of(st.just(""), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8))
sides = st.sampled_from([1, 64, 300, 1_023, 1_024, 65_535])


@given(st.integers(2, 70).flatmap(lambda k: st.tuples(st.just(k), st.lists(
    st.lists(st.tuples(names, sides, st.sampled_from([1, 64, 1_024])), max_size=11), max_size=4))))
@settings(max_examples=60, deadline=None)
def test_records_come_back_by_number_and_by_name_whatever_appends_they_came_in(
        tmp_path_factory: pytest.TempPathFactory, case: tuple[int, list[list[tuple[str, int, int]]]]) -> None:
    k, appends = case
    path = tmp_path_factory.mktemp("archive") / "set.ddns"
    expected: list[Named] = []
    with pytest.MonkeyPatch.context() as patch:
        small_blocks.__wrapped__(patch)  # type: ignore[attr-defined]
        for part in appends:
            with append_archive(path) as archive:
                for name, width, height in part:
                    one = packed(len(expected), width=width, height=height, k=k, levels=7)
                    archive.add_packed(one, name)
                    expected.append((name, one))
    assert path.exists() == bool(expected)
    if not expected:
        return
    with open_archive(path) as found:
        assert found.damage == []
        assert len(found) == len(expected)
        assert contents(found) == expected
        assert [(found[i].name, found[i].packed) for i in reversed(range(len(found)))] == expected[::-1]
        for name, one in reversed(expected):
            if name:
                assert found.find(name).packed == next(other for label, other in expected if label == name)
                assert found.find(name).to_bytes() == container.packed_to_bytes(found.find(name).packed)
                assert one.stream.latent.k == k


def test_a_record_gives_the_file_that_was_added(tmp_path: Path) -> None:
    stream = Stream(Latent((1, 0, 2, 1), 3), 300, 200, ID)
    with append_archive(tmp_path / "a.ddns") as archive:
        archive.add(container.to_bytes(stream), "one")
    with open_archive(tmp_path / "a.ddns") as found:
        assert found.find("one").to_bytes() == container.to_bytes(stream)


def test_longer_streams_are_cut_and_profile_and_comment_are_left_out(tmp_path: Path) -> None:
    for k in (2, 3, 16):
        whole = Stream(Latent(tuple(i % k for i in range(20)), k), 300, 200, ID, icc=b"profile", comment="hi")
        with append_archive(tmp_path / f"{k}.ddns", levels=7) as archive:
            archive.add(container.to_bytes(whole))
        with open_archive(tmp_path / f"{k}.ddns") as found:
            assert container.from_bytes(found[0].to_bytes()) == Stream(whole.latent.prefix(7), 300, 200, ID)


def test_what_is_not_of_the_archive_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    with append_archive(path) as archive:
        archive.add_packed(packed(0), "a")
        for refused, error in (
            (packed(1)._replace(weights_id=b"else"), UnknownWeights), (packed(1, k=4), UnknownWeights),
            (packed(1, levels=LEVELS - 1), PayloadLength), (packed(1)._replace(payload=b"x"), PayloadLength),
            (packed(1)._replace(width=0), AbsurdSize), (packed(1)._replace(width=70_000), AbsurdSize),
        ):
            with pytest.raises(error):
                archive.add_packed(refused, "b")
        with pytest.raises(BadMetadata):
            archive.add_packed(packed(1), "a\0b")
        with pytest.raises(AbsurdSize):
            archive.add_packed(packed(1), "é" * 2_049)
        archive.add_packed(packed(2), "é" * 2_048)
    with open_archive(path) as found:
        assert contents(found) == [("a", packed(0)), ("é" * 2_048, packed(2))]
    with pytest.raises(PayloadLength, match="40 levels, not 8"), append_archive(path, levels=8):
        pass


def test_names_of_files_that_are_no_text_are_kept(tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    with append_archive(tmp_path / "a.ddns") as archive:
        archive.add_packed(packed(0), name)
    with open_archive(tmp_path / "a.ddns") as found:
        assert found.find(name).name == name


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    written(tmp_path / "a.ddns", 3)
    with open_archive(tmp_path / "a.ddns") as found:
        for number in (-1, 3, 2**70):
            with pytest.raises(RecordMissing):
                found[number]
        for name in ("", "a", "faces/00003", "z"):
            with pytest.raises(RecordMissing):
                found.find(name)
    with pytest.raises(InputMissing):
        open_archive(tmp_path / "none.ddns")


# What it costs.


def beyond_payload_and_names(path: Path) -> float:
    """Bytes a record."""
    with open_archive(path) as archive:
        stored = sum(len(archive) and archive._block_header(place).names for place in range(len(archive.entries)))
        return (archive.bytes - stored) / len(archive) - archive.header.payload_bytes


@pytest.mark.parametrize(("side", "most"), [(1, 0.2), (16_383, 4.0)])
def test_a_record_takes_at_most_four_bytes_beyond_payload_and_name(side: int, most: float, tmp_path: Path) -> None:
    rng = random.Random(0)
    one = packed(0, levels=1_152)
    with append_archive(tmp_path / "a.ddns") as archive:
        for number in range(2_000):
            height = rng.randint(1, min(side, 2**26 // side))
            archive.add_packed(one._replace(width=rng.randint(1, side), height=height), f"{rng.random()}{number}")
    assert beyond_payload_and_names(tmp_path / "a.ddns") <= most


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_one_record_is_found_without_reading_the_archive(tmp_path: Path) -> None:
    expected = written(tmp_path / "a.ddns", 30_000)
    file = Counted((tmp_path / "a.ddns").read_bytes())
    archive = Archive(file)
    assert archive[3_141].packed == expected[3_141][1]
    assert archive.find("faces/27182").packed == expected[27_182][1]
    assert archive.number_of("faces/x") is None
    assert file.count < archive.bytes / 10


def test_offsets_and_numbers_have_64_bits(tmp_path: Path) -> None:
    header, offset, first = Header(ID, 2, LEVELS), 5 * 2**33, 2**33
    block = pack_block(header, first, [packed(1).payload], [(64, 64)], [b"far"])
    with open(tmp_path / "a.ddns", "wb") as file:  # with a hole, which takes no room
        file.write(header.pack())
        file.seek(offset)
        file.write(block + pack_index([Entry(offset, first, 1, b"far", b"far")], 0, offset + len(block)))
    with open_archive(tmp_path / "a.ddns") as archive:
        assert archive.find("far").packed == archive[first].packed == packed(1)
        with pytest.raises(RecordMissing, match="lost"):
            archive[first - 1]
        assert next(iter(archive)).number == first
    written(tmp_path / "a.ddns", 5)
    with open_archive(tmp_path / "a.ddns") as archive:
        assert archive.find("faces/00004").number == first + 5


# What happens to files.


@pytest.mark.usefixtures("small_blocks")
def test_after_a_break_at_any_byte_all_whole_blocks_are_read_and_an_append_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    expected = written(path, 10) + written(path, 23, 10)
    whole = path.read_bytes()
    with open_archive(path) as archive:
        ends = [entry.offset + BLOCK_BYTES + archive._block_header(place).body_bytes(archive.header)
                for place, entry in enumerate(archive.entries)]
        sizes = [entry.records for entry in archive.entries]
    near = {end + step for end in (HEADER_BYTES, *ends, len(whole)) for step in range(-END_BYTES - 1, BLOCK_BYTES + 2)}
    for length in sorted(near | {*range(0, len(whole), 9)}):
        if not 0 <= length < len(whole):
            continue
        path.write_bytes(whole[:length])
        kept = sum(size for size, end in zip(sizes, ends, strict=True) if end <= length)
        if length < HEADER_BYTES:
            with pytest.raises((Truncated, BadMagic)):
                open_archive(path)
        else:
            with open_archive(path) as archive:
                assert contents(archive) == expected[:kept]
                assert all(isinstance(error, Truncated) for error in archive.damage)
                if kept:
                    assert archive.find(expected[kept - 1][0]).number == kept - 1
        if length % 9 == 0:
            more = written(path, 5, 100)
            with open_archive(path) as archive:
                assert archive.damage == []
                assert contents(archive) == expected[:kept] + more
                assert archive.find(more[-1][0]).number == kept + 4


@pytest.mark.usefixtures("small_blocks")
def test_bytes_of_zero_at_the_end_are_what_a_power_cut_may_leave(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    expected = written(path, 10)
    whole = path.read_bytes()
    with open_archive(path) as archive:
        last = archive.entries[-1].offset
    for begin in (last + 7, last + BLOCK_BYTES + 3):  # the file has its length, but not all of its content
        path.write_bytes(whole[:begin] + bytes(len(whole) - begin))
        with open_archive(path) as archive:
            assert contents(archive) == expected[:8]
            (error,) = archive.damage
            assert "broke off" in str(error)


KILLED = """if True:
    import os, random, signal, sys
    from ddncodec.archive import append_archive, open_archive, writer
    from ddncodec.container import Packed
    assert not {"torch", "numpy"} & sys.modules.keys()
    writer.RECORDS = writer.FEWEST = 3
    writer.INDEXED = 4
    path, rng, total = sys.argv[1], random.Random(0), 0

    def record(number):
        return f"{number:06}", Packed(b"abcd", 64, 64, 2, 800, number.to_bytes(4, "big") * 25)

    def append(start, out):
        with append_archive(path) as archive:
            for number in range(start, start + 36):
                name, packed = record(number)
                archive.add_packed(packed, name)
                if (number - start) % 3 == 2:
                    os.write(out, b".")  # a block is written
            signal.pause()

    for _ in range(100):
        into, out = os.pipe()
        child = os.fork()
        if not child:
            try:
                append(total, out)
            finally:
                os._exit(1)
        os.close(out)
        acknowledged = len(os.read(into, 1))
        for _ in range(rng.randrange(12)):
            acknowledged += len(os.read(into, 1))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        os.close(into)
        with open_archive(path) as archive:
            for number in range(max(0, total - 3), len(archive)):
                assert archive[number][1:] == record(number)
            assert len(archive) >= total + 3 * acknowledged, (len(archive), total, acknowledged)
            total = len(archive)
    with open_archive(path) as archive:
        assert [one[1:] for one in archive] == [record(number) for number in range(total)]
    print(total)
"""


def test_what_was_written_is_there_after_each_of_a_hundred_kills(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.ddns")], capture_output=True, text=True,
                          check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 1_000


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_block_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    expected = written(path, 20)
    data = bytearray(path.read_bytes())
    with open_archive(path) as archive:
        offset = archive.entries[2].offset
    data[offset + BLOCK_BYTES + 9] ^= 4
    path.write_bytes(data)
    with open_archive(path) as archive:
        told: list[DdnError] = []
        found = [record for block in archive.blocks(told.append) for record in block]
        assert [(record.name, record.packed) for record in found] == expected[:8] + expected[12:]
        (error,) = told
        assert isinstance(error, ChecksumMismatch)
        assert str(error).startswith(f"the block of records 8 to 11, at byte {offset}, is damaged")
        assert archive[12].packed == expected[12][1]
        for what in (lambda: archive[9], lambda: list(archive)):
            with pytest.raises(ChecksumMismatch, match="records 8 to 11"):
                what()


@pytest.mark.usefixtures("small_blocks")
def test_whatever_byte_is_damaged_no_record_comes_back_wrong_and_other_blocks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    expected = dict(enumerate(written(path, 14) + written(path, 14, 14)))
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        if place < HEADER_BYTES:
            with pytest.raises((BadMagic, UnknownVersion, ReservedBits, ChecksumMismatch)):
                Archive(io.BytesIO(data))
            continue
        archive = Archive(io.BytesIO(data))
        told = list(archive.damage)
        found = {record.number: (record.name, record.packed)
                 for block in archive.blocks(told.append) for record in block}
        assert found.items() <= expected.items()
        assert len(expected) - len(found) <= FEW
        assert told or found == expected


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("which", ["end", "last", "first"])
def test_without_an_index_an_archive_is_read_all_the_same_and_the_next_append_makes_one(tmp_path: Path, which: str
                                                                                      ) -> None:
    path = tmp_path / "a.ddns"
    expected = written(path, 30)
    data = bytearray(path.read_bytes())
    with open_archive(path) as archive:
        place = {"end": len(data) - 1, "last": archive.last_index + INDEX_BYTES + 5,
                 "first": data.index(INDEX_MAGIC) + INDEX_BYTES + 5}[which]
    data[place] ^= 1
    path.write_bytes(data)
    with open_archive(path) as archive:
        assert (archive.last_index > 0) == (which == "end")
        assert contents(archive) == expected
        assert archive.damage == []
    expected += written(path, 1, 30)
    with open_archive(path) as archive:
        assert archive.last_index
        assert contents(archive) == expected
        assert [entry.highest for entry in archive.entries][-1] == b"faces/00030"
        assert archive.find("faces/00002").number == 2


@pytest.mark.usefixtures("small_blocks")
def test_an_index_lists_all_blocks_before_it_also_where_many_were_in_none(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    expected = written(path, 30)
    data = path.read_bytes().replace(INDEX_MAGIC, b"none")
    path.write_bytes(data)
    written(path, 1, 30)
    whole = path.read_bytes()
    for length in range(len(data), len(whole)):
        path.write_bytes(whole[:length])
        with open_archive(path) as archive:
            assert contents(archive)[:30] == expected


def header_of(**fields: int) -> bytes:
    """An archive's header with some fields changed, and a CRC that matches."""
    values = {"version": 1, "flags": 0, "levels": LEVELS, "k": 2, "payload": payload_bytes(2, LEVELS)} | fields
    return sealed(HEADER.pack(MAGIC, values["version"], values["flags"], values["levels"], values["k"], ID,
                              values["payload"]))


@pytest.mark.parametrize(("data", "error"), [
    (b"", Truncated), (MAGIC, Truncated), (b"\xddDNX" + bytes(40), BadMagic), (b"\xdd\x4e\x01\x01", BadMagic),
    (header_of(version=2), UnknownVersion), (header_of(flags=1), ReservedBits),
    (header_of()[:-1] + b"\0", ChecksumMismatch),
    (header_of(k=1), AbsurdSize), (header_of(k=65_537), AbsurdSize), (header_of(levels=0), AbsurdSize),
    (header_of(payload=6), PayloadLength),
])
def test_bad_headers_are_refused(data: bytes, error: type[DdnError]) -> None:
    with pytest.raises(error):
        Archive(io.BytesIO(data))


HOME = Header(ID, 2, LEVELS)
ZEROS = zstandard.ZstdCompressor().compress(bytes(2**26))  # as many names as its content can have, of no length


def block_of(names: bytes, *, records: int = 1, first: int = 0) -> bytes:
    body = packed(0).payload * records + names
    return BlockHeader(records, first, 64, 64, 0, 0, len(names), zlib.crc32(body)).pack() + body


def test_what_would_take_much_memory_is_refused(tmp_path: Path) -> None:
    for block in (
        block_of(ZEROS), block_of(zstandard.ZstdCompressor().compress(bytes(2**26 + 1))),
        block_of(zstandard.ZstdCompressor(write_content_size=False).compress(b"a\0")), block_of(b"no frame"),
        block_of(zstandard.ZstdCompressor().compress(b"a\0b\0")), block_of(zstandard.ZstdCompressor().compress(b"a")),
        block_of(zstandard.ZstdCompressor().compress(b"a" * 5_000 + b"\0")),
    ):
        archive = Archive(io.BytesIO(HOME.pack() + block))
        with pytest.raises((BadMetadata, AbsurdSize), match="records 0 to 0"):
            list(archive)
        with pytest.raises((BadMetadata, AbsurdSize)):
            archive.find("a")
    plain = block_of(b"")
    for body, blocks in ((ZEROS, 1), (ZEROS, 65_536), (b"", 1)):
        index = IndexHeader(blocks, 0, len(body), zlib.crc32(body))
        data = HOME.pack() + plain + sealed(b"\xddDNI" + b"".join(
            value.to_bytes(size, "little") for value, size in zip(index, (4, 8, 4, 4), strict=True))) + body
        data += sealed((len(HOME.pack()) + len(plain)).to_bytes(8, "little") + b"\xddDNE")
        archive = Archive(io.BytesIO(data))
        assert len(archive) == 1  # found without the index
        assert not archive.last_index


def test_indexes_that_lead_in_a_circle_or_nowhere_are_not_followed() -> None:
    block = block_of(b"")
    begin = HEADER_BYTES + len(block)
    entry = Entry(HEADER_BYTES, 0, 1)
    for previous in (begin, begin + 1, 1, HEADER_BYTES, 2**64 - 1):
        archive = Archive(io.BytesIO(HOME.pack() + block + pack_index([entry], previous, begin)))
        assert not archive.last_index
        assert len(archive) == 1
    for wrong in (entry._replace(offset=3), entry._replace(records=2)):
        archive = Archive(io.BytesIO(HOME.pack() + block + pack_index([wrong], 0, begin)))
        with pytest.raises(ChecksumMismatch, match="is damaged"):
            list(archive)
    for records in (0, 2**32 - 1):  # or a number that no archive of so few bytes can have
        archive = Archive(io.BytesIO(HOME.pack() + block + pack_index([entry._replace(records=records)], 0, begin)))
        assert not archive.last_index
        assert len(archive) == 1


def test_one_process_at_a_time_appends(tmp_path: Path) -> None:
    path = tmp_path / "a.ddns"
    with append_archive(path) as archive:
        with pytest.raises(OutputExists, match="another process"), append_archive(path):
            pass
        archive.add_packed(packed(0))
    with open_archive(path) as found:
        assert len(found) == 1


def test_an_archive_can_be_written_to_what_cannot_seek() -> None:
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    archive = ArchiveWriter(pipe)  # type: ignore[arg-type]
    archive.add_packed(packed(0), "a")
    archive.close()
    assert Archive(io.BytesIO(pipe.data)).find("a").packed == packed(0)


def test_what_is_not_open_to_seeking_is_refused() -> None:
    class Stuck(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise OSError(29, "Illegal seek")

    with pytest.raises(InputMissing, match="pipe"):
        Archive(Stuck(HOME.pack()))


def test_the_package_has_it_without_torch_and_numpy() -> None:
    code = ("import sys, ddncodec; ddncodec.open_archive, ddncodec.append_archive; "
            "print({'torch', 'numpy'} & {*sys.modules})")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    assert ddncodec.open_archive is open_archive
