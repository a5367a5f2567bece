"""Split-and-Prune against Algorithm 1 of the paper, written out to the letter, on points of one dimension."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from points import PointNodes

from ddncodec.network.paper.ddl import DiscreteDistributionLayers
from ddncodec.network.paper.split_and_prune import split_and_prune

SAMPLES, SEEDS, BATCH, RATE, GATE = 4000, 4, 20, 0.05, 8
HILLS = ((0.6, -0.3, 0.12), (0.4, 0.4, 0.05))  # weight, mean and deviation of the density's normal parts


class AlgorithmOne:
    """It judges after every sample, swaps one node, and never forgets a count."""

    def __init__(self, nodes: NDArray[np.float64]) -> None:
        self.nodes, self.counts, self.total = nodes.copy(), np.zeros(len(nodes)), 0.0

    def judge(self) -> list[list[int]]:
        most, least, k = int(self.counts.argmax()), int(self.counts.argmin()), len(self.nodes)
        if self.counts[most] / self.total <= 2 / k and self.counts[least] / self.total >= 0.5 / k:
            return []
        self.nodes[least] = self.nodes[most]
        self.total -= self.counts[least]
        self.counts[most] = self.counts[least] = self.counts[most] / 2
        return [[most, least]]

    def learn(self, sample: float) -> None:
        pick = int(np.abs(self.nodes - sample).argmin())
        self.counts[pick] += 1
        self.total += 1
        self.judge()
        self.nodes[pick] += RATE * (sample - self.nodes[pick])


def divergence(nodes: NDArray[np.float64]) -> float:
    """KL of the density's share of each node's cell against the node's own, 1/K."""
    nodes = np.sort(nodes)
    below = [sum(weight * (1 + erf((x - mean) / deviation / sqrt(2))) / 2 for weight, mean, deviation in HILLS)
             for x in (nodes[1:] + nodes[:-1]) / 2]
    shares = np.diff([0, *below, 1])
    shares = shares[shares > 0]
    return float((shares * np.log(shares * len(nodes))).sum())


def samples(seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    weights, means, deviations = map(np.array, zip(*HILLS, strict=True))
    hill = generator.choice(len(HILLS), SAMPLES, p=weights)
    return generator.normal(means[hill], deviations[hill])


def batched(k: int, seed: int, swaps: int) -> float:
    nodes = PointNodes(k, 1, seed)
    for batch in torch.from_numpy(samples(seed)).float()[:, None].split(BATCH):
        nodes.learn(batch, RATE, GATE, swaps)
    return divergence(nodes.points[:, 0].double().numpy())


def literal(k: int, seed: int) -> float:
    algorithm = AlgorithmOne(PointNodes(k, 1, seed).points[:, 0].double().numpy())
    for sample in samples(seed):
        algorithm.learn(sample)
    return divergence(algorithm.nodes)


@pytest.mark.parametrize(("k", "swaps"), [(8, 1), (20, 64)])
def test_batches_make_a_density_as_well_as_the_algorithm_does_sample_by_sample(k: int, swaps: int) -> None:
    ours, theirs, alone = (np.array([run(k, seed, *more) for seed in range(SEEDS)])
                           for run, *more in ((batched, swaps), (literal,), (batched, 0)))
    noise = sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / SEEDS)
    assert ours.mean() < theirs.mean() + 2 * noise
    assert max(ours.mean(), theirs.mean()) < alone.mean() / 3


@pytest.mark.parametrize("spread", [0.1, 0.4, 0.9])
def test_one_swap_of_one_level_is_the_algorithms(spread: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        algorithm = AlgorithmOne(np.zeros(10))
        algorithm.counts = 100 * generator.uniform(1 - spread, 1 + spread, 10) ** 2
        algorithm.total = algorithm.counts.sum()
        ddl = DiscreteDistributionLayers(1, 10, leak=0, features=1)
        ddl.usage.copy_(torch.from_numpy(algorithm.counts)[None, :, None])
        splits = split_and_prune(ddl, algorithm.total / 10 / 2, 1)  # enough to judge, not enough to forget
        assert torch.stack([splits.split, splits.pruned], 1)[splits.due].tolist() == algorithm.judge()
        torch.testing.assert_close(ddl.usage[0, :, 0], torch.from_numpy(algorithm.counts).float())
        assert ddl.usage.sum().item() == pytest.approx(algorithm.total)


def test_one_swap_is_one_of_each_level_and_call() -> None:
    ddl = DiscreteDistributionLayers(3, 8, leak=0, features=1)
    ddl.usage[:, :2] = 100
    for _ in range(2):
        splits = split_and_prune(ddl, gate=1, swaps=1)
        assert splits.level[splits.due].tolist() == [0, 1, 2]


def test_the_gate_opens_at_so_many_picks_a_node_on_average() -> None:
    for picks, swapped in ((79, 0), (80, 1)):
        ddl = DiscreteDistributionLayers(1, 10, leak=0, features=1)
        ddl.usage[0, 0] = picks
        assert split_and_prune(ddl, gate=8, swaps=1).due.sum() == swapped
