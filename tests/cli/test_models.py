"""models: the checkpoints that are here, and what one says of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddncodec import zoo
from ddncodec.weights import WeightsInfo, read_info

Run = Callable[..., Any]


def looks(info: WeightsInfo) -> list[str]:
    return ["faithful"] + ["natural"] * info.path.with_name("weights.natural.safetensors").exists()


def facts(info: WeightsInfo) -> dict[str, object]:
    layout = info.config
    return {
        "name": info.name, "weights": info.id.hex(),
        "earlier": {one.id.hex(): one.deviation for one in info.earlier}, "bytes": info.path.stat().st_size,
        "resolution": layout.resolution, "k": layout.k, "levels": layout.levels, "bits": layout.bits,
        "generator": layout.generator, "looks": looks(info), "layout": json.loads(layout.to_json()),
    }


def test_list_names_what_ships(run: Run) -> None:
    text, as_json = run("models", "list"), run("models", "list", "--json")
    assert (text.code, text.err, as_json.code, as_json.err) == (0, "", 0, "")
    assert json.loads(as_json.out) == [facts(info) for info in zoo.shipped()]
    for info, line in zip(zoo.shipped(), text.out.decode().splitlines(), strict=True):
        assert line.startswith(info.name)
        assert info.id.hex() in line


def test_show_tells_a_model_by_name_or_path(run_many: Run, k2: Path) -> None:
    default, named, path, text = run_many(["models", "show", "--json"], ["models", "show", zoo.DEFAULT, "--json"],
                                          ["models", "show", k2, "--json"], ["models", "show", k2])
    assert default == named
    assert json.loads(default.out).items() >= facts(zoo.find(zoo.DEFAULT)).items()
    assert json.loads(path.out) == facts(read_info(k2)) | {"metrics": None}
    assert [result.code for result in (default, named, path, text)] == [0] * 4
    info = read_info(k2)
    assert text.out.decode().startswith(f"{info.name}  {info.id.hex()}")
    for name, value in json.loads(info.config.to_json()).items():
        assert f"{name}: {value}" in text.out.decode()


def test_show_tells_the_figures_and_the_card_of_what_ships(run_many: Run) -> None:
    folder = zoo.find(zoo.DEFAULT).path.parent
    text, as_json = run_many(["models", "show"], ["models", "show", "--json"])
    metrics, card = folder / "metrics.json", folder / "card.md"
    assert json.loads(as_json.out)["metrics"] == (json.loads(metrics.read_text()) if metrics.is_file() else None)
    if card.is_file():
        assert card.read_text(encoding="utf-8") in text.out.decode()


def test_a_foreign_model_is_not_trusted(run_many: Run, k2: Path, tmp_path: Path) -> None:
    """Nor its name, nor the files that lie beside it."""
    shutil.copy(k2, tmp_path / "ours.safetensors")
    data = k2.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["name"] = "\x1b[2J\x07a\nname"
    text = json.dumps(header).encode()
    (tmp_path / "theirs.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    (tmp_path / "card.md").write_bytes(b"caf\xe9 \x07")
    (tmp_path / "metrics.json").write_text("[" * 100_000)
    plain, strange = run_many(["models", "show", "ours.safetensors"], ["models", "show", "theirs.safetensors"])
    assert (plain.code, plain.err, strange.code, strange.err) == (0, "", 0, "")
    assert strange.out.startswith(b"\\x1b[2J\\x07a\\nname  ")
    assert b"\x07" not in plain.out + strange.out


def test_an_unknown_name_is_refused_and_the_known_are_told(run: Run, refused: Run) -> None:
    line = refused(run("models", "show", "nonsense"), 20)
    assert "nonsense" in line
    assert zoo.DEFAULT in line
