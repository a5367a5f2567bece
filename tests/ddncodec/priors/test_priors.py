"""Priors: what is counted, what follows it, and which files are refused."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ddncodec import sample
from ddncodec.codec import Codec, load_model
from ddncodec.errors import BadCheckpoint, InputMissing, UnknownWeights
from ddncodec.network.base import Generator
from ddncodec.network.config import Condition
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.registry import build
from ddncodec.priors.counting import count, cross_entropy
from ddncodec.priors.file import FORMAT, load_prior, save_prior
from ddncodec.priors.odds import Odds
from ddncodec.samplers.random import RandomSampler, indices_of, nodes_of
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import PerImageStreams
from ddncodec.zoo import prior_path

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = ("k2-principal", "k8-principal", "k2-planes", "k3-conv", "single-shot", "recurrent")


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Generator:
    torch.manual_seed(0)
    if request.param == "recurrent":
        return build(RecurrentConfig.default(8, 5, 16)).requires_grad_(False).eval()
    if request.param == "single-shot":
        return build(SingleShotConfig.default(4, 8, 16, channels=8)).requires_grad_(False).eval()
    return golden(request.param).network


def golden(name: str) -> Codec:
    return load_model(str(GOLDEN / f"{name}.safetensors"), "cpu")


def images(number: int, side: int = 16) -> Tensor:
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def drawn(network: Generator, number: int, prior: Any, kept: Tensor | None = None, temperature: float = 1) -> Tensor:
    streams = PerImageStreams(1, range(number))
    none = torch.zeros(number, 0, dtype=torch.int64) if kept is None else kept
    return network.run(ReplaySampler(none, RandomSampler(streams, temperature, prior)), number).indices


def test_every_choice_of_every_latent_is_counted(network: Generator) -> None:
    counts = count(network, [(images(5), None), (images(3), None)])
    assert counts.shape == network.cells
    choices = network.config.bits / log2(network.cells.nodes)
    assert int(counts.sum()) == 8 * round(choices)
    if network.cells.number == network.config.levels:  # each level is a cell: the latents themselves say the counts
        picks = torch.cat([network.encode(images(n), effort=network.max_effort) for n in (5, 3)])
        for level, column in enumerate(picks.unbind(1)):
            assert torch.equal(counts[level], torch.bincount(column, minlength=network.config.k))


def test_nodes_and_indices_are_each_others_inverse() -> None:
    picks = torch.arange(512).view(2, 256)
    assert torch.equal(indices_of(nodes_of(picks, 9, 512), 9, 512), picks)
    assert nodes_of(torch.tensor([[0b100]]), 3, 8).tolist() == [[1, 0, 0]]


def test_bits_are_those_of_the_latent_where_nothing_is_known_and_fewer_where_all_is(network: Generator) -> None:
    part = [(images(6), None)]
    blind = Odds(torch.zeros(network.cells))
    knowing = Odds(count(network, part))
    found = cross_entropy(network, {"uniform": blind, "odds": knowing}, part)
    assert found["uniform"] == pytest.approx(network.config.bits)
    assert found["odds"] < found["uniform"]


def test_samples_pick_as_often_as_was_counted(network: Generator) -> None:
    nodes = network.cells.nodes
    counts = torch.zeros(network.cells)
    counts[:, 0], counts[:, 1] = 300, 100
    picks = drawn(network, 40, Odds(counts, unseen=0))
    cells = round(log2(network.config.k) / log2(nodes))
    shares = torch.bincount(nodes_of(picks, cells, network.config.k).flatten(), minlength=nodes) / (
        picks.numel() * cells)
    assert abs(shares[0] - 0.75) < 0.1
    assert shares[:2].sum() == 1
    certain = drawn(network, 3, Odds(counts, unseen=0), temperature=0.01)
    assert (certain == 0).all()
    assert torch.equal(drawn(network, 40, Odds(counts, unseen=0))[:3], drawn(network, 3, Odds(counts, unseen=0)))


def test_a_prefix_is_kept(network: Generator) -> None:
    for kept in (1, network.config.levels // 2 + 1, network.config.levels):
        prefix = torch.randint(network.config.k, (1, kept)).expand(4, -1)
        found = drawn(network, 4, Odds(torch.ones(network.cells)), prefix)
        assert found.shape == (4, network.config.levels)
        assert torch.equal(found[:, :kept], prefix)


def test_classes_have_odds_of_their_own() -> None:
    torch.manual_seed(0)
    config = BlockwiseConfig.default(4, 12, 8, channels=8, planes=0)
    assert build(config).shares is None
    network = build(replace(config, condition=Condition("class", 3))).requires_grad_(False).eval()
    shares = network.shares
    assert shares is not None
    assert shares.shape == network.cells == (36, 4)
    for layer in network.layers:  # type: ignore[attr-defined]
        layer.usage[:, 2, 1] = 1  # class 1 picks node 2 alone; of the others nothing is known
    one_hot = torch.eye(3)[[0, 1]][:, :, None, None]
    sampler = RandomSampler(PerImageStreams(0, range(2)), prior=Odds(network.shares, unseen=0))
    none = torch.zeros(2, 0, dtype=torch.int64)
    picks = network.run(ReplaySampler(none, sampler), 2, condition=one_hot).indices
    assert (picks[1] == 2).all()
    assert len(picks[0].unique()) > 1


def test_a_file_gives_the_odds_back_and_is_found_beside_the_weights(tmp_path: Path) -> None:
    codec = golden("k2-principal")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(codec.info.path.read_bytes())
    codec = load_model(path, "cpu")
    odds = Odds(count(codec.network, [(images(6), None)]))
    assert prior_path(codec.info) == tmp_path / "mine.prior.safetensors"
    before = sample(3, codec)
    save_prior(prior_path(codec.info), odds, codec.info)
    read = load_prior(prior_path(codec.info), codec.info, codec.network.cells, codec.device)
    assert torch.equal(read.counts.long(), odds.counts)
    latents = [[one.latent for one in found] for found in (
        before, sample(3, codec, prior="none"), sample(3, codec), sample(3, codec, prior=read),
        sample(3, codec, prior=prior_path(codec.info)))]
    assert latents[0] == latents[1] != latents[2] == latents[3] == latents[4]


def test_a_prior_of_earlier_weights_is_one_of_those_that_supersede_them(tmp_path: Path) -> None:
    old, new = golden("k2-refined"), golden("k2-eight-bits")
    save_prior(tmp_path / "x", Odds(torch.ones(old.network.cells, dtype=torch.int64)), old.info)
    assert load_prior(tmp_path / "x", new.info, new.network.cells, new.device).counts.all()
    save_prior(tmp_path / "x", Odds(torch.ones(old.network.cells, dtype=torch.int64)), new.info)
    with pytest.raises(UnknownWeights, match="not of "):
        load_prior(tmp_path / "x", old.info, old.network.cells, old.device)


def test_large_counts_keep_their_proportions(tmp_path: Path) -> None:
    codec = golden("k2-planes")
    counts = torch.zeros(codec.network.cells, dtype=torch.int64)
    counts[0] = torch.tensor([3_000_000, 1_000_000])
    save_prior(tmp_path / "x", Odds(counts), codec.info)
    read = load_prior(tmp_path / "x", codec.info, codec.network.cells, codec.device).counts
    assert read[0, 0] / read[0, 1] == pytest.approx(3, rel=1e-3)
    assert not read[1:].any()


def test_priors_of_other_weights_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    codec, path = golden("k2-planes"), tmp_path / "x"
    table = codec.network.cells
    good = {"cells": torch.arange(2, dtype=torch.int32), "counts": torch.ones(2, 2, dtype=torch.int16)}
    marks = {"format": FORMAT, "weights": codec.info.id.hex()}

    def refused(error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match) as refusal:
            load_prior(path, codec.info, table, codec.device)
        assert str(refusal.value).startswith(f"{path}: ")

    refused(InputMissing, "cannot be read")
    path.write_bytes(b"junk")
    refused(BadCheckpoint, "header")
    save_file(good, path, marks | {"weights": "00000000"})
    refused(UnknownWeights, "00000000")
    for tensors, metadata, why in (
            (good, {}, "not a prior"), ({"cells": good["cells"]}, marks, "not a prior"),
            (good | {"cells": torch.arange(2)}, marks, "types"),
            (good | {"counts": torch.ones(2, 3, dtype=torch.int16)}, marks, "shapes"),
            (good | {"cells": torch.tensor([1, 0], dtype=torch.int32)}, marks, "ascending"),
            (good | {"cells": torch.tensor([0, table.number], dtype=torch.int32)}, marks, "ascending"),
            (good | {"cells": torch.tensor([-1, 0], dtype=torch.int32)}, marks, "ascending"),
            (good | {"counts": -good["counts"]}, marks, "below zero")):
        save_file(tensors, path, metadata)
        refused(BadCheckpoint, why)
    save_file(good, path, marks)
    assert load_prior(path, codec.info, table, codec.device).counts.sum() == 4
