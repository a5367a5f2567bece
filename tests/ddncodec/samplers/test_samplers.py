"""What stands in the guided sampler's place: chance, a prefix, and wishes, against brute force."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddncodec.codec import load_model
from ddncodec.guides import Wish, ranks
from ddncodec.guides.kinds import Pixels
from ddncodec.network.config import RecurrentConfig
from ddncodec.network.generator import Generator
from ddncodec.network.layer import Shape
from ddncodec.network.principal import PrincipalGenerator
from ddncodec.network.recurrent import RecurrentGenerator
from ddncodec.samplers import Choice, Offer, Replay
from ddncodec.samplers.chance import Dice, Random
from ddncodec.samplers.ranked import Ranked

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
    """Takes recorded picks and keeps what was offered."""

    def __init__(self, indices: Tensor) -> None:
        self._replay, self.offers = Replay(indices), []

    def choose(self, offer: Offer) -> Choice:
        choice = self._replay.choose(offer)
        self.offers.append((offer, choice.indices))
        return choice


def offers(network: Generator, batch: int = 2) -> list[tuple[Offer, Tensor]]:
    """What is offered on the way of random picks, and those of each block."""
    picks = torch.randint(network.config.k, (batch, network.config.levels), generator=torch.Generator().manual_seed(3))
    watched = Watched(picks)
    network.run(watched, batch)
    return watched.offers


def test_images_offered_are_those_that_the_picks_make(network: Generator) -> None:
    """What the next block of a segment starts from is what the offer said that these picks would show."""
    found = offers(network)
    assert [offer.shape for offer, _ in found] == [Shape(2, picks.shape[1], network.config.k) for _, picks in found]
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
    for offer, picks in offers(network)[:4]:
        batch, levels, k = offer.shape
        made = picks[:, : levels - 1]
        every = torch.cat([made[:, None].expand(-1, k, -1), torch.arange(k).expand(batch, -1)[:, :, None]], 2)
        drawn = offer.images(every)
        torch.testing.assert_close(drawn[:, 1:2], offer.images(every[:, 1:2]), atol=1e-5, rtol=1e-5)
        steps = (drawn - offer.images(made[:, None])).square().sum((2, 3, 4))
        torch.testing.assert_close(offer.reach(made), steps, atol=1e-4, rtol=1e-3)


def test_image_i_of_a_seed_is_the_same_in_any_batch(network: Generator) -> None:
    target = torch.zeros(1, 3, 16, 16)

    def drawn(images: range, temperature: float | None) -> Tensor:
        dice = Dice(7, images)
        draw = Random(dice, temperature) if temperature else Ranked(network, [Wish(Pixels(), target)], dice, 2, 4)
        return network.run(Replay(none(len(images)), draw), len(images)).indices

    for temperature in (1.0, 0.5, None):
        whole = drawn(range(6), temperature)
        assert torch.equal(drawn(range(4, 6), temperature), whole[4:])
        assert (whole[0] != whole[1]).any()
    assert not torch.equal(drawn(range(6), 1.0), network.run(Replay(none(6), Random(Dice(8, range(6)))), 6).indices)


def test_temperature_goes_from_the_smallest_step_over_even_odds_to_the_largest(network: Generator) -> None:
    many = 400
    offer, _ = offers(network, many)[0]  # the first, and so alike for all images
    reach = offer.reach(none(many))[0]
    k = len(reach)

    def first(temperature: float) -> Tensor:
        return Random(Dice(0, range(many)), temperature).draw(offer, none(many))[:, 0]

    counts = torch.bincount(first(1.0), minlength=k) / many
    assert (counts - 1 / k).abs().max() < 0.1
    assert (first(1e-4) == reach.argmin()).all()
    means = [reach[first(temperature)].mean() for temperature in (0.3, 1.0, 100.0)]
    assert means == sorted(means)


def test_a_prefix_is_kept_also_where_it_ends_inside_a_block(network: Generator) -> None:
    levels = network.config.levels
    for kept in (1, levels // 2 + 1, levels):
        prefix = torch.randint(network.config.k, (1, kept)).expand(5, -1)
        drawn = network.run(Replay(prefix, Random(Dice(0, range(5)))), 5).indices
        assert drawn.shape == (5, levels)
        assert torch.equal(drawn[:, :kept], prefix)
        assert kept > levels - 2 or (drawn[0] != drawn[1]).any()


class Cubed:
    """Not affine: candidates are compared as images."""

    def transform(self, images: Tensor) -> Tensor:
        return images**3


def test_the_chunked_choice_is_the_best_of_all_ways(network: Generator) -> None:
    target = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    wish = Wish.like(Cubed(), target)
    offer, _ = next((offer, picks) for offer, picks in offers(network) if offer.images(picks[:, None]).shape[-1] == 16)
    _, levels, k = offer.shape
    bits = {2: 5, 3: 5, 8: 6, 16: 8}[k]
    ahead = min(levels, {2: 5, 3: 3, 8: 2, 16: 2}[k])
    found = Ranked(network, [wish], Dice(0, range(2)), 1, bits, typical=0).draw(offer, none(2))
    every = torch.tensor(list(product(range(k), repeat=ahead)))
    for image in range(2):
        distances = torch.cat([wish.distances(offer.images(way.expand(2, 1, -1)))[image] for way in every])
        assert found[image, :ahead].tolist() == every[distances.argmin()].tolist()


@pytest.mark.parametrize("name", ["recurrent", "k2-principal", "k8-principal"])
def test_a_wish_for_the_image_itself_picks_what_the_greedy_encoder_does(
    name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ddncodec.samplers.ranked.is_affine", lambda *_: False)  # by images, as for any guide
    network = recurrent() if name == "recurrent" else golden(name)
    chance = Random(Dice(0, range(3)), 0.5)
    target = network.run(Replay(none(3), chance), 3).image * 0.5  # what the axes span, and nothing is clipped
    ranked = Ranked(network, [Wish(Pixels(), target)], Dice(0, range(3)), top=1, lookahead=1, typical=0)
    found = network.run(Replay(none(3), ranked), 3).indices
    assert torch.equal(found, network.reconstruct(target).indices)


def test_two_wishes_are_mixed_by_the_weighted_mean_of_their_ranks() -> None:
    one, other = torch.tensor([[3.0, 1, 2]]), torch.tensor([[0.001, 0.003, 0.002]])
    assert ranks(one).tolist() == [[1, 0, 0.5]]
    assert (ranks(one) + 3 * ranks(other)).argmin() == 0  # whatever the units of their distances
    assert (3 * ranks(one) + ranks(other)).argmin() == 1
    torch.testing.assert_close(ranks(torch.tensor([[2.0, 2, 1, 5]])), torch.tensor([[1 / 3, 1 / 3, 0, 1]]))


def test_top_k_draws_among_the_k_best_alone() -> None:
    network = golden("k8-principal")
    offer, _ = offers(network, 1)[0]
    target = torch.rand(1, 3, 16, 16) - 0.5
    wish = Wish.like(Cubed(), target)
    ways = torch.arange(8)[None, :, None]
    best = wish.distances(offer.images(ways))[0].argsort()[:3].tolist()
    picks = {int(Ranked(network, [wish], Dice(0, range(i, i + 1)), 3, 3, typical=0).draw(offer, none(1))[0, 0])
             for i in range(60)}
    assert picks == set(best)
