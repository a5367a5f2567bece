"""encode and decode of Parquet files and WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddncodec.errors import BadTable, InputMissing, MissingExtra, OutputExists, PayloadLength, UnreadableImage

Run = Callable[..., Any]
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from ddncodec import zoo  # noqa: E402
from ddncodec.latent import payload_bytes  # noqa: E402


@pytest.fixture
def table(face: Path) -> Path:
    """Three rows: a face, none, null."""
    path = face.with_name("faces.parquet")
    pq.write_table(pa.table({"id": [1, 2, 3], "image": [face.read_bytes(), b"none", None]}), path)
    return path


@pytest.fixture
def shard(face: Path) -> Path:
    """Two samples, of which one image is bad."""
    path = face.with_name("train-0.tar")
    with tarfile.open(path, "w") as archive:
        for name, data in (("1.png", face.read_bytes()), ("1.cls", b"3"), ("2.png", b"none"), ("2.cls", b"4")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {header.name: archive.extractfile(header).read() for header in archive}  # type: ignore[union-attr]


def test_a_column_becomes_payloads_and_images_as_files_do(run_many: Run, table: Path, k2: Path) -> None:
    folder = table.parent
    encoded, decoded, dropped, file, image = run_many(
        ["encode", "faces.parquet", "--column", "image", "-o", "a.parquet", "--model", k2, "--json"],
        ["decode", "a.parquet", "--column", "image_ddn", "--output-dir", "new/b", "--model", k2, "--levels", 40],
        ["encode", "faces.parquet", "--column", "image", "-o", "c.parquet", "--model", k2, "--bytes", 5, "--drop"],
        ["encode", "face.png", "--model", k2], ["decode", "face.ddn", "-o", "back.png", "--model", k2, "--levels", 40],
    )
    told = "ddncodec: faces.parquet: row 1: not an image, or not of a kind that can be read\n"
    assert (encoded.code, encoded.err, dropped.code, dropped.err) == (30, told, 30, told)
    assert json.loads(encoded.out) == [
        {"file": "faces.parquet", "output": "a.parquet", "rows": 3, "null": 2, "failed": 1}]
    assert [decoded, file.code, image.code] == [(0, b"", ""), 0, 0]
    rows = pq.read_table(folder / "a.parquet")
    assert rows["image_ddn"][0].as_py() == (folder / "face.ddn").read_bytes()[-16:-4]
    assert rows.select(["id", "image"]).equals(pq.read_table(table))
    back = pq.read_table(folder / "new/b/a.parquet")
    assert back["image_png"].to_pylist() == [(folder / "back.png").read_bytes(), None, None]
    cut = pq.read_table(folder / "c.parquet")
    assert cut.column_names == ["id", "image_ddn", "image_ddn_width", "image_ddn_height", "image_ddn_error"]
    assert cut["image_ddn"][0].as_py() == rows["image_ddn"][0].as_py()[:5]


def test_folders_of_parquet_files_are_converted_file_by_file(run_many: Run, table: Path, k2: Path) -> None:
    folder = table.parent
    (folder / "in/x").mkdir(parents=True)
    table.rename(folder / "in/x/1.parquet")
    (folder / "in/2.pq").write_bytes(b"none")
    use = ["--column", "image", "--output-dir", "out", "--model", k2]
    first, again, forced = run_many(["encode", "-r", "in", *use], ["encode", "-r", "in", *use],
                                    ["encode", "-r", "in", "-f", *use])
    assert first.code == forced.code == BadTable.exit_code
    assert "in/2.pq: it cannot be read as Parquet" in first.err
    assert "in/x/1.parquet: row 1: " in first.err
    assert "out/x/1.parquet exists already" in again.err
    assert sorted(str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.*")) == ["x/1.parquet"]


def test_images_in_shards_become_files_and_files_images(run_many: Run, shard: Path, face: Path, k2: Path) -> None:
    encoded, decoded, bare, file, image, bare_file = run_many(
        ["encode", "train-{0..1}.tar", "--output-dir", "a", "--model", k2, "--jsonl"],
        ["decode", "a/train-0.tar", "-o", "b.tar", "--model", k2],
        ["encode", "train-0.tar", "-o", "c.tar.gz", "--model", k2, "--bare", "--levels", 40],
        ["encode", "face.png", "--model", k2], ["decode", "face.ddn", "-o", "back.png", "--model", k2],
        ["encode", "face.png", "--model", k2, "--bare", "--levels", 40],
    )
    bad = "ddncodec: train-0.tar: 2.png: not an image, or not of a kind that can be read\n"
    assert (encoded.code, encoded.err) == (
        UnreadableImage.exit_code, bad + "ddncodec: train-1.tar: cannot be read: No such file or directory\n")
    assert [json.loads(line) for line in encoded.out.splitlines()] == [
        {"file": "train-0.tar", "output": "a/train-0.tar", "members": 2, "failed": 1},
        {"file": "train-1.tar", "output": "a/train-1.tar", "exit_code": InputMissing.exit_code,
         "error": "train-1.tar: cannot be read: No such file or directory"}]
    assert [decoded, file.code, image.code, bare_file.code] == [(0, b"", ""), 0, 0, 0]
    assert contents(shard.with_name("a") / "train-0.tar") == {
        "1.ddn": face.with_suffix(".ddn").read_bytes(), "1.cls": b"3", "2.cls": b"4"}
    assert contents(shard.with_name("b.tar")) == {
        "1.png": face.with_name("back.png").read_bytes(), "1.cls": b"3", "2.cls": b"4"}
    assert bare.code == UnreadableImage.exit_code
    assert contents(shard.with_name("c.tar.gz"))["1.ddnb"] == face.with_suffix(".ddnb").read_bytes()


def test_several_processes_write_what_one_does(run_many: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")  # without which each process would import torch
    info = zoo.find("placeholder")
    size = payload_bytes(info.config.k, info.config.levels)
    payloads = [b"", *np.random.default_rng(0).integers(256, size=(149, size), dtype=np.uint8).view(f"V{size}").ravel()]
    table = pa.table({"image_ddn": pa.array(map(bytes, payloads), pa.binary())})
    pq.write_table(table, tmp_path / "a.parquet")
    use = ["decode", "a.parquet", "--column", "image_ddn", "--model", "placeholder"]
    one, two = run_many([*use, "-o", "1.parquet", "-j", 1], [*use, "-o", "2.parquet", "-j", 2])
    assert one == two
    assert two.code == PayloadLength.exit_code
    assert pq.read_table(tmp_path / "2.parquet")["image_png"].null_count == 1
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_what_cannot_be_done_is_one_line_and_nothing_is_written(run_many: Run, table: Path, shard: Path, k2: Path
                                                                ) -> None:
    before = sorted(table.parent.iterdir())
    out = ["-o", "out.parquet", "--model", k2]
    lines: dict[tuple[object, ...], tuple[int, str]] = {
        ("encode", "faces.parquet", *out): (2, "--column"),
        ("encode", "faces.parquet", "--column", "image", "--model", k2): (2, "--output-dir"),
        ("encode", "faces.parquet", "--column", "image", "--psnr", 30, *out): (2, "payloads"),
        ("encode", "faces.parquet", "--column", "image", "--levels", 97, *out): (2, "1 to 96"),
        ("encode", "faces.parquet", "--column", "image", "--effort", 2, *out): (2, "effort"),
        ("encode", "faces.parquet", "--column", "id", *out): (BadTable.exit_code, "faces.parquet: its column id holds"),
        ("encode", "none.parquet", "--column", "id", *out): (InputMissing.exit_code, "none.parquet: cannot be read"),
        ("decode", "faces.parquet", "--column", "image_ddn", *out): (BadTable.exit_code, "no column image_ddn"),
        ("encode", "train-0.tar", "face.png", "--output-dir", "out", "--model", k2): (2, "face.png is no shard"),
        ("encode", "train-0.tar", "--output-dir", ".", "--model", k2): (OutputExists.exit_code, "is an input"),
        ("encode", "train-{0.tar", "--output-dir", "out", "--model", k2): (2, "braces"),
    }
    for line, result in zip(lines, run_many(*lines), strict=True):
        assert (line, result.code, result.out) == (line, lines[line][0], b""), result.err
        assert lines[line][1] in result.err
        assert "Traceback" not in result.err
    assert sorted(table.parent.iterdir()) == before


def test_without_pyarrow_a_line_says_how_to_get_it(run_code: Run, refused: Run, table: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from ddncodec_cli.app import main; main()"
    assert "pip install 'ddncodec[parquet]'" in refused(
        run_code(code, "decode", "faces.parquet", "--column", "image", "-o", "a.parquet"), MissingExtra.exit_code)
