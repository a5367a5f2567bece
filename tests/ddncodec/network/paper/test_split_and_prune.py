import pytest
import torch

from ddncodec.network.base import NodeSplits
from ddncodec.network.paper.ddl import DiscreteDistributionLayers
from ddncodec.network.paper.split_and_prune import split_and_prune

GATE = 50


def layer(usage: list[list[float]]) -> DiscreteDistributionLayers:
    torch.manual_seed(0)
    ddl = DiscreteDistributionLayers(len(usage), len(usage[0]), leak=1, features=6)
    ddl.usage.copy_(torch.tensor(usage)[:, :, None] * GATE)
    return ddl


def once(ddl: DiscreteDistributionLayers, swaps: int = 1) -> NodeSplits:
    return split_and_prune(ddl, GATE, swaps)


def made(splits: NodeSplits) -> list[list[int]]:
    """Level, split node and pruned node of each split that was due."""
    return torch.stack([splits.level, splits.split, splits.pruned], 1)[splits.due].tolist()


def test_an_even_use_splits_nothing() -> None:
    ddl = layer([[1, 1.2, 0.9, 0.9]])
    before = ddl.nodes.clone()
    assert made(once(ddl)) == []
    assert torch.equal(ddl.nodes, before)


def test_a_node_with_more_than_two_kths_of_the_picks_splits_onto_the_least_used() -> None:
    ddl = layer([[1, 1, 1, 1], [0.6, 2.6, 0.6, 0.59]])  # of 4: more than 2/4, none below 0.5/4
    before = ddl.nodes.clone()
    splits = once(ddl)
    assert made(splits) == [[1, 1, 3]]
    assert torch.equal(ddl.nodes[0], before[0])
    assert torch.equal(ddl.nodes[1, :3], before[1, :3])
    copy, original = ddl.nodes[1, 3], before[1, 1]
    assert not torch.equal(copy, original)
    assert (copy - original).norm() < 0.05 * original.norm()


def test_a_node_with_less_than_half_a_kth_of_the_picks_gives_way() -> None:
    splits = once(layer([[1.4, 1.2, 1.1, 0.3]]))
    assert made(splits) == [[0, 0, 3]]


def test_the_halves_share_the_count_of_the_node_that_split() -> None:
    ddl = layer([[3.0, 0.5, 0.5, 0.1]])
    once(ddl)
    torch.testing.assert_close(ddl.usage[..., 0], torch.tensor([[1.5, 0.5, 0.5, 1.5]]) * GATE)


def test_too_few_picks_are_no_evidence() -> None:
    ddl = layer([[1.5, 0, 0, 0]])
    assert made(once(ddl)) == []


def test_counts_are_forgotten_in_time() -> None:
    ddl = layer([[4.0, 4.0, 4.0, 4.0]])
    once(ddl)
    torch.testing.assert_close(ddl.usage[..., 0], torch.tensor([[2.0, 2, 2, 2]]) * GATE)


def test_other_tensors_follow_the_nodes() -> None:
    splits = once(layer([[1, 1, 1, 1], [3.0, 0.5, 0.5, 0.0]]))
    moment = torch.arange(8.0).view(2, 4, 1)
    splits.apply(moment)
    assert moment[:, :, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 4]]


def test_many_nodes_of_a_level_split_at_once_the_most_used_onto_the_least_used() -> None:
    ddl = layer([[3.0, 0.0, 2.5, 0.1, 1.0, 0.2, 0.6, 0.6]])
    before = ddl.nodes.clone()
    assert made(once(ddl, swaps=64)) == [[0, 0, 1], [0, 2, 3], [0, 4, 5]]
    assert torch.equal(ddl.nodes[0, [0, 2, 4, 6, 7]], before[0, [0, 2, 4, 6, 7]])
    torch.testing.assert_close(ddl.usage[0, :, 0] / GATE, torch.tensor([1.5, 1.5, 1.25, 1.25, 0.5, 0.5, 0.6, 0.6]))


def test_without_swaps_nothing_splits() -> None:
    assert made(once(layer([[4.0, 0.0, 0.0, 0.0]]), swaps=0)) == []


@pytest.mark.parametrize("k", [2, 3])
def test_of_two_or_three_nodes_none_is_pruned_however_rare(k: int) -> None:
    ddl = layer([[9.0, *[0.1] * (k - 1)]])
    before = ddl.nodes.clone()
    assert made(once(ddl, swaps=64)) == []
    assert torch.equal(ddl.nodes, before)
