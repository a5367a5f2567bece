"""The .ddn file: the round trip, and a named refusal of everything else."""

import io
import random
import subprocess
import sys
import zlib
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ddncodec.container import (
    MAGIC,
    MAX_METADATA,
    MAX_METADATA_CONTENT,
    Stream,
    cut,
    from_bytes,
    partial_from_bytes,
    read,
    sizes,
    to_bytes,
)
from ddncodec.errors import (
    AbsurdSize,
    BadMagic,
    BadMetadata,
    BadVarint,
    ChecksumMismatch,
    DdnError,
    IndexOutOfRange,
    NonZeroPadding,
    ReservedBits,
    TooFewBytes,
    TrailingBytes,
    Truncated,
    UnknownVersion,
)
from ddncodec.latent import MAX_K, MAX_LEVELS, Latent

ID = bytes.fromhex("0badcafe")
PLAIN = Stream(Latent((1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0), 2), 300, 200, ID)
RICH = Stream(Latent((7, 0, 4), 10), 300, 200, ID, icc=bytes(range(200)), comment="Grüße")
HEADER = MAGIC + b"\x01\x01" + ID  # K = 2, no metadata
HEADER_LONG_K = MAGIC + b"\x01\x00" + ID
HEADER_METADATA = MAGIC + b"\x01\x11" + ID
SIZES = b"\x40\x40\x08"  # 64 x 64, 8 levels: one byte of payload at K = 2


