"""sample and guide: what they write where, and what they refuse."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer import BadParameter

from ddncodec.container import from_bytes
from ddncodec.network.config import Condition
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.registry import build
from ddncodec.weights import save_network
from ddncodec_cli.guide import parse

Run = Callable[..., Any]


@pytest.fixture
def small(tmp_path: Path, draw: Callable[..., Image.Image]) -> Path:
    """A picture of 8×8, and a mask of the same whose left half is white."""
    draw(8, 8).save(tmp_path / "small.png")
    mask = Image.new("L", (8, 8))
    mask.paste(255, (0, 0, 4, 8))
    mask.save(tmp_path / "mask.png")
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    return tmp_path


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_samples_are_a_grid_a_folder_or_a_pipe_and_the_same_by_seed(run_many: Run, k2: Path, tmp_path: Path) -> None:
    use = ["--model", k2]
    results = run_many(["sample", "-n", 5, "-o", "grid.png", *use], ["sample", "-n", 3, "-o", "folder", *use],
                       ["sample", "-n", 1, "-o", "-", *use], ["sample", "-n", 1, "-o", "other.png", "--seed", 1, *use])
    assert [(result.code, result.err) for result in results] == [(0, "")] * 4
    grid = pixels((tmp_path / "grid.png").read_bytes())
    assert grid.shape == (32, 48, 3)
    assert (grid[16:, 32:] == 255).all()
    found = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert found == ["0.png", "1.png", "2.png"]
    for i, name in enumerate(found):
        assert np.array_equal(pixels((tmp_path / "folder" / name).read_bytes()), grid[:16, 16 * i : 16 * i + 16])
    assert np.array_equal(pixels(results[2].out), grid[:16, :16])
    assert not np.array_equal(pixels((tmp_path / "other.png").read_bytes()), grid[:16, :16])


def test_saved_latents_decode_to_the_very_images(run_many: Run, k2: Path, small: Path) -> None:
    principal = k2.with_name("k2-refined.safetensors")
    results = run_many(
        ["sample", "-n", 2, "-o", "drawn", "--save-latent", "--model", principal],
        ["guide", "super-resolution=small.png", "-n", 2, "-o", "guided", "--save-latent", "--model", principal],
        ["guide", "colourise=small.png", "-o", "one.png", "--save-latent", "--lookahead", 3, "--model", k2],
        ["decode", "drawn/1.ddn", "-o", "drawn.png", "--model", principal],
        ["decode", "guided/1.ddn", "-o", "guided.png", "--model", principal],
        ["decode", "one.ddn", "-o", "back.png", "--model", k2])
    assert [result.code for result in results] == [0] * 6, results
    for one, other in (("drawn/1.png", "drawn.png"), ("guided/1.png", "guided.png"), ("one.png", "back.png")):
        assert (small / one).read_bytes() == (small / other).read_bytes()


def test_a_prefix_is_kept_and_names_its_own_weights(run_many: Run, k2: Path, face: Path) -> None:
    results = run_many(
        ["encode", "face.png", "--model", k2],
        ["sample", "--prefix", "face.ddn", "--levels", 40, "-n", 2, "-o", "some", "--save-latent", "--model", k2],
        ["sample", "--prefix", "face.ddn", "-n", 1, "-o", "all.png", "--save-latent", "--model", k2],
        ["sample", "--prefix", "face.ddn", "-o", "none.png"])
    assert [result.code for result in results] == [0, 0, 0, 20]
    whole = from_bytes(face.with_suffix(".ddn").read_bytes()).latent
    some = [from_bytes((face.parent / "some" / f"{i}.ddn").read_bytes()).latent for i in (0, 1)]
    assert all(latent.prefix(40) == whole.prefix(40) for latent in some)
    assert some[0] != some[1]
    assert from_bytes((face.parent / "all.ddn").read_bytes()).latent == whole


def test_conditional_models_are_told_and_have_no_latents_to_save(run_many: Run, refused: Run, small: Path) -> None:
    torch.manual_seed(0)
    plain = BlockwiseConfig.default(4, 12, 8, channels=8, planes=0)
    for condition in (Condition("class", 3), Condition("grey", 1)):
        save_network(small / f"{condition.kind}.safetensors", build(replace(plain, condition=condition)), "told")
    told, grey = ["--model", "class.safetensors"], ["--model", "grey.safetensors"]
    ran = run_many(["sample", "-n", 4, "--class", 2, "-o", "a.png", *told],
                   ["sample", "-n", 2, "--condition", "small.png", "-o", "b.png", *grey],
                   ["guide", "edges=small.png", "--condition", "small.png", "-o", "d.png", *grey],
                   ["guide", "colourise=small.png", "--class", 1, "-o", "e.png", *told],
                   ["guide", "colourise=small.png", "--class", 2, "-o", "f.png", *told])
    assert [result.code for result in ran] == [0] * 5, ran
    assert (small / "e.png").read_bytes() != (small / "f.png").read_bytes()
    bad = run_many(["sample", "-n", 1, "--class", 2, "-o", "c.png", "--save-latent", *told])
    assert "does not hold" in refused(bad[0], 20)
    usage = run_many(["sample", "-o", "c.png", *told], ["sample", "-o", "c.png", "--class", 3, *told],
                     ["sample", "-o", "c.png", "--class", 1, *grey], ["guide", "edges=small.png", "-o", "c.png", *grey])
    assert [result.code for result in usage] == [2] * 4, usage
    assert not (small / "c.png").exists()


def test_guides_that_are_none_are_wrong_usage(run_many: Run, k2: Path, small: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    for text in ("face.png", "smile=face.png", "colourise=", "inpaint=small.png", "classifier=x.pt", "clip=x.pt",
                 "colourise=small.png,noise=3", "colourise=small.png,weight=0", "colourise=small.png,weight=nan",
                 "colourise=small.png,weight=1,weight=2", "classifier=x.pt,class=-1", "classifier=x.pt,class=two",
                 "denoise=small.png,noise=inf"):
        with pytest.raises(BadParameter):
            parse(text)
    for text in ("smile=face.png", "inpaint=small.png,mask=black.png"):
        result, = run_many(["guide", text, "-o", "out.png", "--model", k2])
        assert (result.code, "Traceback" in result.err) == (2, False)
        assert not (small / "out.png").exists()


def test_bad_files_are_refused_in_one_line_and_nothing_is_written(
    run_many: Run, refused: Run, k2: Path, small: Path, face: Path,
) -> None:
    (small / "junk.png").write_bytes(b"junk")
    (small / "there.png").write_bytes(b"mine")
    before = sorted(small.iterdir())
    use = ["--model", k2]
    lines = {
        ("guide", "colourise=missing.png", "-o", "a.png", *use): 40,
        ("guide", "colourise=junk.png", "-o", "a.png", *use): 30,
        ("guide", "inpaint=small.png,mask=missing.png", "-o", "a.png", *use): 40,
        ("guide", "classifier=missing.pt,class=0", "-o", "a.png", *use): 40,
        ("guide", "classifier=junk.png,class=0", "-o", "a.png", *use): 21,
        ("guide", "colourise=small.png", "-o", "there.png", *use): 41,
        ("guide", "colourise=small.png", "-o", "a.png", "--model", "nope"): 20,
        ("sample", "-o", "there.png", *use): 41,
        ("sample", "--prefix", "junk.png", "-o", "a.png", *use): 3,
    }
    for result, code in zip(run_many(*lines), lines.values(), strict=True):
        refused(result, code)
    usage = run_many(["sample", "--levels", 3, "-o", "a.png", *use], ["sample", "-n", 0, "-o", "a.png", *use],
                     ["sample", "-n", 2, "-o", "a.png", "--save-latent", *use], ["sample", "-o", "a.xyz", *use],
                     ["guide", "super-resolution=face.png", "-o", "a.png", *use], ["guide", "-o", "a.png", *use])
    assert [result.code for result in usage] == [2] * 6, usage
    assert sorted(small.iterdir()) == before
    assert (small / "there.png").read_bytes() == b"mine"


def test_a_comma_that_no_key_follows_belongs_to_the_value() -> None:
    told = parse("clip=a,b.pt,weight=0.5,text=a woman, smiling, class of 1999")
    assert (told.source, told.weight, told.text) == (Path("a,b.pt"), 0.5, "a woman, smiling, class of 1999")
