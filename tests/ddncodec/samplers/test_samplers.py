"""What stands in the guided sampler's place: chance, a prefix, and objectives, against brute force."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddncodec.codec import load_model
from ddncodec.guides import Objective
from ddncodec.guides.kinds import Pixels
from ddncodec.network.base import Generator
from ddncodec.network.paper.config import RecurrentConfig
from ddncodec.network.paper.recurrent import RecurrentGenerator
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.samplers.conditional import ConditionalSampler, ranks
from ddncodec.samplers.protocol import Choice, Proposals, Shape
from ddncodec.samplers.random import RandomSampler
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import PerImageStreams

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = ("k2-principal", "k8-principal", "k2-planes", "k3-conv", "k16-planes")


@pytest.fixture(scope="module", params=[*NAMES, "recurrent"])
def network(request: pytest.FixtureRequest) -> Generator:
    return recurrent() if request.param == "recurrent" else golden(request.param)


def recurrent() -> Generator:
    torch.manual_seed(0)
    return RecurrentGenerator(RecurrentConfig.default(8, 5, 16)).requires_grad_(False).eval()


def golden(name: str) -> Generator:
    return load_model(str(GOLDEN / f"{name}.safetensors"), "cpu").network


def none(batch: int) -> Tensor:
    return torch.zeros(batch, 0, dtype=torch.int64)


class Watched:
    """Takes recorded picks and keeps what was proposed."""

    def __init__(self, indices: Tensor) -> None:
        self._replay, self.offered = ReplaySampler(indices), []

    def choose(self, proposals: Proposals) -> Choice:
        choice = self._replay.choose(proposals)
        self.offered.append((proposals, choice.indices))
        return choice


def offered(network: Generator, batch: int = 2) -> list[tuple[Proposals, Tensor]]:
    """What is offered on the way of random picks, and those of each block."""
    picks = torch.randint(network.config.k, (batch, network.config.levels), generator=torch.Generator().manual_seed(3))
    watched = Watched(picks)
    network.run(watched, batch)
    return watched.offered


def test_images_offered_are_those_that_the_picks_make(network: Generator) -> None:
    """What the next block of a segment starts from is what the proposals said that these picks would show."""
    found = offered(network)
    for proposals, picks in found:
        assert proposals.shape == Shape(2, picks.shape[1], network.config.k)
    if isinstance(network, PrincipalGenerator):
        pairs = [(one, picks, other) for (one, picks), (other, _) in pairwise(found)
                 if one.segment == other.segment]  # type: ignore[attr-defined]
        assert pairs
    elif isinstance(network, RecurrentGenerator):
        pairs = [(one, picks, other) for (one, picks), (other, _) in pairwise(found)]
    else:
        pytest.skip("between blocks convolutions correct the image")
    for one, picks, other in pairs:
        expected = other.images(none(2)[:, None])
        torch.testing.assert_close(one.images(picks[:, None]), expected, atol=1e-4, rtol=1e-4)


def test_ways_are_drawn_independently_and_reach_as_far_as_is_told(network: Generator) -> None:
    for proposals, picks in offered(network)[:4]:
        batch, levels, k = proposals.shape
        made = picks[:, : levels - 1]
        every = torch.cat([made[:, None].expand(-1, k, -1), torch.arange(k).expand(batch, -1)[:, :, None]], 2)
        drawn = proposals.images(every)
        torch.testing.assert_close(drawn[:, 1:2], proposals.images(every[:, 1:2]), atol=1e-5, rtol=1e-5)
        steps = (drawn - proposals.images(made[:, None])).square().sum((2, 3, 4))
        torch.testing.assert_close(proposals.reach(made), steps, atol=1e-4, rtol=1e-3)


def test_image_i_of_a_seed_is_the_same_in_any_batch(network: Generator) -> None:
    target = torch.zeros(1, 3, 16, 16)

    def drawn(images: range, temperature: float | None) -> Tensor:
        streams = PerImageStreams(7, images)
        draw = (RandomSampler(streams, temperature) if temperature
                else conditional(network, Objective(Pixels(), target), streams, 2, 4, typical=1))
        return network.run(ReplaySampler(none(len(images)), draw), len(images)).indices

    for temperature in (1.0, 0.5, None):
        whole = drawn(range(6), temperature)
        assert torch.equal(drawn(range(4, 6), temperature), whole[4:])
        assert (whole[0] != whole[1]).any()
    other = ReplaySampler(none(6), RandomSampler(PerImageStreams(8, range(6))))
    assert not torch.equal(drawn(range(6), 1.0), network.run(other, 6).indices)


def test_temperature_goes_from_the_smallest_step_over_even_odds_to_the_largest(network: Generator) -> None:
    many = 400
    proposals, _ = offered(network, many)[0]  # the first, and so alike for all images
    reach = proposals.reach(none(many))[0]
    k = len(reach)

    def first(temperature: float) -> Tensor:
        return RandomSampler(PerImageStreams(0, range(many)), temperature).draw(proposals, none(many))[:, 0]

    counts = torch.bincount(first(1.0), minlength=k) / many
    assert (counts - 1 / k).abs().max() < 0.1
    assert (first(1e-4) == reach.argmin()).all()
    means = [reach[first(temperature)].mean() for temperature in (0.3, 1.0, 100.0)]
    assert means == sorted(means)


def test_a_prefix_is_kept_also_where_it_ends_inside_a_block(network: Generator) -> None:
    levels = network.config.levels
    for kept in (1, levels // 2 + 1, levels):
        prefix = torch.randint(network.config.k, (1, kept)).expand(5, -1)
        drawn = network.run(ReplaySampler(prefix, RandomSampler(PerImageStreams(0, range(5)))), 5).indices
        assert drawn.shape == (5, levels)
        assert torch.equal(drawn[:, :kept], prefix)
        assert kept > levels - 2 or (drawn[0] != drawn[1]).any()


def conditional(network: Generator, objective: Objective, streams: PerImageStreams, top: int, lookahead: int,
                typical: float = 0) -> ConditionalSampler:
    expectation = network.expectation([objective], typical)
    return ConditionalSampler(network.config.resolution, [objective], streams, expectation, top, lookahead)


class Cubed:
    """Not affine: candidates are compared as images."""

    def transform(self, images: Tensor) -> Tensor:
        return images**3


def test_the_chunked_choice_is_the_best_of_all_ways(network: Generator) -> None:
    target = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    objective = Objective.like(Cubed(), target)
    proposals = next(one for one, picks in offered(network) if one.images(picks[:, None]).shape[-1] == 16)
    _, levels, k = proposals.shape
    bits = {2: 5, 3: 5, 8: 6, 16: 8}[k]
    ahead = min(levels, {2: 5, 3: 3, 8: 2, 16: 2}[k])
    found = conditional(network, objective, PerImageStreams(0, range(2)), 1, bits).draw(proposals, none(2))
    every = torch.tensor(list(product(range(k), repeat=ahead)))
    for image in range(2):
        distances = torch.cat([objective.distances(proposals.images(way.expand(2, 1, -1)))[image] for way in every])
        assert found[image, :ahead].tolist() == every[distances.argmin()].tolist()


@pytest.mark.parametrize("name", ["recurrent", "k2-principal", "k8-principal"])
def test_a_objective_of_the_image_itself_picks_what_the_greedy_encoder_does(
    name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ddncodec.network.principal.expectation.is_affine", lambda *_: False)  # by images
    network = recurrent() if name == "recurrent" else golden(name)
    chance = RandomSampler(PerImageStreams(0, range(3)), 0.5)
    target = network.run(ReplaySampler(none(3), chance), 3).image * 0.5  # what the axes span, and nothing is clipped
    draw = conditional(network, Objective(Pixels(), target), PerImageStreams(0, range(3)), top=1, lookahead=1)
    found = network.run(ReplaySampler(none(3), draw), 3).indices
    assert torch.equal(found, network.encode(target))


def test_two_objectives_are_mixed_by_the_weighted_mean_of_their_ranks() -> None:
    one, other = torch.tensor([[3.0, 1, 2]]), torch.tensor([[0.001, 0.003, 0.002]])
    assert ranks(one).tolist() == [[1, 0, 0.5]]
    assert (ranks(one) + 3 * ranks(other)).argmin() == 0  # whatever the units of their distances
    assert (3 * ranks(one) + ranks(other)).argmin() == 1
    torch.testing.assert_close(ranks(torch.tensor([[2.0, 2, 1, 5]])), torch.tensor([[1 / 3, 1 / 3, 0, 1]]))


def test_top_k_draws_among_the_k_best_alone() -> None:
    network = golden("k8-principal")
    proposals, _ = offered(network, 1)[0]
    target = torch.rand(1, 3, 16, 16) - 0.5
    objective = Objective.like(Cubed(), target)
    ways = torch.arange(8)[None, :, None]
    best = objective.distances(proposals.images(ways))[0].argsort()[:3].tolist()
    streams = [PerImageStreams(0, range(i, i + 1)) for i in range(60)]
    picks = {int(conditional(network, objective, one, 3, 3).draw(proposals, none(1))[0, 0]) for one in streams}
    assert picks == set(best)
