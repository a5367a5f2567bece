"""What all experiments of the paper leave behind, and the page that is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from ddncodec.errors import InputMissing


def test_a_record_is_written_when_the_experiment_came_to_its_end(tmp_path: Path) -> None:
    from record import recording

    with recording("name", "Fig. 0", "all", tmp_path) as record:
        record.row("what", "1", "2")
        record.picture(np.zeros((2, 3, 3), np.uint8), enlarged=4)
        assert not (tmp_path / "name.json").exists()
    written = json.loads((tmp_path / "name.json").read_text())
    assert written["rows"] == [{"what": "what", "paper": "2", "ours": "1"}]
    assert written["pictures"] == ["name.png"]


def test_missing_data_ends_an_experiment_with_one_line_and_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from record import recording

    with pytest.raises(typer.Exit) as end, recording("name", "Fig. 0", "all", tmp_path):
        raise InputMissing("digits do not exist")
    assert end.value.exit_code == 1
    assert capsys.readouterr().err == "name: digits do not exist\n"
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_a_row_for_each_number_and_says_what_differs_once() -> None:
    from run import page

    text = "before\n<!-- paper: table -->\nold\n<!-- /paper -->\n<!-- paper: pictures -->\n<!-- /paper -->\nafter\n"
    found = {"name": {"shows": "Fig. 0", "command": "python name.py", "minutes": 1.5, "differs": "all",
                      "rows": [{"what": "a", "paper": "–", "ours": "1"}, {"what": "b", "paper": "3", "ours": "2"}],
                      "pictures": ["name.png"]}}
    written = page(text, found)
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    assert "| Fig. 0: `python name.py` | a | – | 1 | 1.5 | all |\n|  | b | 3 | 2 |  |  |" in written
    assert "](paper/name.png)" in written


def test_every_experiment_is_run_and_each_but_those_that_others_use_is_in_the_list() -> None:
    import run

    folder = Path(run.__file__).parent
    programs = {path.stem for path in folder.glob("*.py") if "recording(" in path.read_text()} - {"record"}
    assert programs == set(run.EXPERIMENTS)
