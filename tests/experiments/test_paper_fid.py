"""FID by a TorchScript file: a miniature of what the paper's Table 1 takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image


class Means(torch.nn.Module):
    """Stands in for InceptionV3: the mean of each colour."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        return images.float().mean([2, 3])


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "means.pt"
    torch.jit.script(Means()).save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64)).save(folder / f"{number}.png")
    return folder


def test_reconstructions_are_nearer_to_images_than_samples_are(images: Path, inception: Path, tmp_path: Path) -> None:
    import fid

    fid.main("binddn", str(images), inception, samples=6, json_file=tmp_path / "fid.json")
    figures = json.loads((tmp_path / "fid.json").read_text())
    assert figures["images"] == figures["samples"] == 6
    assert 0 <= figures["fid_of_reconstructions"] < figures["fid_of_samples"]


def test_a_file_that_is_no_torchscript_is_refused_in_one_line(images: Path, tmp_path: Path) -> None:
    import fid

    (tmp_path / "none.pt").write_bytes(b"no network")
    with pytest.raises(typer.BadParameter, match="is not a TorchScript file"):
        fid.main("binddn", str(images), tmp_path / "none.pt", samples=6)
