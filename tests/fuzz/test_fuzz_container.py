"""The container against a reader written from its document alone: they agree on every input, good or bad."""

import zlib
from pathlib import Path

import format_reader
import zstandard
from fuzzing import damaged, fuzz
from hypothesis import strategies as st

from ddncodec import bare, container
from ddncodec.container import Stream
from ddncodec.errors import DdnError
from ddncodec.latent import Latent

TESTS = Path(__file__).parents[1]
ID = bytes.fromhex("0badcafe")
FILES = [path.read_bytes() for path in sorted(TESTS.glob("golden/*.ddn"))] + [
    container.to_bytes(stream) for stream in (
        Stream(Latent((7, 0, 4), 10), 300, 200, ID, icc=bytes(range(200)), comment="Grüße"),
        Stream(Latent((1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0), 2), 64, 48, ID, comment=""),
        Stream(Latent((65_535, 0, 3), 65_536), 65_535, 1_024, ID),
        Stream(Latent((2,) * 5, 3), 1, 1, ID, icc=b""),
    )
]


def sealed(data: bytes) -> bytes:
    """With a checksum that matches, so that what it guards is reached."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


@st.composite
def varints(draw: st.DrawFn) -> bytes:
    """Mostly what a header may hold, sometimes too long or too large."""
    value = draw(st.one_of(st.integers(0, 70), st.integers(0, 70_000), st.integers(0, 2**28 - 1), st.sampled_from(
        [2, 4, 32_768, 65_535, 65_536, 65_537, 1_048_576, 1_048_577])))
    groups = [value >> 7 * i & 127 for i in range(max(1, -(-value.bit_length() // 7)))]
    groups += [0] * draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


@st.composite
def metadata(draw: st.DrawFn) -> bytes:
    """A frame of entries in any order, and its length."""
    parts = [bytes([draw(st.sampled_from([1, 1, 2, 2, 0, 3]))]) + draw(varints()) + draw(st.binary(max_size=80))
             for _ in range(draw(st.integers(0, 3)))]
    entries = draw(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=100)), max_size=2))
    content = draw(st.sampled_from([
        b"".join(parts), b"".join(bytes([tag, len(value)]) + value for tag, value in entries),
    ]))
    compressor = zstandard.ZstdCompressor(
        write_content_size=draw(st.sampled_from([True, True, True, False])), write_checksum=draw(st.booleans()))
    frame = compressor.compress(content) + draw(st.sampled_from([b"", b"", b"", b"\0", compressor.compress(b"")]))
    if draw(st.integers(0, 3)) == 0:
        frame = draw(damaged([frame]))
    length = bytes([len(frame) & 127 | 128, len(frame) >> 7]) if len(frame) > 127 else bytes([len(frame)])
    return length + frame


@st.composite
def assembled(draw: st.DrawFn) -> bytes:
    """A file put together field by field, with a payload of the length that its header asks for, or nearly."""
    log2_k = draw(st.integers(0, 15))
    has_metadata = draw(st.booleans())
    width, height, levels = draw(varints()), draw(varints()), draw(st.integers(0, 40))
    k = 1 << log2_k if log2_k else draw(st.sampled_from([0, 1, 2, 3, 10, 100, 127]))
    reserved = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 32]))
    header = b"\xdd\x4e\x01" + bytes([log2_k | has_metadata << 4 | reserved]) + ID
    body = header + width + height + bytes([levels]) + (b"" if log2_k else bytes([k]))
    bits = (max(k, 1) ** levels - 1).bit_length()
    size = max(0, -(-bits // 8) + draw(st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1])))
    payload = draw(st.integers(0, (1 << 8 * size) - 1))
    if draw(st.booleans()):
        payload = payload >> -bits % 8 << -bits % 8  # without bits in its padding
    whole = body + (draw(metadata()) if has_metadata else b"") + payload.to_bytes(size, "big")
    return sealed(whole + bytes(4))


def check(data: bytes) -> None:
    """Both readers see the same file, or refuse it for the same reason."""
    try:
        expected: format_reader.File | int = format_reader.read(data)
    except format_reader.Refused as refusal:
        expected = refusal.code
    try:
        stream = container.from_bytes(data)
    except DdnError as error:
        assert type(error).exit_code == expected, error
        assert str(error).isprintable()
        return
    assert expected == format_reader.File(stream.weights_id, stream.width, stream.height, stream.latent.k,
                                          list(stream.latent.indices), stream.icc, stream.comment)
    assert container.from_bytes(container.to_bytes(stream)) == stream


@fuzz(damaged(FILES))
def test_both_readers_agree_on_damaged_files(data: bytes) -> None:
    check(data)
    if len(data) > 4:
        check(sealed(data))


@fuzz(assembled())
def test_both_readers_agree_on_assembled_files(data: bytes) -> None:
    check(data)


@fuzz(st.binary(max_size=60))
def test_both_readers_agree_on_any_bytes(data: bytes) -> None:
    check(data)
    check(b"\xdd\x4e\x01" + data)


@fuzz(st.binary(max_size=12))
def test_both_readers_agree_on_bare_streams(data: bytes) -> None:
    stream = b"".join(bytes([byte | 0x80]) for byte in data[:1]) + data[1:]
    for k in (2, 3, 10, 512):
        try:
            expected: tuple[int, list[int]] | int = format_reader.read_bare(stream, k)
        except format_reader.Refused as refusal:
            expected = refusal.code
        try:
            read = bare.from_bytes(stream, k, 64, ID)
        except DdnError as error:
            assert type(error).exit_code == expected, error
            continue
        assert expected == (stream[0] & 0x7F, list(read.latent.indices))


def test_both_readers_agree_at_the_limits() -> None:
    for latent in (Latent((65_535,) * 65_535, 65_536), Latent((2,) * 65_535, 3), Latent((32_767,) * 65_535, 32_768)):
        check(container.to_bytes(Stream(latent, 65_535, 1_024, ID, icc=bytes(4_194_299))))
