"""What the README shows works as it stands there, and its figures are those that the repo's commands print."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


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


def test_the_readmes_figures_are_the_measured_ones() -> None:
    metrics = json.loads((ROOT / "models/ddncodec_models/binddn/metrics.json").read_text())
    rows = dict(re.findall(r"^\| ([\d,]+) bits[^|]*\| ([\d.]+) dB", README, re.MULTILINE))
    assert {bits.replace(",", ""): float(db) for bits, db in rows.items()} == {
        bits: found["psnr"] for bits, found in metrics["psnr_of_mean_error"].items()
    }
    assert f"{metrics['mean_psnr']:.2f} dB" in README


def test_metrics_are_of_the_weights_that_ship() -> None:
    from ddncodec import zoo

    for info in zoo.shipped():
        folder = info.path.parent
        assert json.loads((folder / "metrics.json").read_text())["weights"] == info.id.hex()
        assert info.name == folder.name
        assert {path.name for path in folder.iterdir()} >= {"recipe.toml", "card.md", "prefixes.png"}
        with Image.open(folder / "prefixes.png") as picture:
            assert picture.width == 8 * info.config.resolution * 2
