"""Streams of weights that others superseded: every command that looks for a stream's weights takes the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ddncodec
import ddncodec_models
from ddncodec import zoo
from ddncodec.weights import WeightsInfo, read_info
from ddncodec_cli.app import app

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> WeightsInfo:
    """The only model here, which supersedes k2-refined; in the test's folder is a stream of either."""
    path = GOLDEN / "k2-eight-bits.safetensors"
    monkeypatch.setattr(ddncodec_models, "weights_files", lambda: [path])
    for name in ("k2-refined", "k2-eight-bits"):
        shutil.copy(GOLDEN / f"{name}.ddn", tmp_path)
    monkeypatch.chdir(tmp_path)
    return read_info(path)


def command(*line: str) -> str:
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def near(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], reference: Path) -> bool:
    with Image.open(reference) as image:
        return bool(np.abs(pixels.astype(int) - np.asarray(image)).max() <= 1)


def test_they_are_found_by_their_id(here: WeightsInfo) -> None:
    (earlier,) = here.earlier
    assert zoo.find_id(earlier.id) == zoo.find_id(here.id) == here
    for name in ("k2-refined", "k2-eight-bits"):
        assert near(ddncodec.decode(Path(f"{name}.ddn").read_bytes()), GOLDEN / f"{name}.png")


def test_decode_takes_them_together_with_streams_of_today(here: WeightsInfo) -> None:
    command("decode", "k2-refined.ddn", "k2-eight-bits.ddn")
    for name in ("k2-refined", "k2-eight-bits"):
        with Image.open(f"{name}.png") as image:
            assert near(np.asarray(image), GOLDEN / f"{name}.png")


def test_info_and_verify_know_them(here: WeightsInfo) -> None:
    (earlier,) = here.earlier
    files = ("k2-refined.ddn", "k2-eight-bits.ddn")
    assert command("verify", *files) == "".join(f"{file}: ok\n" for file in files)
    facts = json.loads(command("info", "--json", *files))
    assert [(told["weights"], told["model"], told["deviation"]) for told in facts] == [
        (earlier.id.hex(), here.name, earlier.deviation), (here.id.hex(), here.name, None)]
    first, second = command("info", *files).split("k2-eight-bits.ddn")
    assert "changed by up to 1 of 255" in first
    assert "changed" not in second


def test_models_says_which_they_are(here: WeightsInfo) -> None:
    (earlier,) = here.earlier
    assert json.loads(command("models", "list", "--json"))[0]["earlier"] == {earlier.id.hex(): earlier.deviation}
    assert f"earlier weights {earlier.id.hex()}" in command("models", "show", str(here.path))
