"""prior: counted over a folder's images, found by sample beside the weights, and refused for other weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

Run = Callable[..., Any]


def test_a_prior_is_made_found_and_refused_for_other_weights(
    run_many: Run, refused: Run, k2: Path, k3: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(8):
        draw(20 + number, 24).save(tmp_path / f"photos/{number}.png")
    shutil.copy(k2, tmp_path / "mine.safetensors")
    shutil.copy(k3, tmp_path / "other.safetensors")
    count = ["prior", "mine.safetensors", "--data", "photos", "--images", 40]
    use = ["sample", "-n", 2, "--model", "mine.safetensors"]
    made, again, own, none, given = run_many(
        [*count, "--json"], count, [*use, "-o", "own.png"], [*use, "-o", "none.png", "--prior", "none"],
        [*use, "-o", "given.png", "--prior", "mine.prior.safetensors"])
    assert made.code == own.code == none.code == given.code == 0, (made, own, none, given)
    facts = json.loads(made.out)
    assert facts["prior"] == "mine.prior.safetensors"
    assert facts["bits_by_prior"] < facts["bits"]
    refused(again, 41)
    own_bytes, none_bytes, given_bytes = ((tmp_path / f"{name}.png").read_bytes() for name in ("own", "none", "given"))
    assert own_bytes == given_bytes != none_bytes
    other = ["sample", "-n", 2, "-o", "x.png", "--model", "other.safetensors", "--prior"]
    wrong, missing, junk = run_many([*other, "mine.prior.safetensors"], [*other, "missing"], [*other, "own.png"])
    assert "is the prior of the weights" in refused(wrong, 20)
    refused(missing, 40)
    refused(junk, 21)
