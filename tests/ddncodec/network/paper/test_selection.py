"""Selection in Gram space or by rendering against the plain way: render all K, compare them with the target."""

import pytest
import torch
from torch import Tensor

from ddncodec.network.paper.features import ConvFeatures, Features, PlaneFeatures
from ddncodec.network.paper.selection import nearest_path, path_errors

B, C, SIDE = 5, 12, 8


def features_and_map(kind: str) -> tuple[Features, Tensor]:
    """Features, and the same as an explicit map (B, C, H, W)."""
    if kind == "conv":
        feature_map = torch.randn(B, C, SIDE, SIDE)
        return ConvFeatures(feature_map), feature_map
    planes = torch.linalg.qr(torch.randn(SIDE * SIDE, C)).Q.T.contiguous()
    gain = torch.rand(B, C) + 0.5
    return PlaneFeatures(planes, gain), (gain[:, :, None] * planes).view(B, C, SIDE, SIDE)


def plain_path(feature_map: Tensor, nodes: Tensor, scale: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Every proposal of every level rendered: the distances (B, n, K) along the nearest path, and its picks."""
    picks, distances = [], []
    for level, level_scale in zip(nodes.double(), scale.T, strict=True):
        proposals = torch.einsum("kic,bchw,b->bkihw", level, feature_map.double(), level_scale.double())
        distance = (residual.double()[:, None] - proposals).square().sum((2, 3, 4))
        pick = distance.argmin(1)
        residual = residual.double() - proposals[torch.arange(B), pick]
        picks.append(pick)
        distances.append(distance)
    return torch.stack(distances, 1), torch.stack(picks, 1)


@pytest.mark.parametrize("kind", ["conv", "planes"])
@pytest.mark.parametrize(("k", "levels"), [(2, 40), (3, 1), (3, 9), (64, 4), (512, 3)])
def test_either_search_picks_what_comparing_all_rendered_images_picks(kind: str, k: int, levels: int) -> None:
    torch.manual_seed(k)
    features, feature_map = features_and_map(kind)
    nodes, residual = torch.randn(levels, k, 3, C) * 0.3, torch.randn(B, 3, SIDE, SIDE)
    scale = torch.rand(B, levels) + 0.5
    distances, picks = plain_path(feature_map, nodes, scale, residual)
    assert torch.equal(nearest_path(features, nodes, scale, residual), picks)
    picked = nodes[torch.arange(levels), picks] * scale[:, :, None, None]
    least = distances.gather(2, picks[:, :, None])[:, :, 0]
    torch.testing.assert_close(path_errors(features, residual, picked).double(), least, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["conv", "planes"])
def test_the_operations_on_features_are_those_on_their_map(kind: str) -> None:
    torch.manual_seed(0)
    features, feature_map = features_and_map(kind)
    flat = feature_map.flatten(2)
    weights, image = torch.randn(B, 4, C), torch.randn(B, 4, SIDE, SIDE)
    gram = flat @ flat.mT
    torch.testing.assert_close(features.project(image), image.flatten(2) @ flat.mT)
    torch.testing.assert_close(features.gram(weights), weights @ gram)
    torch.testing.assert_close(features.render(weights), torch.einsum("boc,bchw->bohw", weights, feature_map))
    nodes = torch.randn(7, 3, C)
    expected = torch.einsum("mic,bcd,mid->bm", nodes, gram, nodes)
    torch.testing.assert_close(features.energy(nodes), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["conv", "planes"])
@pytest.mark.parametrize("levels", [1, 6])
def test_path_errors_have_the_gradients_of_the_rendered_errors(kind: str, levels: int) -> None:
    torch.manual_seed(1)
    learned = torch.rand(B, C, *([] if kind == "planes" else [SIDE, SIDE])).add(0.5).requires_grad_()
    planes = torch.linalg.qr(torch.randn(SIDE * SIDE, C)).Q.T.contiguous()
    features = PlaneFeatures(planes, learned) if kind == "planes" else ConvFeatures(learned)
    feature_map = (learned[:, :, None] * planes).view(B, C, SIDE, SIDE) if kind == "planes" else learned
    residual = torch.randn(B, 3, SIDE, SIDE, requires_grad=True)
    picked = torch.randn(B, levels, 3, C, requires_grad=True)
    rendered = torch.einsum("bnic,bchw->bnihw", picked, feature_map).cumsum(1)
    expected = (residual[:, None] - rendered).square().sum((2, 3, 4))
    nearest_path(features, picked[0, :, None], torch.ones(B, levels), residual)  # as in training, before the errors
    actual = path_errors(features, residual, picked)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)
    scale = torch.rand(B, levels)
    for got, want in zip(torch.autograd.grad((actual * scale).sum(), [residual, picked, learned]),
                         torch.autograd.grad((expected * scale).sum(), [residual, picked, learned]), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("renders", [False, True])
def test_chain_dropout_takes_the_random_node_and_goes_on_from_there(
    renders: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    features, feature_map = features_and_map("conv")
    monkeypatch.setattr(ConvFeatures, "renders", lambda *_: renders)
    nodes, residual = torch.randn(4, 5, 3, C), torch.randn(B, 3, SIDE, SIDE)
    forced = torch.full((B, 4), -1)
    forced[:, 0] = 3
    scale = torch.ones(B, 4)
    picks = nearest_path(features, nodes, scale, residual, forced)
    rest = residual - torch.einsum("ic,bchw->bihw", nodes[0, 3], feature_map)
    assert (picks[:, 0] == 3).all()
    assert torch.equal(picks[:, 1:], plain_path(feature_map, nodes[1:], scale[:, 1:], rest)[1])
