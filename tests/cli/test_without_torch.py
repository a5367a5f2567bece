"""What looks at files needs no torch: in an environment that has none, these commands work all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddncodec import container, zoo
from ddncodec.container import Stream
from ddncodec.errors import MissingExtra
from ddncodec.latent import Latent
from ddncodec.weights import WeightsInfo

Run = Callable[..., Any]

# A name that is None in sys.modules cannot be imported, as if the package were not installed.
WITHOUT = "import sys; sys.modules['torch'] = None; from ddncodec_cli.app import main; main()"


@pytest.mark.parametrize("command", [
    ("encode", "face.png"), ("sample", "-o", "a.png"), ("train", "--data", "face.png"),
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
