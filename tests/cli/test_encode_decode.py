"""encode and decode: which file becomes which, and that the picture comes back."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from ddncodec.container import from_bytes
from ddncodec.weights import read_info

Run = Callable[..., Any]


def pixels(source: Path | bytes) -> np.ndarray:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def codes(results: list[Any]) -> list[int]:
    return [result.code for result in results]


def test_the_shipped_model_brings_a_face_back(run: Run, run_many: Run, face: Path) -> None:
    assert run("encode", "face.png") == (0, b"", "")
    stream = from_bytes(face.with_suffix(".ddn").read_bytes())
    assert (stream.width, stream.height) == (64, 64)
    # Without --model the file's own weights are found.
    assert codes(run_many(["decode", "face.ddn", "-o", "back.png"], ["verify", "face.ddn"])) == [0, 0]
    back, original = pixels(face.with_name("back.png")), pixels(face)
    assert np.abs(back - original).mean() < np.abs(original.mean((0, 1)) - original).mean()


def test_default_names_never_overwrite_unless_forced(run_many: Run, face: Path, k2: Path) -> None:
    before = face.read_bytes()
    use = ["--model", k2]
    encoded, refused, forced, again, forced_again = run_many(
        ["encode", "face.png", *use], ["decode", "face.ddn", *use], ["decode", "-f", "face.ddn", *use],
        ["encode", "face.png", *use], ["encode", "--force", "face.png", *use],
    )
    assert encoded == (0, b"", "")
    assert refused.code == again.code == 41
    assert refused.err == "ddncodec: face.ddn: face.png exists already; -f overwrites it\n"
    assert forced == forced_again == (0, b"", "")
    assert face.read_bytes() != before
    assert names(face.parent) == ["face.ddn", "face.png"]


def test_a_refusal_to_overwrite_leaves_the_file_as_it_is(run: Run, face: Path) -> None:
    face.with_suffix(".ddn").write_bytes(b"mine")
    assert run("encode", "face.png").code == 41
    assert face.with_suffix(".ddn").read_bytes() == b"mine"


def test_output_names_the_file_and_makes_its_folder(run_many: Run, face: Path, k2: Path) -> None:
    results = run_many(["encode", "face.png", "-o", "a/b/x.bin", "--model", k2],
                       ["decode", "a/b/x.bin", "--output", "a/y.png", "--model", k2])
    assert codes(results) == [0, 0]
    assert names(face.parent) == ["a/b/x.bin", "a/y.png", "face.png"]


def test_standard_input_and_output_give_the_bytes_that_files_give(
    run: Run, run_many: Run, face: Path, k2: Path
) -> None:
    use = ["--model", k2]
    assert codes(run_many(["encode", "face.png", *use], ["decode", "face.ddn", "-o", "back.png", *use])) == [0, 0]
    data, back = face.with_suffix(".ddn").read_bytes(), face.with_name("back.png").read_bytes()
    assert run("encode", "-", *use, stdin=face.read_bytes()) == (0, data, "")
    assert run("decode", "-", "-o", "-", *use, stdin=data) == (0, back, "")
    assert run_many(["encode", "face.png", "-o", "-", *use], ["decode", "face.ddn", "-o", "-", *use]) == [
        (0, data, ""), (0, back, "")]


def test_several_inputs_go_to_an_output_directory(run_many: Run, draw: Run, tmp_path: Path, k2: Path) -> None:
    for folder, name in (("in", "a.png"), ("in", "b.jpg"), ("other", "c.bmp")):
        (tmp_path / folder).mkdir(exist_ok=True)
        draw().save(tmp_path / folder / name)
    results = run_many(["encode", "in/a.png", "in/b.jpg", "other/c.bmp", "--output-dir", "coded", "--model", k2],
                       ["decode", *(f"coded/{name}.ddn" for name in "abc"), "--output-dir", "back/deep", "--model", k2])
    assert codes(results) == [0, 0]
    assert names(tmp_path / "coded") == ["a.ddn", "b.ddn", "c.ddn"]
    assert names(tmp_path / "back") == ["deep/a.png", "deep/b.png", "deep/c.png"]


def test_recursion_keeps_the_tree_and_takes_images_alone(run_many: Run, draw: Run, tmp_path: Path, k2: Path) -> None:
    (tmp_path / "in/x/y").mkdir(parents=True)
    for name in ("a.png", "x/b.PNG", "x/y/c.jpg"):
        draw(20, 30).save(tmp_path / "in" / name)
    (tmp_path / "in/x/notes.txt").write_text("no image")
    results = run_many(["encode", "-r", "in", "--output-dir", "coded", "--model", k2],
                       ["decode", "--recursive", "coded", "--output-dir", "back", "--model", k2],
                       ["encode", "-r", "in", "--model", k2])
    told = "ddncodec: in: skipped: 1 of another kind\n"
    assert [(result.code, result.err) for result in results] == [(0, told), (0, ""), (0, told)]
    assert names(tmp_path / "coded") == ["a.ddn", "x/b.ddn", "x/y/c.ddn"]
    assert names(tmp_path / "back") == ["a.png", "x/b.png", "x/y/c.png"]
    assert names(tmp_path / "in") == ["a.ddn", "a.png", "x/b.PNG", "x/b.ddn", "x/notes.txt", "x/y/c.ddn", "x/y/c.jpg"]


def test_a_directory_needs_recursion_and_something_in_it(run_many: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for result, reason in zip(run_many(["encode", "in"], ["encode", "-r", "in"], ["decode", "in"]),
                              ("-r takes", "no file to take", "-r takes"), strict=True):
        assert result.code == 40
        assert result.err.startswith("ddncodec: in: ")
        assert reason in result.err
        assert result.err.count("\n") == 1


def test_a_bad_file_among_many_is_told_and_the_others_are_written(
    run_many: Run, draw: Run, tmp_path: Path, k2: Path
) -> None:
    for name in ("a.png", "c.png"):
        draw().save(tmp_path / name)
    (tmp_path / "b.png").write_text("no image")
    encoded, decoded = run_many(["encode", "a.png", "b.png", "missing.png", "c.png", "--model", k2],
                                ["decode", "a.ddn", "b.png", "c.ddn", "--output-dir", "back", "--model", k2])
    assert encoded.code == 30  # the first failure's
    told = [line.split(": ")[:2] for line in encoded.err.splitlines()]
    assert told == [["ddncodec", "b.png"], ["ddncodec", "missing.png"]]
    assert decoded.code == 3
    assert decoded.err.startswith("ddncodec: b.png: ")
    assert names(tmp_path) == ["a.ddn", "a.png", "b.png", "back/a.png", "back/c.png", "c.ddn", "c.png"]


def test_two_inputs_for_one_output_are_refused(run_many: Run, draw: Run, tmp_path: Path, k2: Path) -> None:
    draw().save(tmp_path / "a.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.bmp")
    both, alone = run_many(["encode", "-f", "a.png", "a.bmp", "--model", k2],
                           ["encode", "a.png", "-o", "alone.ddn", "--model", k2])
    assert (both.code, both.err) == (41, "ddncodec: a.bmp: a.png would become a.ddn too\n")
    assert alone.code == 0
    assert (tmp_path / "a.ddn").read_bytes() == (tmp_path / "alone.ddn").read_bytes()


def test_levels_keep_a_prefix(run_many: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    half = read_info(k2).config.levels // 2
    use = ["--model", k2]
    results = run_many(["encode", "face.png", *use], ["encode", "face.png", "--levels", half, "-o", "half.ddn", *use],
                       ["info", "--json", "half.ddn"], ["decode", "half.ddn", *use],
                       ["decode", "face.ddn", "--levels", half, "-o", "of-whole.png", *use],
                       ["decode", "face.ddn", "--levels", 65_000, "-o", "whole.png", *use])
    assert codes(results) == [0] * 6
    assert json.loads(results[2].out)[0]["levels"] == half
    whole, prefix = (from_bytes((tmp_path / name).read_bytes()) for name in ("face.ddn", "half.ddn"))
    assert prefix.latent == whole.latent.prefix(half)
    assert (tmp_path / "half.ddn").stat().st_size < (tmp_path / "face.ddn").stat().st_size
    assert (tmp_path / "half.png").read_bytes() == (tmp_path / "of-whole.png").read_bytes()
    assert (tmp_path / "whole.png").read_bytes() != (tmp_path / "half.png").read_bytes()


@pytest.mark.parametrize("size", [(40, 90), (8, 300)])
def test_a_picture_comes_back_at_its_own_size(
    run_many: Run, draw: Run, tmp_path: Path, k3: Path, size: tuple[int, int]
) -> None:
    draw(*size).save(tmp_path / "a.png")
    assert codes(run_many(["encode", "a.png", "--model", k3], ["decode", "-f", "a.ddn", "--model", k3])) == [0, 0]
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == size


def test_the_suffix_decides_the_format(run_many: Run, face: Path, k2: Path, tmp_path: Path) -> None:
    formats = {"png": "PNG", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF", "ppm": "PPM", "jpg": "JPEG", "JPEG": "JPEG"}
    results = run_many(["encode", "face.png", "--model", k2],
                       *(["decode", "face.ddn", "-o", f"x.{suffix}", "--model", k2] for suffix in formats),
                       ["decode", "face.ddn", "-o", "x.gif", "--model", k2], ["decode", "face.ddn", "-o", "x"])
    assert codes(results) == [0] * (1 + len(formats)) + [2, 2]
    reference = pixels(tmp_path / "x.png")
    for suffix, format in formats.items():
        with Image.open(tmp_path / f"x.{suffix}") as image:
            assert image.format == format
        assert np.abs(pixels(tmp_path / f"x.{suffix}") - reference).max() <= (40 if format == "JPEG" else 0)
    assert "x.gif" in results[-2].err
    assert not (tmp_path / "x.gif").exists()
    assert not (tmp_path / "x").exists()


def test_comment_and_profile_travel_with_the_picture(run_many: Run, draw: Run, tmp_path: Path, k2: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    draw().save(tmp_path / "a.png", icc_profile=icc)
    comment = "Grüße\nund 你好"
    use = ["--model", k2]
    results = run_many(["encode", "a.png", "--comment", comment, "--keep-icc", *use], ["info", "--json", "a.ddn"],
                       ["decode", "a.ddn", "-o", "back.png", *use], ["encode", "-f", "a.png", *use],
                       ["info", "--json", "a.ddn"])
    assert codes(results) == [0] * 5
    (kept,), (plain,) = (json.loads(results[i].out) for i in (1, 4))
    assert (kept["comment"], kept["icc_bytes"]) == (comment, len(icc))
    assert (plain["comment"], plain["icc_bytes"]) == (None, 0)
    with Image.open(tmp_path / "back.png") as image:
        assert image.info["icc_profile"] == icc


def test_every_kind_of_picture_is_seen_as_a_viewer_shows_it(run_many: Run, draw: Run, tmp_path: Path, k2: Path) -> None:
    image = draw()
    image.save(tmp_path / "plain.png")
    grey = image.convert("L")
    grey.convert("RGB").save(tmp_path / "plain-grey.png")
    grey.save(tmp_path / "grey.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    palette = image.quantize(64)
    palette.save(tmp_path / "palette.png")
    palette.convert("RGB").save(tmp_path / "plain-palette.png")
    image.convert("RGBA").save(tmp_path / "rgba.png")
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    of = {"grey": "plain-grey", "sixteen": "plain-grey", "palette": "plain-palette", "rgba": "plain", "turned": "plain"}
    files = sorted(path.name for path in tmp_path.iterdir())
    results = run_many(["encode", *files, "--output-dir", "out", "--model", k2],
                       ["decode", "-r", "out", "--output-dir", "back", "--model", k2])
    assert [(result.code, result.err) for result in results] == [(0, "")] * 2
    for kind, plain in of.items():
        assert (tmp_path / f"out/{kind}.ddn").read_bytes() == (tmp_path / f"out/{plain}.ddn").read_bytes(), kind
    assert np.abs(pixels(tmp_path / "back/cmyk.png") - pixels(tmp_path / "back/plain.png")).mean() < 8
    assert np.abs(pixels(tmp_path / "back/turned.png") - pixels(tmp_path / "plain.png")).mean() < 60


def test_more_files_than_a_batch_are_all_written(run_many: Run, draw: Run, tmp_path: Path, k3: Path) -> None:
    for number in range(70):
        draw(16, 16 + number % 3).save(tmp_path / f"{number:02}.bmp")
    for number in (3, 68):
        (tmp_path / f"{number:02}.bmp").write_bytes(b"BM")
    (result,) = run_many(["encode", "-r", ".", "--output-dir", "out", "--model", k3])
    assert result.code == 30
    assert len(result.err.splitlines()) == 2
    assert len(os.listdir(tmp_path / "out")) == 68


USAGE = """
encode a.png b.png -o x.ddn|encode a.png -o x.ddn --output-dir y|encode -r . -o x.ddn|encode|encode a.png --levels 0
encode a.png --levels many|encode a.png --nonsense|decode a.ddn b.ddn -o x.png|decode a.ddn --levels 0|nonsense
models nonsense|models list --nonsense|info|info --nonsense a.ddn|verify|train --batch 0|train --steps 0|train --k two
"""


def test_a_usage_error_is_told_shortly(run: Run, run_many: Run, tmp_path: Path) -> None:
    lines = [line.split() for line in USAGE.strip().replace("\n", "|").split("|")]
    for line, result in zip([["--nonsense"], *lines], [run("--nonsense"), *run_many(*lines)], strict=True):
        assert (result.code, result.out) == (2, b""), line
        assert "Traceback" not in result.err
        assert "Error: " in result.err.splitlines()[-1]
        assert len(result.err.splitlines()) <= 5
    assert names(tmp_path) == []


def test_what_the_model_or_the_machine_lacks_is_a_usage_error(run_many: Run, face: Path, k2: Path) -> None:
    use = ["--model", k2]
    wrong = [["--levels", read_info(k2).config.levels + 1], ["--device", "nonsense"], ["--device", "cuda:99"],
             ["--device", "cpu:7"], ["--device", "cpu:"], ["--device", ""], ["--device", "cuda:-1"]]
    results = run_many(*(["encode", "face.png", *use, *options] for options in wrong))
    for options, result in zip(wrong, results, strict=True):
        assert (result.code, result.out) == (2, b""), options
        assert "Traceback" not in result.err
        assert "Error: " in result.err.splitlines()[-1]
    assert names(face.parent) == ["face.png"]


def test_help_and_version_exit_well(run_many: Run) -> None:
    results = run_many(["--help"], ["-h"], ["--version"],
                       *([command, "--help"] for command in ("encode", "decode", "info", "verify", "models", "train")))
    for result in results:
        assert (result.code, result.err) == (0, "")
        assert result.out
