"""Packing against Python's big integers, and every refusal of `Latent`."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddncodec.errors import AbsurdSize, IndexOutOfRange, NonZeroPadding, PayloadLength
from ddncodec.latent import MAX_K, MAX_LEVELS, Latent, packed_bits


@st.composite
def latents(draw: st.DrawFn) -> Latent:
    k = draw(st.one_of(st.integers(2, MAX_K), st.integers(1, 16).map(lambda b: 2**b)))
    indices = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=200))
    return Latent(tuple(indices), k)


def by_big_integers(latent: Latent) -> bytes:
    """The definition in docs/format.md, digit by digit."""
    value = 0
    for index in latent.indices:
        value = value * latent.k + index
    size = (latent.k**latent.levels - 1).bit_length()
    while size % 8:
        value, size = value * 2, size + 1
    return value.to_bytes(size // 8, "big")


@given(latents())
def test_pack_agrees_with_big_integers(latent: Latent) -> None:
    assert latent.pack() == by_big_integers(latent)


@given(latents())
def test_unpack_is_the_inverse_of_pack(latent: Latent) -> None:
    assert Latent.unpack(latent.pack(), latent.k, latent.levels) == latent


@given(st.integers(2, 40), st.integers(1, 8), st.binary(max_size=6))
def test_pack_is_the_inverse_of_unpack(k: int, levels: int, data: bytes) -> None:
    try:
        latent = Latent.unpack(data, k, levels)
    except (PayloadLength, NonZeroPadding, IndexOutOfRange):
        return
    assert latent.pack() == data


@given(latents())
def test_bits_are_the_ceiling_of_levels_times_log2_k(latent: Latent) -> None:
    assert 2 ** (latent.bits - 1) < latent.k**latent.levels <= 2**latent.bits
    assert len(latent.pack()) == math.ceil(latent.bits / 8)


@given(st.lists(st.integers(0, 1), min_size=8, max_size=100), st.data())
def test_a_byte_prefix_of_a_binary_latent_is_a_prefix_of_its_levels(
    bits: list[int], data: st.DataObject
) -> None:
    latent = Latent(tuple(bits), 2)
    count = data.draw(st.integers(1, len(bits) // 8))
    assert Latent.unpack(latent.pack()[:count], 2, 8 * count) == latent.prefix(8 * count)


@pytest.mark.parametrize("k", [2, 3, 32_768, 65_535, 65_536])
def test_the_largest_latent_packs_and_unpacks_in_bounded_time(k: int) -> None:
    latent = Latent(tuple(i * 40_503 % k for i in range(MAX_LEVELS)), k)
    start = time.process_time()
    assert Latent.unpack(latent.pack(), k, MAX_LEVELS) == latent
    assert time.process_time() - start < 5


def test_prefix_refuses_lengths_that_the_latent_does_not_have() -> None:
    latent = Latent((1, 0, 2), 3)
    assert latent.prefix(3) == latent
    assert latent.prefix(1) == Latent((1,), 3)
    for levels in (-1, 0, 4):
        with pytest.raises(ValueError, match="1 to 3 levels"):
            latent.prefix(levels)


@pytest.mark.parametrize(("indices", "k"), [((2,), 2), ((0, -1), 5), ((0, 9, 10), 10)])
def test_an_index_that_is_not_below_k_is_refused(indices: tuple[int, ...], k: int) -> None:
    with pytest.raises(IndexOutOfRange):
        Latent(indices, k)


@pytest.mark.parametrize(
    ("levels", "k"), [(1, 1), (1, 0), (1, -2), (1, MAX_K + 1), (0, 2), (MAX_LEVELS + 1, 2)]
)
def test_sizes_beyond_the_limits_are_refused(levels: int, k: int) -> None:
    with pytest.raises(AbsurdSize):
        Latent((0,) * levels, k)
    with pytest.raises(AbsurdSize):
        packed_bits(k, levels)
    with pytest.raises(AbsurdSize):
        Latent.unpack(b"", k, levels)


def test_absurd_sizes_cost_no_time() -> None:
    with pytest.raises(AbsurdSize):
        packed_bits(10**9 + 1, 10**9)


@pytest.mark.parametrize("k", [2, 7, 512])
def test_a_payload_of_another_length_is_refused(k: int) -> None:
    data = Latent((1,) * 20, k).pack()
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(PayloadLength):
            Latent.unpack(wrong, k, 20)


@settings(max_examples=30)
@given(latents().filter(lambda latent: latent.bits % 8), st.data())
def test_padding_that_is_not_zero_is_refused(latent: Latent, draw: st.DataObject) -> None:
    packed = bytearray(latent.pack())
    packed[-1] |= 1 << draw.draw(st.integers(0, -latent.bits % 8 - 1))
    with pytest.raises(NonZeroPadding):
        Latent.unpack(bytes(packed), latent.k, latent.levels)


def test_a_number_beyond_the_last_latent_is_refused() -> None:
    last = Latent((2,) * 5, 3)  # 242 of 256
    assert last.pack() == bytes([242])
    with pytest.raises(IndexOutOfRange):
        Latent.unpack(bytes([243]), 3, 5)


@given(st.data())
def test_the_rows_of_a_tensor_are_the_latents_stacked_in_it(data: st.DataObject) -> None:
    first = data.draw(latents())
    rows = st.lists(st.integers(0, first.k - 1), min_size=first.levels, max_size=first.levels)
    stacked = [first, *(Latent(tuple(row), first.k) for row in data.draw(st.lists(rows, max_size=3)))]
    indices = Latent.stack(stacked)
    assert indices.dtype == torch.int64
    assert indices.tolist() == [list(latent.indices) for latent in stacked]
    assert Latent.from_tensor(indices, first.k) == stacked


def test_any_integers_become_latents() -> None:
    picks = torch.tensor([[1, 0, 1]])
    for dtype in (torch.uint8, torch.int32, torch.bool):
        assert Latent.from_tensor(picks.to(dtype), 2) == [Latent((1, 0, 1), 2)]


def test_latents_that_differ_in_levels_or_k_do_not_stack() -> None:
    for some in ([], [Latent((1,), 2), Latent((1, 0), 2)], [Latent((1,), 2), Latent((1,), 3)]):
        with pytest.raises(ValueError, match="stack"):
            Latent.stack(some)


def test_a_tensor_that_is_no_latents_is_refused() -> None:
    for tensor, error in ((torch.zeros(2, 3), TypeError), (torch.zeros(3, dtype=torch.int64), ValueError),
                          (torch.tensor([[0, 2]]), IndexOutOfRange), (torch.tensor([[0, -1]]), IndexOutOfRange),
                          (torch.zeros(2, 0, dtype=torch.int64), AbsurdSize)):
        with pytest.raises(error):
            Latent.from_tensor(tensor, 2)


def test_a_latent_is_shown_in_a_line() -> None:
    assert repr(Latent((2, 0, 1), 3)) == "<Latent 2 0 1: L = 3, K = 3, 5 bits>"
    assert len(repr(Latent((65_535,) * MAX_LEVELS, MAX_K))) < 120
