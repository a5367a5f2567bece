"""dataset check: what it counts, lists and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_a_check_counts_images_sizes_duplicates_and_what_is_unreadable(
    run_many: Run, draw: Run, tmp_path: Path
) -> None:
    (tmp_path / "d/sub").mkdir(parents=True)
    for name, size in (("a.png", (12, 10)), ("sub/b.png", (12, 10)), ("c.png", (9, 9))):
        draw(*size).save(tmp_path / "d" / name)
    draw(20, 20).convert("L").save(tmp_path / "d/grey.png")
    (tmp_path / "d/broken.png").write_text("no image")
    (tmp_path / "d/notes.txt").write_text("not looked at")
    text, facts = run_many(["dataset", "check", "d"], ["dataset", "check", "d", "--json"])
    assert (text.code, facts.code) == (30, 30)
    found = json.loads(facts.out)
    assert (found["images"], found["grey"]) == (4, 1)
    assert found["sizes"] == {"12×10": 2, "9×9": 1, "20×20": 1}
    assert [sorted(map(Path, group)) for group in found["duplicates"]] == [[Path("d/a.png"), Path("d/sub/b.png")]]
    assert list(map(Path, found["unreadable"])) == [Path("d/broken.png")]
    told = text.out.decode()
    assert "4 images, 1 of them grey, in 3 sizes" in told
    assert "12×10: 2" in told
    assert "1 duplicates" in told
    assert "broken.png: " in told
    assert text.err == ""


def test_a_whole_dataset_is_told_with_code_0_and_a_missing_one_refused(
    run_many: Run, refused: Run, draw: Run, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    draw(9, 9).save(tmp_path / "d/a.png")
    (tmp_path / "x.txt").write_text("text")
    whole, missing, other = run_many(*(["dataset", "check", data] for data in ("d", "missing", "x.txt")))
    assert whole.code == 0
    assert "missing" in refused(missing, 40)
    assert "x.txt" in refused(other, 50)
