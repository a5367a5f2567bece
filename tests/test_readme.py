"""What the README shows works as it stands there, and its figures are those that the repo's commands print."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddncodec import zoo
from ddncodec.evaluation.evaluate import PEERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CODECS = [zoo.find(name) for name in ("binddn", "k512")]  # what benchmarks.py measures


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    (tmp_path / "face.png").write_bytes((ROOT / "examples/face.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example[1], names)
    assert np.asarray(names["image"]).shape == (64, 64, 3)


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def metrics(model: str) -> dict[str, Any]:
    measured: dict[str, Any] = json.loads((ROOT / f"models/ddncodec_models/{model}/metrics.json").read_text())
    return measured


def test_the_readmes_figures_are_the_measured_ones() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (\d) \| ([\d.]+) dB \| ([\d.]+) dB", README, re.MULTILINE)
    shown = {(model, effort): (float(psnr), float(real)) for model, effort, psnr, real in rows}
    assert {model for model, _ in shown} == {info.name for info in CODECS}
    for (model, effort), figures in shown.items():
        found = metrics(model)["efforts"][effort]
        assert figures == (found["psnr_of_mean_error"], found["real_faces"])
        assert found["largest_file"] <= 160
    prefixes = dict(re.findall(r"^\| ([\d,]+) bits[^|]*\| ([\d.]+) dB", README, re.MULTILINE))
    assert {bits.replace(",", ""): float(db) for bits, db in prefixes.items()} == metrics(zoo.DEFAULT)["prefixes"]
    peers = metrics(zoo.DEFAULT)["peers_on_real_faces"]
    for codec in PEERS:
        assert (codec.name in peers) == (f"{codec.label} {peers.get(codec.name, 0):.2f} dB" in README)


def test_every_longer_prefix_of_the_stream_makes_a_better_picture() -> None:
    for info in CODECS:
        measured = list(metrics(info.name)["prefixes"].values())
        assert len(measured) >= 10
        assert measured == sorted(set(measured))


@pytest.mark.parametrize("model", ["photos", "placeholder"])
def test_more_bytes_show_photographs_better(model: str) -> None:
    for found in metrics(model)["efforts"].values():
        for figures in (found["held_out"], found["reserved"]):
            by_budget = {int(budget): psnr for budget, psnr in figures["psnr_of_mean_error"].items()}
            assert sorted(by_budget, key=lambda budget: by_budget[budget]) == sorted(by_budget)
            assert figures["flat"]["fine_energy"] <= 1.1


def test_metrics_are_of_the_weights_that_ship() -> None:
    for info in zoo.shipped():
        folder = info.path.parent
        assert json.loads((folder / "metrics.json").read_text())["weights"] == info.id.hex()
        assert info.name == folder.name
        assert {path.name for path in folder.iterdir()} >= {"recipe.toml", "card.md"}
    for info in CODECS:
        folder = info.path.parent
        with Image.open(folder / "prefixes.png") as picture:
            assert picture.width == 8 * info.config.resolution * 2


def test_the_figures_of_photographs_are_those_of_the_models_metrics() -> None:
    found = metrics("photos")
    said = " ".join(README.split())
    for name in ("held_out", "reserved"):
        second, third = (found["efforts"][effort][name]["psnr_of_mean_error"]["160"] for effort in ("2", "3"))
        peers = found["peers"][name]
        assert f"{second} and {third} dB, WebP {peers['webp']} dB, JPEG XL {peers['jpegxl']} dB" in said
