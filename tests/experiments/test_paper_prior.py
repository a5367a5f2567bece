"""The experiment on priors, with four images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_prior_records_distances_and_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import prior

    monkeypatch.setattr(prior, "MODELS", ("binddn",))
    prior.main(images=4, out=tmp_path)
    found = json.loads((tmp_path / "prior.json").read_text())
    figures = found["figures"]["binddn"]
    assert figures["fd64"].keys() == {"uniform", "odds", "other faces"}
    assert 1_000 < figures["bits_by_odds"] < figures["bits"] == 1_152
    assert figures["psnr_of_as_many_bits"] > 0
    assert (tmp_path / "prior-binddn.png").is_file()
