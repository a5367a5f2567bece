"""encode with targets: what is written, what is told, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddncodec.container import from_bytes
from ddncodec.weights import read_info

Run = Callable[..., Any]


def test_what_was_reached_is_told(run_many: Run, face: Path, k2: Path) -> None:
    use = ["--model", k2, "-f"]
    by_bytes, by_psnr, as_json, plain, piped = run_many(
        ["encode", "face.png", *use, "--bytes", 20], ["encode", "face.png", *use, "--psnr", 12],
        ["encode", "face.png", *use, "--psnr", 12, "--json"], ["encode", "face.png", *use],
        ["encode", "face.png", *use, "--bytes", 20, "-o", "-"])
    assert [result.code for result in (by_bytes, by_psnr, as_json, plain, piped)] == [0] * 5
    assert by_bytes.out.startswith(b"face.ddn: 20 bytes, 40 of 96 levels, ")
    assert by_bytes.err == by_psnr.err == as_json.err == ""
    told, = json.loads(as_json.out)
    assert told["psnr"] >= 12
    assert told == {"file": "face.png", "output": "face.ddn", "text": None, "bytes": told["bytes"],
                    "levels": told["levels"], "levels_of_model": 96, "psnr": told["psnr"], "reached": True,
                    "weights": read_info(k2).id.hex(), "model": "k2-planes"}
    assert f"face.ddn: {told['bytes']} bytes, {told['levels']} of 96 levels, " in by_psnr.out.decode()
    assert (plain.out, plain.err) == (b"", "")
    assert len(piped.out) == 20
    assert piped.err.startswith("ddncodec: 20 bytes, 40 of 96 levels, ")


def test_what_cannot_be_reached_is_told(run_many: Run, refused: Run, face: Path, k2: Path) -> None:
    use = ["--model", k2, "-f"]
    few, none, whole, nan, both = run_many(
        ["encode", "face.png", *use, "--bytes", 15], ["encode", "face.png", *use, "--bytes", 0],
        ["encode", "face.png", *use, "--psnr", 80], ["encode", "face.png", *use, "--psnr", "nan"],
        ["encode", "face.png", *use, "--json", "-o", "-"])
    assert refused(few, 15) == "face.png: 15 bytes are too few: with one level it has 16"
    assert whole.code == 0
    assert b"96 of 96 levels" in whole.out
    assert whole.err.startswith("ddncodec: face.png: 80 dB is not reached: it is ")
    for result in (none, nan, both):
        assert (result.code, result.out) == (2, b"")
        assert "Error: " in result.err.splitlines()[-1]


def test_a_file_that_fails_is_not_in_the_report(run_many: Run, face: Path, k2: Path) -> None:
    (face.parent / "b.png").write_text("no image")
    result, = run_many(["encode", "face.png", "b.png", "--model", k2, "--json"])
    assert result.code == 30
    assert [facts["file"] for facts in json.loads(result.out)] == ["face.png"]


def test_of_several_models_the_header_names_the_nearest(run_many: Run, refused: Run, face: Path, k2: Path, k3: Path
                                                        ) -> None:
    results = run_many(["encode", "face.png", "--model", f"{k2},{k3}", "--json"],
                       ["encode", "face.png", "--model", k2, "-o", "2.ddn", "--json"],
                       ["encode", "face.png", "--model", k3, "-o", "3.ddn", "--json"],
                       ["encode", "face.png", "--model", f"{k2},fashion-class", "-o", "c.ddn"],
                       ["encode", "face.png", "--model", f"{k2},none", "-o", "n.ddn"],
                       ["encode", "face.png", "--model", f"{k2},{k3}", "-f"])
    both, *each = [json.loads(result.out)[0] for result in results[:3]]
    best = max(each, key=lambda facts: facts["psnr"])
    assert (both["model"], both["psnr"]) == (best["model"], best["psnr"])
    assert from_bytes((face.parent / "face.ddn").read_bytes()).weights_hex == best["weights"]
    refused(results[3], 20)
    refused(results[4], 20)
    assert results[5].out.decode().endswith(f", by {best['model']}\n")
