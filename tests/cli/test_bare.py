"""Bare streams, cuts and files that broke off, on the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ddncodec import bare
from ddncodec.container import Stream, from_bytes, to_bytes
from ddncodec.latent import Latent
from ddncodec.weights import read_info

Run = Callable[..., Any]


def test_a_bare_stream_and_its_text_are_all_that_a_decoder_needs(run_many: Run, draw: Run, tmp_path: Path, k2: Path
                                                                  ) -> None:
    draw(90, 45).save(tmp_path / "a.png")
    use = ["--model", k2]
    results = run_many(["encode", "a.png", *use, "--bare"], ["encode", "a.png", *use, "--text"],
                       ["encode", "a.png", *use, "--text", "-o", "t.ddnb"], ["encode", "a.png", *use],
                       ["encode", "a.png", *use, "--text", "--json"],
                       ["encode", "a.png", *use, "--bare", "--bytes", 8, "-o", "8.ddnb"],
                       ["decode", "a.ddnb", *use, "--bare", "-o", "1.png"],
                       ["decode", "t.ddnb", *use, "--bare", "-o", "2.png"],
                       ["verify", "a.ddnb", "t.ddnb", *use, "--bare"], ["info", "8.ddnb", *use, "--bare", "--json"],
                       ["info", "t.ddnb", *use, "--bare"])
    assert [(result.code, result.err) for result in results] == [(0, "")] * len(results)
    data = (tmp_path / "a.ddnb").read_bytes()
    stream = from_bytes((tmp_path / "a.ddn").read_bytes())
    assert data == bare.to_bytes(stream)
    assert len(data) == 14
    text = bare.to_text(data).encode() + b"\n"
    assert results[1].out == (tmp_path / "t.ddnb").read_bytes() == text
    told, = json.loads(results[4].out)
    assert (told["text"], told["output"], told["bytes"]) == (text.decode().strip(), "-", 14)
    assert results[5].out.startswith(b"8.ddnb: 8 bytes, 55 of 96 levels, ")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    with Image.open(tmp_path / "1.png") as image:
        assert image.size == (16, 8)
    facts, = json.loads(results[9].out)
    assert (facts["bare"], facts["version"], facts["levels"], facts["width"], facts["height"], facts["model"]) == (
        True, None, 55, 16, 8, "k2-planes")
    assert b"the aspect ratio alone is known" in results[10].out


def test_what_a_bare_stream_cannot_be_is_refused(run_many: Run, refused: Run, face: Path, k2: Path, k3: Path) -> None:
    info = read_info(k2)
    files = {"long": bare.to_bytes(Stream(Latent((1,) * 97, 2), 1, 1, info.id)), "none": b"\xc0", "end": b"\xc0\x80\0",
             "text": b"no text!\n", "file": to_bytes(Stream(Latent((1,), 2), 64, 64, info.id)) + b"\0"}
    for name, data in files.items():
        (face.parent / name).write_bytes(data)
    for name, code in {"long": 20, "none": 8, "end": 12, "text": 3, "file": 12, "missing": 40}.items():
        for result in run_many(*([command, name, "--bare", "--model", k2] for command in ("decode", "info", "verify"))):
            assert refused(result, code).startswith(f"{name}: ")
    usage = [["decode", "long", "--bare"], ["info", "long", "--bare"], ["verify", "long", "--bare"],
             ["cut", "long", "--bare", "--levels", 1, "-o", "x"],
             ["decode", "long", "--bare", "--partial", "--model", k2],
             ["encode", "face.png", "--bare", "--model", f"{k2},{k3}"],
             ["encode", "face.png", "--bare", "--comment", "x", "--model", k2]]
    for line, result in zip(usage, run_many(*usage), strict=True):
        assert (result.code, result.out) == (2, b""), line
        assert "Error: " in result.err.splitlines()[-1]


def stream(weights_id: bytes, levels: int = 96, k: int = 2) -> Stream:
    return Stream(Latent(tuple(i * i % 3 % k for i in range(levels)), k), 64, 64, weights_id, comment="x")


def test_files_are_cut(run_many: Run, refused: Run, tmp_path: Path, k2: Path) -> None:
    whole = stream(read_info(k2).id)
    for name in ("a.ddn", "b.ddn"):
        (tmp_path / name).write_bytes(to_bytes(whole))
    (tmp_path / "bad.ddn").write_bytes(to_bytes(whole)[:-1])
    (tmp_path / "a.ddnb").write_bytes(bare.to_bytes(whole))
    size = len(to_bytes(whole))
    some, piped, few, bare_cut, over, *usage = run_many(
        ["cut", "a.ddn", "bad.ddn", "b.ddn", "--bytes", size - 3, "--output-dir", "out"],
        ["cut", "a.ddn", "--levels", 10, "-o", "-"], ["cut", "a.ddn", "--bytes", 9, "-o", "x.ddn"],
        ["cut", "a.ddnb", "--bare", "--model", k2, "--bytes", 5, "--output-dir", "out"],
        ["cut", "a.ddn", "--levels", 10, "-o", "b.ddn"],
        ["cut", "a.ddn", "-o", "x.ddn"], ["cut", "a.ddn", "--levels", 10])
    assert some.code == 8
    assert "of its 96 levels 96 are whole" in some.err
    for name in ("a.ddn", "b.ddn"):
        assert (tmp_path / "out" / name).read_bytes() == to_bytes(replace(whole, latent=whole.latent.prefix(72)))
    assert piped == (0, to_bytes(replace(whole, latent=whole.latent.prefix(10))), "")
    assert "are too few" in refused(few, 15)
    assert bare_cut == (0, b"", "")
    assert len((tmp_path / "out/a.ddnb").read_bytes()) == 5
    refused(over, 41)
    for result in usage:
        assert (result.code, result.out) == (2, b"")
    assert not (tmp_path / "x.ddn").exists()


def test_what_is_whole_of_a_file_that_broke_off_is_shown(
    run_many: Run, refused: Run, tmp_path: Path, k3: Path
) -> None:
    info = read_info(k3)
    whole = stream(info.id, info.config.levels, 3)
    data = to_bytes(whole)
    (tmp_path / "a.ddn").write_bytes(data[:-7])  # without checksum and three bytes
    (tmp_path / "none.ddn").write_bytes(data[: -4 - len(whole.latent.pack())])
    use = ["--model", k3]
    default, shown, facts, text, none = run_many(
        ["decode", "a.ddn", *use], ["decode", "a.ddn", *use, "--partial"], ["info", "a.ddn", "--partial", "--json"],
        ["info", "a.ddn", "--partial"], ["decode", "none.ddn", *use, "--partial"])
    told, = json.loads(facts.out)
    levels = told["levels"]
    assert (told["bytes"], told["bytes_of_whole"], told["levels_of_whole"]) == (len(data) - 7, len(data), 40)
    assert 20 <= levels <= 40 * 5 / 8  # K = 3, 40 levels in 8 bytes, of which 5 are there
    assert f"of its 40 levels {levels} are whole" in refused(default, 8)
    for result in run_many(["info", "a.ddn"], ["verify", "a.ddn", *use]):
        assert f"of its 40 levels {levels} are whole" in refused(result, 8)
    assert shown.code == 0
    assert shown.err.startswith(f"ddncodec: a.ddn: it broke off after {len(data) - 7} of {len(data)} bytes")
    (tmp_path / "p.ddn").write_bytes(to_bytes(replace(whole, latent=whole.latent.prefix(levels))))
    prefix, = run_many(["decode", "p.ddn", *use, "-o", "-"])
    with Image.open(io.BytesIO(prefix.out)) as image, Image.open(tmp_path / "a.png") as partial:
        assert image.tobytes() == partial.tobytes()
    assert "it broke off, unchecked" in text.out.decode()
    assert "of its 40 levels none is whole" in refused(none, 8)


@pytest.mark.parametrize("line", [["cut", "a.ddn", "--bytes", "20", "-o", "b.ddn"],
                                  ["info", "--partial", "a.ddn"], ["verify", "--bare", "--model", "binddn", "a.ddnb"],
                                  ["info", "--bare", "--model", "binddn", "a.ddnb"],
                                  ["cut", "a.ddnb", "--bare", "--model", "binddn", "--bytes", "4", "-o", "b"]])
def test_neither_torch_nor_numpy_is_imported(run_light: Run, tmp_path: Path, line: list[str]) -> None:
    whole = replace(stream(bytes(4)), comment=None)
    (tmp_path / "a.ddn").write_bytes(to_bytes(whole))
    (tmp_path / "a.ddnb").write_bytes(bare.to_bytes(whole))
    run_light(*line)
