import torch

from ddncodec.network.paper.ddl import DiscreteDistributionLayers
from ddncodec.network.paper.split_and_prune import MIN_PICKS, split_and_prune


def layer(usage: list[list[float]]) -> DiscreteDistributionLayers:
    torch.manual_seed(0)
    ddl = DiscreteDistributionLayers(len(usage), len(usage[0]), leak=1, features=6)
    ddl.usage.copy_(torch.tensor(usage)[:, :, None] * MIN_PICKS)
    return ddl


def test_an_even_use_splits_nothing() -> None:
    ddl = layer([[1, 1.2, 0.9, 0.9]])
    before = ddl.nodes.clone()
    assert len(split_and_prune(ddl).level) == 0
    assert torch.equal(ddl.nodes, before)


def test_a_node_with_more_than_two_kths_of_the_picks_splits_onto_the_least_used() -> None:
    ddl = layer([[1, 1, 1, 1], [0.6, 2.6, 0.6, 0.59]])  # of 4: more than 2/4, none below 0.5/4
    before = ddl.nodes.clone()
    splits = split_and_prune(ddl)
    assert [t.tolist() for t in (splits.level, splits.split, splits.pruned)] == [[1], [1], [3]]
    assert torch.equal(ddl.nodes[0], before[0])
    assert torch.equal(ddl.nodes[1, :3], before[1, :3])
    copy, original = ddl.nodes[1, 3], before[1, 1]
    assert not torch.equal(copy, original)
    assert (copy - original).norm() < 0.05 * original.norm()


def test_a_node_with_less_than_half_a_kth_of_the_picks_gives_way() -> None:
    splits = split_and_prune(layer([[1.4, 1.2, 1.1, 0.3]]))
    assert [t.tolist() for t in (splits.level, splits.split, splits.pruned)] == [[0], [0], [3]]


def test_the_halves_share_the_count_of_the_node_that_split() -> None:
    ddl = layer([[3.0, 0.5, 0.5, 0.1]])
    split_and_prune(ddl)
    torch.testing.assert_close(ddl.usage[..., 0], torch.tensor([[1.5, 0.5, 0.5, 1.5]]) * MIN_PICKS)


def test_too_few_picks_are_no_evidence() -> None:
    ddl = layer([[1.5, 0, 0, 0]])
    assert len(split_and_prune(ddl).level) == 0


def test_counts_are_forgotten_in_time() -> None:
    ddl = layer([[4.0, 4.0, 4.0, 4.0]])
    split_and_prune(ddl)
    torch.testing.assert_close(ddl.usage[..., 0], torch.tensor([[2.0, 2, 2, 2]]) * MIN_PICKS)


def test_other_tensors_follow_the_nodes() -> None:
    splits = split_and_prune(layer([[1, 1, 1, 1], [3.0, 0.5, 0.5, 0.0]]))
    moment = torch.arange(8.0).view(2, 4, 1)
    splits.apply(moment)
    assert moment[:, :, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 4]]
