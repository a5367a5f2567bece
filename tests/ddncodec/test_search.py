"""Search in archives against all pairs of decoded images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from ddncodec import Codec, Latent, append_archive, load_model, open_archive
from ddncodec.archive import Archive, ArchiveWriter, Header, writer
from ddncodec.container import Packed
from ddncodec.errors import DdnError, UnknownWeights
from ddncodec.images import Pixels
from ddncodec.matches import Match, same
from ddncodec.search import duplicates, first_picks, similar

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module", params=["k2-principal", "k8-principal", "k3-conv"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return load_model(GOLDEN / f"{request.param}.safetensors", "cpu")


def archive_of(codec: Codec, latents: list[Latent]) -> Archive:
    data = io.BytesIO()
    out = ArchiveWriter(data)
    for number, latent in enumerate(latents):
        out.add_packed(Packed(codec.info.id, 64, 64, codec.k, latent.levels, latent.pack()), f"image {number}")
    out.close()
    return Archive(data)


def images(codec: Codec, count: int, seed: int = 0) -> Pixels:
    """Smooth ones: random colours in 2×2 fields, enlarged."""
    fields = np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return fields.repeat(codec.resolution // 2, 1).repeat(codec.resolution // 2, 2)


def test_the_nearest_are_those_of_all_decoded_images(codec: Codec) -> None:
    latents = codec.encode_batch(list(images(codec, 150)))
    decoded = np.stack(codec.decode_batch(latents)).astype(float)
    archive = archive_of(codec, latents)
    looked_at: list[int] = []
    hits = 0
    for target in images(codec, 4, seed=1):
        exact = np.sqrt(np.square(decoded - target).mean((1, 2, 3)))
        found = similar(archive, codec, target, 10, advance=looked_at.append)
        assert [match.distance for match in found] == sorted(match.distance for match in found)
        for match in found:
            assert match.name == f"image {match.number}"
            assert match.distance == pytest.approx(exact[match.number])
        hits += len({match.number for match in found} & set(exact.argsort()[:10].tolist()))
    assert hits >= 36
    assert sum(looked_at) == 4 * len(archive)


def test_points_are_as_far_apart_as_images_of_the_axes(codec: Codec) -> None:
    pictures = torch.from_numpy(images(codec, 2)).movedim(-1, 1) / 127.5 - 1
    one, other = codec.network.points_of(pictures)
    distance = (pictures[0] - pictures[1]).square().sum().sqrt()
    assert (one - other).norm() <= distance * 1.001
    picks = codec.network.encode(pictures)
    assert codec.network.points(picks).shape == codec.network.points_of(pictures).shape


def numbers_of(groups: list[list[Match]]) -> list[tuple[int, ...]]:
    return [tuple(match.number for match in group) for group in groups]


def test_what_is_there_twice_is_found(codec: Codec) -> None:
    latents = codec.encode_batch(list(images(codec, 40)))
    archive = archive_of(codec, [*latents, latents[5], latents[5]])
    exact = numbers_of(same(archive))
    assert all(len({([*latents, latents[5], latents[5]])[number] for number in group}) == 1 for group in exact)
    assert any({5, 40, 41} <= set(group) for group in exact)
    for group in duplicates(archive, codec, 0.01):
        assert [match.distance for match in group] == [0.0] * len(group)
    assert any({5, 40, 41} <= set(group) for group in numbers_of(duplicates(archive, codec, 0.01)))


def test_what_is_nearly_alike_is_found_and_nothing_that_is_far() -> None:
    codec = load_model(GOLDEN / "k2-principal.safetensors", "cpu")
    pictures = images(codec, 40)
    near = np.clip(pictures[[3, 7]].astype(int) + 2, 0, 255).astype(np.uint8)
    latents = codec.encode_batch([*pictures, *near])
    groups = numbers_of(duplicates(archive_of(codec, latents), codec, 20.0))
    assert {(3, 40), (7, 41)} <= set(groups)
    decoded = np.stack(codec.decode_batch(latents)).astype(float)
    for group in groups:
        for number in group:
            assert np.sqrt(np.square(decoded[number] - decoded[group[0]]).mean()) < 60


def test_damaged_blocks_are_told_and_the_rest_is_searched(codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                          ) -> None:
    monkeypatch.setattr(writer, "RECORDS", 2)
    monkeypatch.setattr(writer, "FEWEST", 2)
    latents = codec.encode_batch(list(images(codec, 5)))
    path = tmp_path / "a.ddns"
    with append_archive(path) as out:
        for latent in [*latents, latents[0]]:
            out.add_packed(Packed(codec.info.id, 64, 64, codec.k, latent.levels, latent.pack()))
    data = bytearray(path.read_bytes())
    with open_archive(path) as archive:
        data[archive.entries[1].offset + 40] ^= 1
    path.write_bytes(data)
    with open_archive(path) as archive:
        told: list[DdnError] = []
        assert {match.number for match in similar(archive, codec, images(codec, 1)[0], 9, told.append)} == {0, 1, 4, 5}
        assert any({0, 5} <= set(group) for group in numbers_of(same(archive, told.append)))
        assert len(told) == 2
        with pytest.raises(DdnError):
            same(archive)


def test_archives_of_other_weights_and_empty_ones(codec: Codec) -> None:
    other = archive_of(codec, codec.encode_batch(list(images(codec, 1))))
    other.header = Header(b"else", codec.k, codec.levels)
    with pytest.raises(UnknownWeights):
        similar(other, codec, images(codec, 1)[0], 3)
    empty = Archive(io.BytesIO(Header(codec.info.id, codec.k, codec.levels).pack()))
    assert similar(empty, codec, images(codec, 1)[0], 3) == duplicates(empty, codec) == same(empty) == []


@pytest.mark.parametrize("k", [2, 3, 8, 512])
def test_picks_are_those_of_the_latents(k: int) -> None:
    rng = np.random.default_rng(k)
    latents = [Latent(tuple(rng.integers(k, size=37).tolist()), k) for _ in range(5)]
    payloads = b"".join(latent.pack() for latent in latents)
    for bits in (1, 20, 1_000):
        picks = first_picks(Header(b"1234", k, 37), payloads, bits)
        assert picks.tolist() == [list(latent.indices[: picks.shape[1]]) for latent in latents]
    assert picks.shape == (5, 37)
