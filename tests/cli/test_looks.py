"""decode --look, what info and models tell of looks, and train --look."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddncodec.looks import look_path, save_look
from ddncodec.weights import WeightsInfo, read_info

Run = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def weights(tmp_path: Path) -> WeightsInfo:
    """Small weights with a natural look, which draws all lighter."""
    from safetensors.numpy import load_file

    info = read_info(Path(shutil.copy(GOLDEN / "k2-refined.safetensors", tmp_path / "weights.safetensors")))
    tensors = {name.removeprefix("refiner."): values for name, values in load_file(info.path).items()
               if name.startswith("refiner.")}
    tensors["leave.bias"] = tensors["leave.bias"] + np.float16(0.5)
    save_look(look_path(info, "natural"), "natural", tensors, info)
    return info


def test_decode_draws_in_a_look(run_many: Run, face: Path, tmp_path: Path, weights: WeightsInfo) -> None:
    model = ["--model", weights.path]
    results = run_many(
        ["encode", face, *model, "-o", "face.ddn"], ["encode", face, *model, "--bare", "-o", "face.ddnb"],
        ["decode", "face.ddn", *model, "-o", "plain.png"],
        ["decode", "face.ddn", *model, "--look", "faithful", "-o", "faithful.png"],
        ["decode", "face.ddn", *model, "--look", "natural", "-o", "natural.png"],
        ["decode", "face.ddn", *model, "--look", "natural", "--levels", "40", "-o", "short.png"],
        ["decode", "face.ddnb", *model, "--bare", "--look", "natural", "-o", "bare.png"])
    assert [(result.code, result.err) for result in results] == [(0, "")] * len(results)
    plain, faithful, natural, short, bare = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in (
        "plain", "faithful", "natural", "short", "bare"))
    assert np.array_equal(plain, faithful)
    assert (natural - plain).mean() > 30
    assert short.shape == natural.shape
    assert (short - plain).mean() > 30
    assert bare.mean() - plain.mean() > 30


def test_a_look_that_a_model_has_not_is_told(
    run_many: Run, face: Path, tmp_path: Path, weights: WeightsInfo, refused: Run
) -> None:
    encoded, decoded = run_many(["encode", face, "--model", weights.path, "-o", "face.ddn"],
                                ["decode", "face.ddn", "--model", weights.path, "--look", "vivid", "-o", "out.png"])
    assert encoded.code == 0
    assert "has no look 'vivid'; it has faithful, natural" in refused(decoded, 20)
    assert not list(tmp_path.glob("*out*"))


def test_info_and_models_tell_which_looks_there_are(run_many: Run, face: Path, weights: WeightsInfo) -> None:
    _, shown, text, as_json = run_many(
        ["encode", face, "--model", weights.path, "--bare", "-o", "face.ddnb"],
        ["models", "show", weights.path],
        ["info", "face.ddnb", "--bare", "--model", weights.path],
        ["info", "face.ddnb", "--bare", "--model", weights.path, "--json"])
    assert "looks: faithful, natural" in shown.out.decode()
    assert "looks    faithful, natural" in text.out.decode()
    assert json.loads(as_json.out)[0]["looks"] == ["faithful", "natural"]


@pytest.mark.parametrize(("options", "told"), [
    (["--look", "natural"], "--look wants --of"),
    (["--look", "vivid", "--of", "binddn"], "vivid"),
    (["--look", "natural", "--of", "binddn", "--k", "4"], "--k is not for --look"),
    (["--of", "binddn"], "--of and --images are for --look"),
])
def test_options_that_do_not_go_together_are_usage_errors(run_many: Run, options: list[str], told: str) -> None:
    (result,) = run_many(["train", *options, "--out", "run"])
    assert result.code == 2
    assert told in " ".join(result.err.replace("│", " ").split())


def test_a_look_is_trained_and_goes_on(run_many: Run, tmp_path: Path, weights: WeightsInfo, refused: Run) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(40):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((16, 16), Image.Resampling.BICUBIC).save(tmp_path / "data" / f"{i}.png")
    begin = ["train", "--look", "natural", "--of", weights.path, "--data", "data", "--images", 1_000, "--batch", 4,
             "--steps", 2, "--device", "cpu", "--out", "run"]
    first, again, on = run_many(begin, begin, ["train", "--resume", "run", "--steps", 3])
    assert first.code == 0, first.err
    assert "holds a run already" in refused(again, 41)
    assert on.code == 0, on.err
    steps = [json.loads(line).get("step") for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [None, 2, 3]
