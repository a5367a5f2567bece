"""The comparison of placeholders, at miniature size, and the arithmetic of what pays."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ddncodec.evaluation.placeholders import Placeholder, from_thumbhash, thumbhash

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/k2-principal.safetensors"
BLOCK = re.compile(r"<!-- placeholders: ([\w-]+) -->\n(.*?)<!-- /placeholders -->", re.DOTALL)


def test_the_page_is_filled_and_a_model_is_shown_at_another_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import placeholders

    docs = tmp_path / "docs"
    docs.mkdir()
    empty = BLOCK.sub(r"<!-- placeholders: \1 -->\n<!-- /placeholders -->", (ROOT / "docs/placeholders.md").read_text())
    (docs / "placeholders.md").write_text(empty)
    shutil.copytree(ROOT / "examples/real_faces", tmp_path / "pictures")
    absent = Placeholder("blurhash-4x3", "BlurHash 4×3, text", "", ("no-such-package",), thumbhash, from_thumbhash)
    monkeypatch.setattr("ddncodec.evaluation.evaluate.PEERS", (
        Placeholder("thumbhash", "ThumbHash", "", (), thumbhash, from_thumbhash), absent,
        *(peer for peer in placeholders.PLACEHOLDERS if peer.name == "jpeg-shared")))
    for name, value in {"DOCS": docs, "RUNS": tmp_path / "runs", "ROOT": tmp_path, "BUDGETS": (16, 21, 24, 64),
                        "TIMED": 1, "PEERS": ("thumbhash", "blurhash-4x3", "jpeg-shared")}.items():
        monkeypatch.setattr(placeholders, name, value)
    pictures = str(tmp_path / "pictures")
    placeholders.main([str(GOLDEN)], 2, pictures, pictures)
    found = dict(BLOCK.findall((docs / "placeholders.md").read_text()))
    assert all(found.values())
    assert {name for name, _ in BLOCK.findall(empty)} == found.keys()
    printed = capsys.readouterr().out
    assert all(text.strip() in printed for text in found.values())
    assert found["photographs-psnr"].count("**") == 2 * 4  # the best at each size, if there are no two
    assert "| `k2-principal` |" in found["photographs-psnr"]
    assert "BlurHash 4×3, text (no-such-package is not installed" in found["faces-psnr"]
    assert "runs/thumbhash-0.1.1.tgz is not there" in found["decoders"]
    assert f"{GOLDEN.stat().st_size:,}" in found["decoders"]
    measured = json.loads((docs / "placeholders.json").read_text())
    assert measured["images"] == 2
    thumbhash_points = next(codec for codec in measured["codecs"]["faces"] if codec["name"] == "thumbhash")["points"]
    assert [point["fitted"] for point in thumbhash_points] == [0, 0, 2, 2]
    shown = f"{thumbhash_points[2]['psnr_of_mean_error']['value']:.2f}"
    assert shown in found["faces-psnr"]
    for kind in ("photographs", "faces", "products"):
        with Image.open(docs / f"pictures/placeholders-{kind}-small.png") as sheet:
            assert sheet.size == (180 + 2 * 2 * 64, 2 * 64 * 4)  # two of original, ThumbHash, JPEG and ours


def test_bytes_at_a_quality_are_between_the_points_of_the_curve() -> None:
    from placeholders import bytes_for

    curve = [(10.0, 18.0), (20.0, 20.0), (40.0, 24.0)]
    assert [bytes_for(curve, psnr) for psnr in (17, 18, 19, 22, 24)] == [10, 10, 15, 30, 40]
    assert bytes_for(curve, 24.1) is None
