"""info and verify: what a .ddn file says of itself, and whether it is whole; both without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddncodec import zoo
from ddncodec.container import VERSION, Stream, from_bytes, to_bytes
from ddncodec.latent import Latent
from ddncodec.weights import WeightsInfo

Run = Callable[..., Any]
FOREIGN = bytes.fromhex("0badcafe")


def stream(weights_id: bytes = FOREIGN, *, levels: int = 12, k: int = 2, comment: str | None = None,
           icc: bytes | None = None) -> Stream:
    return Stream(Latent(tuple(i % k for i in range(levels)), k), 300, 200, weights_id, icc, comment)


def looks(info: WeightsInfo) -> list[str]:
    return ["faithful"] + ["natural"] * info.path.with_name("weights.natural.safetensors").exists()


@pytest.fixture
def default() -> Stream:
    """A stream that the shipped model can decode."""
    info = zoo.find(zoo.DEFAULT)
    return stream(info.id, levels=info.config.levels, k=info.config.k)


def test_json_says_what_the_container_says(run_many: Run, tmp_path: Path, default: Stream) -> None:
    streams = {"a.ddn": default, "b.ddn": stream(levels=7, k=5, comment="Grüße", icc=bytes(50))}
    for name, written in streams.items():
        (tmp_path / name).write_bytes(to_bytes(written))
    (result,) = run_many(["info", "--json", *streams])
    assert (result.code, result.err) == (0, "")
    ours = zoo.find_id(default.weights_id)
    facts = json.loads(result.out)
    for (name, written), told in zip(streams.items(), facts, strict=True):
        size = (tmp_path / name).stat().st_size
        here = written.weights_id == ours.id
        assert told == {
            "file": name, "bytes": size, "bytes_of_whole": size, "levels_of_whole": written.latent.levels,
            "bare": False, "version": VERSION, "width": 300, "height": 200,
            "k": written.latent.k, "levels": written.latent.levels, "bits": written.latent.bits,
            "bits_per_pixel": 8 * size / (300 * 200), "weights": written.weights_hex,
            "model": ours.name if here else None, "levels_of_model": ours.config.levels if here else None,
            "deviation": None, "comment": written.comment, "icc_bytes": len(written.icc or b""),
            "looks": looks(ours) if here else [],
        }


def test_text_says_the_same(run: Run, tmp_path: Path, default: Stream) -> None:
    (tmp_path / "a.ddn").write_bytes(to_bytes(default))
    (tmp_path / "b.ddn").write_bytes(to_bytes(stream(comment="hello", icc=bytes(50))))
    result = run("info", "a.ddn", "b.ddn")
    assert (result.code, result.err) == (0, "")
    first, second = result.out.decode().split("b.ddn")
    for part in ("a.ddn", "300 × 200 pixels", f"({zoo.DEFAULT})", default.weights_hex, f"K = {default.latent.k}"):
        assert part in first
    for part in ("0badcafe (not among the models here)", "12 levels, K = 2: 12 bits", "50 bytes of ICC", "hello"):
        assert part in second
    assert "comment" not in first
    assert "profile" not in first


def test_a_prefix_is_told_as_such(run_many: Run, tmp_path: Path, default: Stream) -> None:
    short = stream(default.weights_id, levels=10, k=default.latent.k)
    (tmp_path / "a.ddn").write_bytes(to_bytes(short))
    assert f"10 of {default.latent.levels:,} levels" in run_many(["info", "a.ddn"])[0].out.decode()


def test_no_control_character_reaches_the_terminal(run_many: Run, tmp_path: Path) -> None:
    name = "a\x1b[2J\nb\x07.ddn"
    (tmp_path / name).write_bytes(to_bytes(stream(comment="x\x1b]0;title\x07\r\nverify: ok\x9b1m\u202ey")))
    results = run_many(["info", name], ["info", "--json", name], ["verify", name], ["info", name + "missing"],
                       ["decode", name], ["encode", name], ["encode", name, "--model", "no\x1bmodel"],
                       ["models", "show", "no\x1bmodel\n"])
    for result in results:
        text = result.out.decode() + result.err
        assert text
        assert all(c.isprintable() or c == "\n" for c in text), text
    assert results[0].out.count(b"\n") == 6
    for result in results[2:]:
        assert result.err.count("\n") == 1
    assert json.loads(results[1].out)[0]["file"] == name


def test_a_name_that_is_not_unicode_can_be_used(run: Run, tmp_path: Path) -> None:
    name = b"caf\xe9.ddn".decode(errors="surrogateescape")
    try:
        (tmp_path / name).write_bytes(to_bytes(stream()))
    except OSError:
        pytest.skip("the file system takes Unicode names alone")
    for line in (["info", name], ["info", "--json", name]):
        result = run(*line)
        assert (result.code, result.err) == (0, "")
    assert run("verify", name).err.startswith("ddncodec: caf\\udce9.ddn: ")


def test_standard_input_can_be_looked_at(run: Run, default: Stream) -> None:
    data = to_bytes(default)
    assert json.loads(run("info", "-", "--json", stdin=data).out)[0]["bytes"] == len(data)
    assert run("verify", "-", stdin=data) == (0, b"-: ok\n", "")
    assert run("verify", "-", stdin=data[:-1]).err.startswith("ddncodec: stdin: ")


def test_verify_says_ok_and_goes_on_past_the_damaged(run: Run, tmp_path: Path, default: Stream) -> None:
    data = to_bytes(default)
    flipped = bytearray(data)
    flipped[-6] ^= 1
    for name, content in (("a.ddn", data), ("b.ddn", flipped), ("c.ddn", data[:-3]), ("d.ddn", data)):
        (tmp_path / name).write_bytes(content)
    result = run("verify", "a.ddn", "b.ddn", "c.ddn", "d.ddn")
    assert result.code == 10  # the first failure's
    assert result.out == b"a.ddn: ok\nd.ddn: ok\n"
    assert [line.split(": ")[1] for line in result.err.splitlines()] == ["b.ddn", "c.ddn"]


def test_verify_wants_the_weights(run_many: Run, tmp_path: Path, k2: Path, default: Stream) -> None:
    ours = zoo.find(str(k2))
    layout = ours.config
    streams = {"foreign": stream(), "k": stream(ours.id, k=layout.k + 1),
               "long": stream(ours.id, k=layout.k, levels=layout.levels + 1),
               "good": stream(ours.id, k=layout.k, levels=layout.levels), "default": default}
    for name, written in streams.items():
        (tmp_path / name).write_bytes(to_bytes(written))
    with_model = run_many(*(["verify", name, "--model", k2] for name in streams))
    assert [result.code for result in with_model] == [20, 20, 20, 0, 20]
    without = run_many(*(["verify", name] for name in streams))
    assert [result.code for result in without] == [20, 20, 20, 20, 0]
    assert "0badcafe" in without[0].err
    assert without[0].err.endswith("; give their file with --model\n")
    assert "--model" not in with_model[0].err


def test_info_does_not_need_the_weights(run_many: Run, tmp_path: Path) -> None:
    (tmp_path / "a.ddn").write_bytes(to_bytes(stream()))
    ((told,),) = [json.loads(result.out) for result in run_many(["info", "--json", "a.ddn"])]
    assert (told["weights"], told["model"], told["levels_of_model"]) == ("0badcafe", None, None)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_neither_torch_nor_numpy_is_imported(run_light: Run, tmp_path: Path, default: Stream, command: str) -> None:
    (tmp_path / "a.ddn").write_bytes(to_bytes(Stream(default.latent, 64, 64, default.weights_id, b"icc", "comment")))
    assert run_light(command, "a.ddn").endswith(b"\n")


def test_reading_back_is_exact(default: Stream) -> None:
    assert from_bytes(to_bytes(default)) == default
