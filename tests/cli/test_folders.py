"""encode, decode, eval, train and dataset check take the same files of a folder, and tell of the others alike."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
EVAL = ["--peer", "webp", "--budget", "160", "--curve-images", 1, "--out", "run"]
TRAIN = ["--generator", "single-shot", "--k", 2, "--l", 4, "--resolution", 8, "--channels", 4, "--planes", 0,
         "--batch", 2, "--steps", 1, "--device", "cpu"]


@pytest.fixture
def folder(draw: Run, tmp_path: Path) -> Path:
    """A folder in which everything may happen; what can be read of it are five pictures."""
    place = tmp_path / "d"
    (place / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.JFIF", "sub/c.pnm"):
        draw(20, 20).save(place / name, {".png": "PNG", ".JFIF": "JPEG", ".pnm": "PPM"}[Path(name).suffix])
    (tmp_path / "elsewhere").mkdir()
    draw(9, 9).save(tmp_path / "elsewhere/x.png")
    (place / "link.png").symlink_to("a.png")
    (place / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (place / "sub/loop").symlink_to("..")
    (place / "gone.png").symlink_to("nowhere")
    (place / "text.png").write_text("no image")
    (place / "._a.png").write_bytes(b"\0\x05\x16\x07")
    (place / "notes.txt").write_text("not looked at")
    os.mkfifo(place / "fifo.png")
    return place


SKIPPED = "skipped: 1 of AppleDouble, 1 of a folder listed already, 1 of another kind"
UNREADABLE = {"gone.png: cannot be read: No such file or directory", "fifo.png: is not a regular file",
              "text.png: not an image, or not of a kind that can be read"}


def told(text: str) -> set[str]:
    return {line.removeprefix("ddncodec: ").removeprefix("d/") for line in text.splitlines()}


def test_encode_and_decode(run_many: Run, folder: Path, k2: Path, tmp_path: Path) -> None:
    encoded, = run_many(["encode", "-r", "d", "--output-dir", "out", "--model", k2])
    assert (encoded.code, told(encoded.err)) == (40, UNREADABLE | {f"d: {SKIPPED}"})
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert files == ["a.ddn", "elsewhere/x.ddn", "link.ddn", "sub/b.ddn", "sub/c.ddn"]
    (tmp_path / "out/loop").symlink_to(".")
    decoded, = run_many(["decode", "-r", "out", "--output-dir", "back", "--model", k2])
    assert (decoded.code, decoded.err) == (0, "ddncodec: out: skipped: 1 of a folder listed already\n")
    assert len(list((tmp_path / "back").rglob("*.png"))) == 5


def test_dataset_check_and_eval(run_many: Run, folder: Path, k2: Path) -> None:
    text, facts, evaluated = run_many(["dataset", "check", "d"], ["dataset", "check", "d", "--json"],
                                      ["eval", "d", "--model", k2, *EVAL, "--json"])
    assert (text.code, facts.code) == (30, 30)
    found = json.loads(facts.out)
    assert found["images"] == 5
    assert {"{name}: {reason}".format(**entry).removeprefix("d/") for entry in found["unreadable"]} == UNREADABLE
    assert found["skipped"] == {"of AppleDouble": 1, "of a folder listed already": 1, "of another kind": 1}
    assert SKIPPED in text.out.decode().splitlines()
    assert evaluated.code == 30
    assert told(evaluated.err) == UNREADABLE | {f"d: {SKIPPED}"}
    assert json.loads(evaluated.out)["data"]["images"] == 5


def test_train(run_many: Run, folder: Path) -> None:
    result, = run_many(["train", "--data", "d", "--out", "x", *TRAIN])
    assert result.code == 0, result
    assert result.err == f"ddncodec: d: {SKIPPED}, 3 unreadable\n"


@pytest.mark.parametrize("content", [None, "notes.txt", "._a.png"])
def test_nothing_found_is_an_error_in_all(
    run_many: Run, tmp_path: Path, k2: Path, content: str | None
) -> None:
    (tmp_path / "d").mkdir()
    if content:
        (tmp_path / "d" / content).write_text("text")
    shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path, "d")
    lines = [(40, "d", ["encode", "-r", "d"]), (40, "d", ["decode", "-r", "d"])]
    for data in ("d", "x.zip"):
        lines += [(50, data, ["dataset", "check", data]), (50, data, ["eval", data, "--model", k2, *EVAL]),
                  (50, data, ["train", "--data", data, "--out", "x", *TRAIN])]
    for (code, name, line), result in zip(lines, run_many(*(line for *_, line in lines)), strict=True):
        assert (result.code, result.out) == (code, b""), (line, result)
        assert name in result.err.splitlines()[-1]
        assert all(line.startswith("ddncodec: ") for line in result.err.splitlines())
    assert not (tmp_path / "x").exists()


def test_data_that_is_a_fifo_is_refused(run_many: Run, refused: Run, tmp_path: Path, k2: Path) -> None:
    for name in ("x.zip", "x.tar", "x"):
        os.mkfifo(tmp_path / name)
        results = run_many(["dataset", "check", name], ["eval", name, "--model", k2, *EVAL],
                           ["train", "--data", name, "--out", "run", *TRAIN])
        for result in results:
            assert refused(result, 50) == f"{name}: it is not a regular file"


def test_members_of_archives_are_taken_as_files_of_folders_are(run_many: Run, draw: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name, kind in (("a.mpo", "JPEG"), ("b.png", "PNG")):
        draw(9, 9).save(tmp_path / "d" / name, kind)
    (tmp_path / "d/._b.png").write_bytes(b"x")
    (tmp_path / "d/notes.txt").write_text("text")
    for kind in ("zip", "gztar"):
        archive = shutil.make_archive(str(tmp_path / "x"), kind, tmp_path, "d")
        facts, = run_many(["dataset", "check", Path(archive).name, "--json"])
        found = json.loads(facts.out)
        assert (facts.code, found["images"]) == (0, 2)
        assert found["skipped"] == {"of AppleDouble": 1, "of another kind": 1}


def test_peers_are_named_as_in_the_tables(run_many: Run, folder: Path, k2: Path) -> None:
    (folder / "text.png").unlink()
    result, = run_many(["eval", "d/sub", "--model", k2, "--out", "run", "--budget", 600, "--curve-images", 1, "--json",
                        *(part for name in ("JPEG", "webp", "JPEG XL") for part in ("--peer", name))])
    codecs = [codec["name"] for codec in json.loads(result.out)["codecs"] if "effort" not in codec]
    assert codecs == ["jpeg", "webp", "jpegxl"]