def sealed(body: bytes) -> bytes:
    """With the checksum that makes everything before it count."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def with_metadata(frame: bytes) -> bytes:
    size = len(frame)
    varint = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    if size < 1 << 14:
        varint = bytes([size & 0x7F | 0x80, size >> 7])
    if size < 1 << 7:
        varint = bytes([size])
    return sealed(HEADER_METADATA + SIZES + varint + frame + b"\xaa")


def zstd(content: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(content)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    k = draw(st.one_of(st.integers(2, MAX_K), st.integers(1, 16).map(lambda b: 2**b)))
    indices = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=60))
    return Stream(
        Latent(tuple(indices), k),
        draw(st.integers(1, 1024)),
        draw(st.integers(1, 65_535)),
        draw(st.binary(min_size=4, max_size=4)),
        draw(st.none() | st.binary(max_size=300)),
        draw(st.none() | st.text(max_size=300)),
    )


@given(streams())
def test_what_is_written_reads_back(stream: Stream) -> None:
    assert from_bytes(to_bytes(stream)) == stream


def test_a_face_at_1152_bits_is_a_file_of_160_bytes() -> None:
    assert len(to_bytes(Stream(Latent((1, 0) * 576, 2), 64, 64, ID))) == 160


def test_the_largest_stream_reads_back() -> None:
    latent = Latent((MAX_K - 1,) * MAX_LEVELS, MAX_K)
    stream = Stream(latent, 65_535, 1_024, ID, icc=bytes(MAX_METADATA_CONTENT - 5))
    assert from_bytes(to_bytes(stream)) == stream


@pytest.mark.parametrize("stream", [PLAIN, RICH], ids=["plain", "rich"])
def test_no_single_byte_can_change_unnoticed(stream: Stream) -> None:
    data = to_bytes(stream)
    for position in range(len(data)):
        for flip in (*(1 << bit for bit in range(8)), 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises(DdnError) as caught:
                from_bytes(bytes(damaged))
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stream", [PLAIN, RICH], ids=["plain", "rich"])
def test_every_truncation_is_told_as_such(stream: Stream) -> None:
    data = to_bytes(stream)
    for end in range(len(data)):
        with pytest.raises(Truncated):
            from_bytes(data[:end])


def test_trailing_bytes_are_refused() -> None:
    for stream in (PLAIN, RICH):
        with pytest.raises(TrailingBytes):
            from_bytes(to_bytes(stream) + b"\0")


def test_no_more_is_read_than_a_file_can_hold() -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None and 0 < size < 2**21
            return to_bytes(PLAIN).ljust(size, b"\0")

    with pytest.raises(TrailingBytes):
        read(Endless())


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_noise_raises_nothing_but_ddn_errors(noise: bytes) -> None:
    for start in (b"", HEADER, HEADER_LONG_K, HEADER_METADATA):
        for data in (start + noise, sealed(start + noise)):
            try:
                assert to_bytes(from_bytes(data))
            except DdnError as error:
                assert str(error)


@settings(max_examples=200)
@given(st.binary(max_size=40), st.booleans())
def test_metadata_of_noise_raise_nothing_but_ddn_errors(noise: bytes, compress: bool) -> None:
    try:
        from_bytes(with_metadata(zstd(noise) if compress else noise))
    except (BadMetadata, BadVarint, AbsurdSize):
        return


BAD_FIELDS = {
    "another magic": (BadMagic, b"\x89PNG\r\n\x1a\n"),
    "half the magic": (BadMagic, b"\xddX"),
    "version 0": (UnknownVersion, MAGIC + b"\0\x01" + ID + SIZES + b"\xaa"),
    "version 2": (UnknownVersion, MAGIC + b"\x02\x01" + ID + SIZES + b"\xaa"),
    "reserved bit 5": (ReservedBits, MAGIC + b"\x01\x21" + ID + SIZES + b"\xaa"),
    "reserved bit 6": (ReservedBits, MAGIC + b"\x01\x41" + ID + SIZES + b"\xaa"),
    "reserved bit 7": (ReservedBits, MAGIC + b"\x01\x81" + ID + SIZES + b"\xaa"),
    "overlong width": (BadVarint, HEADER + b"\xc0\x00\x40\x08\xaa"),
    "overlong zero": (BadVarint, HEADER + b"\x80\x80\x00\x40\x08\xaa"),
    "five-byte width": (BadVarint, HEADER + b"\xff\xff\xff\xff\x01\x40\x08\xaa"),
    "K = 2 as a varint": (BadVarint, HEADER_LONG_K + SIZES + b"\x02\xaa"),
    "K = 32,768 as a varint": (BadVarint, HEADER_LONG_K + SIZES + b"\x80\x80\x02" + bytes(15)),
    "K = 0": (AbsurdSize, HEADER_LONG_K + SIZES + b"\x00\xaa"),
    "K = 1": (AbsurdSize, HEADER_LONG_K + SIZES + b"\x01\xaa"),
    "K = 65,537": (AbsurdSize, HEADER_LONG_K + SIZES + b"\x81\x80\x04\xaa"),
    "width 0": (AbsurdSize, HEADER + b"\x00\x40\x08\xaa"),
    "height 65,536": (AbsurdSize, HEADER + b"\x01\x80\x80\x04\x08\xaa"),
    "65,535 x 65,535": (AbsurdSize, HEADER + b"\xff\xff\x03\xff\xff\x03\x08\xaa"),
    "no levels": (AbsurdSize, HEADER + b"\x40\x40\x00\xaa"),
    "65,536 levels": (AbsurdSize, HEADER + b"\x40\x40\x80\x80\x04\xaa"),
    "2 MiB of metadata": (AbsurdSize, HEADER_METADATA + SIZES + b"\x80\x80\x80\x01\xaa"),
    "padding": (NonZeroPadding, HEADER + b"\x40\x40\x07\xab"),
    "index": (IndexOutOfRange, HEADER_LONG_K + b"\x40\x40\x05\x03\xf3"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_a_bad_field_is_named_even_under_a_right_checksum(case: str) -> None:
    kind, body = BAD_FIELDS[case]
    with pytest.raises(kind) as caught:
        from_bytes(sealed(body))
    assert caught.type is kind


def test_the_checksum_is_tested_before_anything_is_decompressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = bytearray(with_metadata(zstd(b"\x02\x02hi")))
    data[-5] ^= 1
    monkeypatch.setattr(zstandard, "ZstdDecompressor", None)
    with pytest.raises(ChecksumMismatch):
        from_bytes(bytes(data))


BAD_METADATA = {
    "not zstd": (BadMetadata, b"hello there"),
    "no frame": (BadMetadata, b""),
    "an empty frame": (BadMetadata, zstd(b"")),
    "half a frame": (BadMetadata, zstd(bytes(range(200)) * 2)[:-9]),
    "two frames": (BadMetadata, zstd(b"\x02\x02hi") * 2),
    "bytes after the frame": (BadMetadata, zstd(b"\x02\x02hi") + b"\0"),
    "a skippable frame": (BadMetadata, b"\x50\x2a\x4d\x18\x00\x00\x00\x00"),
    "no content size": (BadMetadata, zstd(b"\x02\x02hi", write_content_size=False)),
    "a false content size": (BadMetadata, zstd(bytes(250)).replace(b"\x20\xfa", b"\x20\xf0")),
    "an unknown tag": (BadMetadata, zstd(b"\x03\x00")),
    "tag 0": (BadMetadata, zstd(b"\x00\x00")),
    "a tag twice": (BadMetadata, zstd(b"\x02\x00\x02\x00")),
    "tags out of order": (BadMetadata, zstd(b"\x02\x00\x01\x00")),
    "an entry cut short": (BadMetadata, zstd(b"\x02\x03hi")),
    "a tag alone": (BadMetadata, zstd(b"\x02")),
    "a comment in Latin-1": (BadMetadata, zstd(b"\x02\x01\xfc")),
    "an overlong length": (BadVarint, zstd(b"\x02\x82\x00hi")),
    "a bomb": (AbsurdSize, zstd(bytes(MAX_METADATA_CONTENT + 1))),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata_are_refused(case: str) -> None:
    kind, frame = BAD_METADATA[case]
    with pytest.raises(kind) as caught:
        from_bytes(with_metadata(frame))
    assert caught.type is kind


def test_a_bomb_that_hides_its_size_is_refused_without_being_unpacked() -> None:
    with pytest.raises(BadMetadata):
        from_bytes(with_metadata(zstd(bytes(2**24), write_content_size=False)))


def test_the_writer_keeps_to_the_limits() -> None:
    latent = Latent((1,), 2)
    for width, height in ((0, 1), (1, 65_536), (8_193, 8_192)):
        with pytest.raises(AbsurdSize):
            Stream(latent, width, height, ID)
    with pytest.raises(ValueError, match="4 bytes"):
        Stream(latent, 1, 1, b"abc")
    noise = b"".join(zlib.crc32(bytes([i % 251, i >> 8])).to_bytes(4) for i in range(2**16)) * 5
    for icc in (bytes(MAX_METADATA_CONTENT), bytes(2**28)):
        with pytest.raises(AbsurdSize):
            to_bytes(Stream(latent, 1, 1, ID, icc=icc))
    assert len(to_bytes(Stream(latent, 1, 1, ID, icc=noise))) < MAX_METADATA
    with pytest.raises(BadMetadata):
        to_bytes(Stream(latent, 1, 1, ID, comment="\ud800"))


def test_an_incompressible_profile_beyond_the_limit_is_refused() -> None:
    icc = random.Random(0).randbytes(MAX_METADATA + 1)
    with pytest.raises(AbsurdSize):
        to_bytes(Stream(Latent((1,), 2), 1, 1, ID, icc=icc))


def test_the_weights_id_shows_as_hexadecimal() -> None:
    assert PLAIN.weights_hex == "0badcafe"


def test_looking_at_a_file_loads_neither_torch_nor_numpy_nor_zstandard() -> None:
    code = (
        "import sys; from ddncodec.container import from_bytes; from_bytes(bytes.fromhex(sys.argv"
        "[1])); print({'torch', 'numpy', 'zstandard', 'PIL'} & set(sys.modules))"
    )
    run = [sys.executable, "-c", code, to_bytes(PLAIN).hex()]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "set()\n"


# Shorter files, and files that broke off.


@pytest.mark.parametrize("k", [2, 3, 8, 10, 512, 65_535, 65_536])
def test_a_cut_file_is_the_file_of_the_prefix(k: int) -> None:
    latent = Latent(tuple(7 * i * i % k for i in range(30)), k)
    stream = Stream(latent, 300, 200, ID, comment="Grüße")
    whole = to_bytes(stream)
    files = {n: to_bytes(replace(stream, latent=latent.prefix(n))) for n in range(1, 31)}
    for n, file in files.items():
        assert cut(whole, levels=n) == file
        assert sizes(stream)(n) == len(file)
    for most in range(len(files[1]), len(whole) + 2):
        assert cut(whole, max_bytes=most) == files[max(n for n, file in files.items() if len(file) <= most)]
    assert cut(whole) == cut(whole, levels=99) == whole
    assert cut(whole, levels=9, max_bytes=9_999) == files[9]
    with pytest.raises(TooFewBytes):
        cut(whole, max_bytes=len(files[1]) - 1)
    with pytest.raises(ValueError, match="above 0"):
        cut(whole, levels=0)


@pytest.mark.parametrize("stream", [PLAIN, RICH], ids=["plain", "rich"])
def test_a_damaged_file_is_not_cut(stream: Stream) -> None:
    data = to_bytes(stream)
    for kind, damaged in ((ChecksumMismatch, data[:-1] + bytes([data[-1] ^ 1])), (Truncated, data[:-1]),
                          (TrailingBytes, data + b"\0")):
        with pytest.raises(kind):
            cut(damaged, levels=1)
    for kind, body in (BAD_FIELDS["padding"], BAD_FIELDS["index"]):
        with pytest.raises(kind):
            cut(sealed(body), levels=1)


@settings(deadline=None, max_examples=60)
@given(streams(), st.data())
def test_a_file_that_broke_off_has_the_levels_that_are_certain(stream: Stream, data: st.DataObject) -> None:
    whole, payload = to_bytes(stream), len(stream.latent.pack())
    there = data.draw(st.integers(0, payload + 3))
    broken = whole[: len(whole) - 4 - payload + there]
    start = stream.latent.pack()[:there]
    # The oracle: a prefix is certain if its lowest and highest continuations begin with the same bits as the file.
    latent, k, levels = stream.latent, stream.latent.k, stream.latent.levels
    certain = 0
    for n in range(1, levels + 1):
        others = [Latent((*latent.indices[: n - 1], other, *(end,) * (levels - n)), k)
                  for other in {max(latent.indices[n - 1] - 1, 0), min(latent.indices[n - 1] + 1, k - 1)}
                  for end in (0, k - 1)]
        if any(other.pack()[:there] == start for other in others if other.indices[n - 1] != latent.indices[n - 1]):
            break
        certain = n
    if certain == 0:
        with pytest.raises(Truncated, match="none is whole"):
            partial_from_bytes(broken)
        return
    found = partial_from_bytes(broken)
    assert found == (replace(stream, latent=latent.prefix(certain)), levels, len(whole))
    with pytest.raises(Truncated, match=f"of its {levels:,} levels {certain:,} (is|are) whole"):
        from_bytes(broken)


def test_what_broke_off_before_the_payload_has_no_levels() -> None:
    data = to_bytes(RICH)
    for end in range(len(data) - len(RICH.latent.pack()) - 4 + 1):
        with pytest.raises(Truncated):
            partial_from_bytes(data[:end])
    assert partial_from_bytes(data) == (RICH, 3, len(data))
    with pytest.raises(ChecksumMismatch):
        partial_from_bytes(data[:-1] + bytes([data[-1] ^ 1]))
