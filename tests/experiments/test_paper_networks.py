"""The experiments on the paper's networks, with a tiny one in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddncodec import zoo
from ddncodec.network.base import Generator
from ddncodec.network.paper.config import SingleShotConfig, Stage
from ddncodec.network.registry import build
from ddncodec.training.recipe import Recipe
from ddncodec.weights import load_network, save_network

STAGES = (Stage(4, 8, 1), Stage(32, 8, 2))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network whose nodes draw something."""
    torch.manual_seed(0)
    network = build(SingleShotConfig(k=4, resolution=32, leak=1, chain_dropout=0.0, learning_residual=True,
                                     stages=STAGES))
    with torch.no_grad():
        for nodes in network.nodes:
            nodes.mul_(5)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_network(path, network, "tiny")
    return path


def untrained(recipe: Recipe, runs: Path) -> Generator:
    torch.manual_seed(0)
    return build(recipe.network)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_networks_measures_each_level_the_nodes_and_the_samples(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import networks

    network = load_network(zoo.find(str(tiny)))
    test = networks.faces(range(2_000_000, 2_000_004))
    monkeypatch.setattr(networks, "SUBJECTS", (networks.Subject(str(tiny), test, test),))
    monkeypatch.setattr(networks, "trained", lambda recipe, runs: network)
    networks.main(images=4, more=4, steps=1, out=tmp_path, dry_run=True)
    record = read(tmp_path / "networks.json")
    figures = record["figures"]["tiny"]
    decoded = network.reconstruct(test(4)).image
    expected = 10 * np.log10(4 / float((decoded - test(4)).square().mean()))
    assert figures["psnr_of_mean_error"] == pytest.approx(expected, abs=0.05)
    assert figures["psnr_by_level"][-1] == figures["psnr_of_mean_error"]
    assert figures["principal"]["psnr_of_mean_error"] == figures["psnr_of_mean_error"]
    assert len(figures["psnr_by_level"]) == len(figures["bits_by_level"]) == 3
    assert 0 < figures["bits_a_pick"] <= 2
    assert figures["dead_nodes"] < figures["nodes"] == 12
    for name in record["pictures"]:
        assert Image.open(tmp_path / name).width == 2 * 32 * networks.PICTURED


def test_ablation_compares_networks_that_differ_in_one_thing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ablation

    monkeypatch.setattr(ablation, "FULL", SingleShotConfig(
        k=4, resolution=32, leak=1, chain_dropout=0.1, learning_residual=True, stages=STAGES))
    monkeypatch.setattr(ablation, "trained", untrained)
    ablation.main(steps=1, images=4, out=tmp_path, runs=tmp_path)
    figures = read(tmp_path / "ablation.json")["figures"]
    assert len(figures) == len(ablation.variants(ablation.training(1, tmp_path))) == 8
    assert figures["K = 512, all techniques"]["bits"] == 6
    assert all(np.isfinite(one["psnr"]) and one["frechet_distance"] >= 0 for one in figures.values())


def test_nearest_finds_a_training_image_itself(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import nearest

    monkeypatch.setattr("ddncodec.data.faces.FACES_PER_FILE", 8)
    monkeypatch.setattr(nearest, "MODEL", str(tiny))
    monkeypatch.setattr(nearest, "TEST_SEEDS", range(10))  # among those that are looked through
    nearest.main(images=16, cache=tmp_path / "faces", out=tmp_path)
    figures = read(tmp_path / "nearest.json")["figures"]
    assert figures["pixels, unseen faces"] == pytest.approx(0, abs=0.01)
    assert figures["pixels, samples"] > 1


def test_edges_draws_from_edges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import edges

    monkeypatch.setattr(edges, "STAGES", STAGES)
    monkeypatch.setattr(edges, "trained", untrained)
    edges.main(steps=1, images=10, out=tmp_path, runs=tmp_path)
    assert read(tmp_path / "edges.json")["figures"]["guided"] > 0
    assert (tmp_path / "edges.png").exists()


def test_class_guidance_draws_each_class(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import class_guidance
    import digits
    import recognised

    random = np.random.default_rng(0)
    for name in (digits.TRAIN, digits.TEST):
        digits.write_idx(tmp_path / name, random.integers(0, 256, (40, 28, 28), np.uint8))
        digits.write_idx(tmp_path / name.replace("images-idx3", "labels-idx1"), np.arange(40, dtype=np.uint8) // 4)
    monkeypatch.setattr(recognised, "BATCH", 8)
    monkeypatch.setattr(class_guidance, "MODEL", str(tiny))
    class_guidance.main(each=2, data=tmp_path, out=tmp_path)
    figures = read(tmp_path / "class_guidance.json")["figures"]
    assert 0 <= figures["recognised"] <= 1
    assert Image.open(tmp_path / "class_guidance.png").size == (2 * 32 * 10, 2 * 32 * 2)
