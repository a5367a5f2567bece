"""The toy densities of the paper, cut very small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import density_1d
import density_2d
import pytest
import torch
from PIL import Image
from points import PointNodes, draw


def found(folder: Path, name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    assert all((folder / picture).stat().st_size < 500_000 for picture in result["pictures"])
    return result


def test_nodes_go_to_the_points_that_they_are_nearest_to() -> None:
    nodes = PointNodes(2, 2, seed=0)
    with torch.no_grad():
        nodes.ddl.nodes[0, :, :2, 0] = torch.tensor([[-0.5, 0.0], [0.5, 0.0]])
    nodes.learn(torch.tensor([[-0.7, 0.2], [-0.9, 0.2]]), rate=0.5, gate=8, swaps=0)
    # Two points at a half each: three quarters of the way to their mean, (−0.8, 0.2).
    torch.testing.assert_close(nodes.points, torch.tensor([[-0.725, 0.15], [0.5, 0.0]]))


def test_points_are_drawn_where_the_density_is() -> None:
    density = torch.zeros(4, 10)
    density[3, 0], density[0, 9] = 0.75, 0.25
    x, y = draw(density, 2000, torch.Generator().manual_seed(0)).T
    assert ((x > 0.5) == (y < -0.8)).all() and ((x < -0.5) == (y > 0.8)).all()
    assert (x > 0).float().mean().item() == pytest.approx(0.75, abs=0.05)


def test_no_nodes_have_less_than_the_least_divergence() -> None:
    mass = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    counts = torch.cartesian_prod(*[torch.arange(6.0)] * 4)
    counts = counts[counts.sum(1) == 5]
    every = [density_2d.divergence(count.view(2, 2) / 5, mass) for count in counts]
    assert density_2d.least(mass, 5) == pytest.approx(min(every), abs=1e-6)


def test_density_1d_shows_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density_1d, "SEEDS", 2)
    monkeypatch.setattr(density_1d, "FRAMES", 3)
    density_1d.main(60, tmp_path)
    result = found(tmp_path, "density_1d")
    for k in (5, 15):
        for divergences in result["figures"][f"K = {k}"].values():
            assert sum(divergences["Split-and-Prune"]) < sum(divergences["start"])
    with Image.open(tmp_path / "density_1d.gif") as animation:
        assert animation.n_frames == 3
    assert result["pictures"] == ["density_1d.png", "density_1d.gif"]


def test_density_2d_compares_each_density(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density_2d, "DENSITIES", dict(list(density_2d.DENSITIES.items())[:2]))
    density_2d.main(100, 2000, 1, tmp_path)
    figures = found(tmp_path, "density_2d")["figures"]
    assert list(figures) == ["blurred circles", "QR code"]
    for figure in figures.values():
        ((_, alone, pruned),) = figure["of_100_points"]
        assert figure["least"] < pruned < alone
