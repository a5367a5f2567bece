"""dataset check: what it counts, lists and refuses."""

from __future__ import annotations

import json
import tarfile
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
    assert found["colour"] == 3
    assert found["smallest_and_largest"] == ["9×9", "20×20"]
    assert [Path(entry["name"]) for entry in found["unreadable"]] == [Path("d/broken.png")]
    told = text.out.decode()
    assert "4 images, 1 of them grey, in 3 sizes, 9×9 to 20×20" in told
    assert "12×10: 2" in told
    assert "1 duplicates" in told
    assert "broken.png: " in told
    assert text.err == ""


def test_every_unreadable_member_is_listed_and_the_first_ones_code_returned(
    run_many: Run, draw: Run, tmp_path: Path
) -> None:
    draw(4, 4).save(tmp_path / "small.png")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "small.png", "a.png")
        for _ in range(24):  # of one name
            archive.addfile(tarfile.TarInfo("b.png"))
    text, facts = run_many(["dataset", "check", "x.tar"], ["dataset", "check", "x.tar", "--json"])
    assert (text.code, facts.code) == (31, 31)
    assert len(json.loads(facts.out)["unreadable"]) == 25
    told = text.out.decode()
    assert "25 unreadable" in told
    assert told.count("b.png: ") == 19
    assert told.endswith("  and 5 more\n")


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
