"""Bare streams: the round trip, every bit of the layout, and what of a damaged one can be told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ddncodec
from ddncodec import bare
from ddncodec.container import Stream
from ddncodec.errors import BadMagic, DdnError, IndexOutOfRange, PayloadLength, TooFewBytes, Truncated, UnknownWeights
from ddncodec.latent import MAX_K, MAX_LEVELS, Latent
from ddncodec.weights import read_info

ID = bytes.fromhex("0badcafe")


@st.composite
def latents(draw: st.DrawFn) -> Latent:
    k = draw(st.one_of(st.integers(2, MAX_K), st.integers(1, 16).map(lambda bits: 2**bits)))
    return Latent(tuple(draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=60))), k)


def by_bits(latent: Latent, aspect: int) -> bytes:
    """The definition in docs/format.md, as a string of bits."""
    value = 0
    for index in latent.indices:
        value = value * latent.k + index
    text = f"{value:0{(latent.k ** latent.levels - 1).bit_length()}b}1"
    text += "0" * (-len(text) % 8)
    return bytes([aspect, *(int(text[i : i + 8], 2) for i in range(0, len(text), 8))])


@settings(deadline=None)
@given(latents())
def test_bytes_and_text_read_back(latent: Latent) -> None:
    data = bare.to_bytes(Stream(latent, 64, 64, ID))
    assert data == by_bits(latent, 0xC0)
    assert len(data) == bare.size(latent.k, latent.levels) <= len(latent.pack()) + 2
    text = bare.to_text(data)
    for written in (data, text.encode(), f" {text}\n".encode(), text.encode() + b"=" * (-len(text) % 4)):
        assert bare.from_bytes(written, latent.k, 64, ID) == Stream(latent, 64, 64, ID)


def test_the_largest_latents_read_back() -> None:
    for latent in (Latent((65_535,) * MAX_LEVELS, MAX_K), Latent((2,) * MAX_LEVELS, 3)):
        data = bare.to_bytes(Stream(latent, 1, 1, ID))
        assert bare.from_bytes(bare.to_text(data).encode(), latent.k, 1, ID).latent == latent


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_the_aspect_ratio_is_kept_within_a_32nd_of_an_octave(width: int, height: int) -> None:
    read = bare.from_bytes(bare.to_bytes(Stream(Latent((1,), 2), width, height, ID)), 2, 8_192, ID)
    assert max(read.width, read.height) == 8_192
    if 1 / 16 <= width / height <= 15:
        assert read.width / read.height == pytest.approx(width / height, rel=2 ** (1 / 32) - 0.995)
    assert (read.width == read.height) == (round(16 * math.log2(width / height)) == 0)


@settings(deadline=None)
@given(st.binary(max_size=20), st.sampled_from([2, 3, 8, 10, 512, 65_536]))
def test_whatever_is_read_is_what_would_be_written(data: bytes, k: int) -> None:
    for stream in (data, b"\xc0" + data):
        try:
            read = bare.from_bytes(stream, k, 64, ID)
        except DdnError as error:
            assert str(error).isprintable()
            continue
        aspect = stream[0] if stream[0] >= 0x80 else None
        if aspect is not None:
            assert by_bits(read.latent, aspect) == stream


@pytest.mark.parametrize(("kind", "data"), [
    (Truncated, b""), (Truncated, b"\xc0"), (Truncated, b"wA"), (PayloadLength, b"\xc0\x80"),
    (PayloadLength, b"\xc0\x10\x00"), (PayloadLength, b"\xc0\x10\x10"), (BadMagic, b"wA!"), (BadMagic, b"AAAA"),
    (BadMagic, b"\x40\x10"), (BadMagic, "wÄ".encode("latin-1")), (BadMagic, b"w"), (BadMagic, b"wBF"),
    (PayloadLength, b"\xc0" + bytes(2**18) + b"\x80"),
])
def test_what_cannot_be_a_bare_stream_is_refused(kind: type[DdnError], data: bytes) -> None:
    with pytest.raises(kind) as caught:
        bare.from_bytes(data, 8, 64, ID)
    assert caught.type is kind


def test_an_index_beyond_k_and_levels_beyond_the_model_are_refused() -> None:
    with pytest.raises(IndexOutOfRange):
        bare.from_bytes(b"\xc0\xf8", 3, 64, ID)  # 11110, and 3^3 = 27
    info = read_info(Path(__file__).parents[1] / "golden/k2-planes.safetensors")
    long = bare.to_bytes(Stream(Latent((1,) * 97, 2), 64, 64, ID))
    with pytest.raises(UnknownWeights):
        info.bare_stream(long)
    with pytest.raises(ValueError, match="does not name its model"):
        ddncodec.decode(long, bare=True)
    with pytest.raises(BadMagic):
        ddncodec.decode("Ä", info.path, bare=True)


@pytest.mark.parametrize("k", [2, 3, 8, 512])
def test_a_cut_stream_is_that_of_the_prefix(k: int) -> None:
    latent = Latent(tuple(7 * i * i % k for i in range(30)), k)
    streams = {n: bare.to_bytes(Stream(latent.prefix(n), 64, 40, ID)) for n in range(1, 31)}
    whole = streams[30]
    for n, stream in streams.items():
        assert bare.cut(whole, k, levels=n) == bare.cut(bare.to_text(whole).encode(), k, levels=n) == stream
    for most in range(len(streams[1]), len(whole) + 2):
        assert bare.cut(whole, k, max_bytes=most) == streams[max(n for n in streams if len(streams[n]) <= most)]
    with pytest.raises(TooFewBytes):
        bare.cut(whole, k, max_bytes=1)
    with pytest.raises(ValueError, match="above 0"):
        bare.cut(whole, k, levels=0)
