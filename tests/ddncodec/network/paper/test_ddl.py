import pytest
import torch
from torch import Tensor

from ddncodec.network.paper.ddl import DiscreteDistributionLayers
from ddncodec.network.paper.features import ConvFeatures
from ddncodec.samplers.guided import GuidedSampler


@pytest.mark.parametrize("levels", [1, 3])
def test_mixed_precision_ends_where_distances_begin(levels: int) -> None:
    """Proposals that differ by less than bfloat16 can tell apart are told apart, and errors are as exact."""
    torch.manual_seed(0)
    layer = DiscreteDistributionLayers(levels, 64, 1, 16)
    with torch.no_grad():
        layer.nodes.mul_(1e-3).add_(torch.randn(levels, 1, 4, 16) / 8)
    features, target = torch.randn(32, 16, 8, 8), torch.randn(32, 3, 8, 8)

    def picked() -> tuple[Tensor, Tensor]:
        _, picks = layer(ConvFeatures(features), torch.zeros(32, 3, 8, 8), GuidedSampler(target))
        return picks.choice.indices, picks.errors(target)

    indices, errors = picked()
    with torch.autocast("cpu", torch.bfloat16):
        mixed_indices, mixed_errors = picked()
    assert len(indices.unique()) > 4
    assert torch.equal(mixed_indices, indices)
    assert torch.equal(mixed_errors, errors)
