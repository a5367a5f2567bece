"""What looks at files needs no torch: in an environment that has none, these commands work all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddncodec import container, load_model, zoo
from ddncodec.container import Stream
from ddncodec.encoding import Encoded, Request, encode_pictures
from ddncodec.errors import MissingExtra
from ddncodec.export import export
from ddncodec.images import picture_of
from ddncodec.latent import Latent
from ddncodec.weights import WeightsInfo, read_info

Run = Callable[..., Any]

K8 = Path(__file__).parents[1] / "golden/k8-principal.safetensors"
# A name that is None in sys.modules cannot be imported, as if the package were not installed.
WITHOUT = "import sys; sys.modules['torch'] = None; from ddncodec_cli.app import main; main()"


@pytest.mark.parametrize("command", [
    ("encode", "face.png", "--model", "paper-digits"), ("sample", "-o", "a.png"), ("train", "--data", "face.png"),
])
def test_what_needs_torch_says_so_in_one_line(command: tuple[object, ...], face: Path, run_code: Run, refused: Run
                                              ) -> None:
    assert "pip install torch" in refused(run_code(WITHOUT, *command), MissingExtra.exit_code)


@pytest.mark.parametrize("info", zoo.unconditional(), ids=lambda info: info.name)
def test_files_of_each_shipped_model_are_decoded_cut_shown_and_verified(info: WeightsInfo, tmp_path: Path, run_code: Run
                                                                       ) -> None:
    picks = np.random.default_rng(0).integers(info.config.k, size=info.config.levels)
    whole = container.to_bytes(Stream(Latent(tuple(picks.tolist()), info.config.k), 48, 40, info.id))
    (tmp_path / "whole.ddn").write_bytes(whole)
    assert run_code(WITHOUT, "cut", "whole.ddn", "--levels", 3, "-o", "short.ddn").code == 0
    for name in ("whole", "short"):
        result = run_code(WITHOUT, "decode", f"{name}.ddn")
        assert (result.code, result.err) == (0, "")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size == (48, 40)
    (shown,) = json.loads(run_code(WITHOUT, "info", "short.ddn", "--json").out)
    assert shown["levels"] == 3
    assert run_code(WITHOUT, "verify", "whole.ddn", "short.ddn").code == 0


def test_pictures_are_encoded_by_an_exported_encoder(face: Path, tmp_path: Path, run_code: Run) -> None:
    weights = tmp_path / "exported" / K8.name
    export(read_info(K8), weights.parent)
    result = run_code(WITHOUT, "encode", face.name, "--model", weights, "--effort", 3)  # which decodes too
    assert (result.code, result.err) == (0, "")
    codec = load_model(K8, "cpu")
    with Image.open(face) as image:
        (expected,) = encode_pictures([codec], [picture_of(image)], Request(effort=3))
    assert isinstance(expected, Encoded)
    assert face.with_suffix(".ddn").read_bytes() == expected.data
