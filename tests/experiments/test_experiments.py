"""Each experiment's main path, cut very small: what it calls is there, and it says and writes what it promises."""

from __future__ import annotations

import hashlib
import json
import math
import re
import runpy
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from safetensors.torch import load_file

from ddncodec import zoo
from ddncodec.data import faces
from ddncodec.evaluation.evaluate import Settings
from ddncodec.weights import load_network, read_info, save_network

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- benchmarks: .*?<!-- /benchmarks -->", re.DOTALL)
MARK = re.compile(r"<!-- benchmarks: .*? -->")
SCRIPTS = sorted(path for path in (ROOT / "experiments").rglob("*.py") if "typer.run(main)" in path.read_text())


@pytest.fixture(autouse=True)
def opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV, which `guided` compares with and the tests' environment lacks: it leaves pictures as they are."""
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(
        INPAINT_TELEA=0, INPAINT_NS=1, inpaint=lambda picture, hole, radius, method: picture))


def change(monkeypatch: pytest.MonkeyPatch, module: Any, **names: Any) -> None:
    for name, value in names.items():
        monkeypatch.setattr(module, name, value)


@contextmanager
def ends_with(code: int) -> Any:
    with pytest.raises(typer.Exit) as end:
        yield
    assert end.value.exit_code == code


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_experiment_imports_what_there_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == 0
    assert "Usage" in capsys.readouterr().out


def test_a_peer_that_cannot_be_imported_ends_a_benchmark_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from peers import importing

    with ends_with(1), importing("Peer", "missing_and_unneeded"):
        import missing_and_unneeded.below  # type: ignore[import-not-found]
        assert missing_and_unneeded.below.anything()(3) == 3
        import missing_and_needed  # noqa: F401
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("Peer cannot run: ModuleNotFoundError: No module named 'missing_and_needed'")


@pytest.mark.parametrize(("promised", "code"), [(0, 0), (math.inf, 1)])
def test_bench_codec(promised: float, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                     capsys: pytest.CaptureFixture[str]) -> None:
    import bench_codec

    change(monkeypatch, bench_codec, IMAGES=2, ROUNDS=1, PROMISED=bench_codec.Speed(0, 0), PROMISED_GAIN=promised,
           compressai=lambda: bench_codec.ours(1))
    with ends_with(code):
        bench_codec.main(tmp_path / "speeds.json")
    speeds = json.loads((tmp_path / "speeds.json").read_text())["speeds"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(name) for name, line in zip(speeds, lines[1:], strict=False)] == [True] * 4
    assert all(speed["encoded"] > 0 and speed["decoded"] > 0 for speed in speeds.values())
    assert lines[-1].endswith("NO" if code else "yes")


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_bench_selection(train: bool, wrong: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import bench_selection

    methods = {name: bench_selection.METHODS[name] for name in (bench_selection.OURS, bench_selection.PLAIN)}
    if wrong:  # it compares with another target
        methods["wrong"] = lambda features, weights, target: methods[bench_selection.PLAIN](features, weights, -target)
    change(monkeypatch, bench_selection, BATCH=2, CHANNELS=8, CASES=[(2, 64), (16, 64)], LARGE=(16, 64), ROUNDS=1,
           PROMISE=0, NOWHERE_BELOW=0, METHODS=methods, apart=lambda function, *arguments: function(*arguments))
    with ends_with(int(wrong)):
        bench_selection.main(tmp_path / "rows.json", train)
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["same_picks"] is not wrong
    assert [(row["k"], row["method"]) for row in found["rows"]] == [(k, name) for k in (2, 16) for name in methods]


def test_a_closed_loop_gains_with_the_rounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import closed_loop

    change(monkeypatch, closed_loop, SHARES=(0.2,), ROUNDS=2)
    closed_loop.main("placeholder", str(ROOT / "examples/real_faces"), images=2, max_bytes=10,
                     json_file=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())["0.2"]
    assert figures == sorted(figures)
    assert f"| 0.2 | {figures[0]:.2f} | {figures[1]:.2f} | {figures[2]:.2f} |" in capsys.readouterr().out


def test_benchmarks_fills_every_marked_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import benchmarks

    documents = ["README.md", "docs/benchmarks.md"]
    for document in documents:
        (tmp_path / document).parent.mkdir(exist_ok=True)
        (tmp_path / document).write_text((ROOT / document).read_text())
    shutil.copytree(ROOT / "examples/real_faces", tmp_path / "examples/real_faces")
    for name, golden in (("binddn", "k2-principal"), ("k512", "k8-principal")):
        (tmp_path / name).mkdir()
        network = load_network(zoo.find(str(ROOT / f"tests/golden/{golden}.safetensors")))
        save_network(tmp_path / name / "weights.safetensors", network, name)
    change(monkeypatch, benchmarks, ROOT=tmp_path, RUNS=tmp_path / "runs",
           MODELS=[str(tmp_path / name / "weights.safetensors") for name in ("binddn", "k512")],
           Settings=lambda budgets: Settings((benchmarks.HEADLINE,), ("jpeg", "webp"), curve_images=1))
    benchmarks.main(images=2)
    for document in documents:
        before, after = ((root / document).read_text() for root in (ROOT, tmp_path))
        assert MARK.findall(after) == MARK.findall(before)
        for old, new in zip(BLOCK.findall(before), BLOCK.findall(after), strict=True):
            assert old != new
    metrics = json.loads((tmp_path / "k512/metrics.json").read_text())
    shown = f"| {metrics['efforts']['2']['psnr_of_mean_error']:.2f} dB |"
    assert shown in (tmp_path / "README.md").read_text()
    for picture in ("docs/rate-distortion.png", "docs/prefixes.png", "binddn/prefixes.png", "k512/prefixes.png"):
        Image.open(tmp_path / picture).verify()


def test_guided_writes_its_table_and_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import guided

    (tmp_path / "pictures").mkdir()
    shutil.copy(ROOT / "docs/guides.md", tmp_path)
    kept = {"inpainting": guided.tasks()["inpainting"]}
    change(monkeypatch, guided, DOCS=tmp_path, tasks=lambda: kept, PICTURED=2, TREE=(0, 72))
    guided.main(images=2)
    report = json.loads((tmp_path / "guided.json").read_text())
    methods = report["tasks"]["inpainting"]
    assert methods["OpenCV, Telea"]["consistency"] is None  # the given picture itself
    assert methods["`binddn`, --top-k 1"]["psnr"] > methods["OpenCV, Telea"]["psnr"]
    assert guided.table(report) in (tmp_path / "guides.md").read_text()
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {"inpainting", "samples", "tree"}


def test_coloured(tmp_path: Path) -> None:
    import coloured

    coloured.main("faces-colour", 2, tmp_path / "figures.json", tmp_path / "sheet.png")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["guided"] > figures["colour"] > figures["colour_of_the_grey_image"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 2 * 64, 2 * 5 * 64)
    with pytest.raises(typer.BadParameter, match="binddn"):
        coloured.main("binddn")


def test_recognised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import recognised

    for number in range(20):  # of each class two images
        (tmp_path / f"data/{number % 10}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 25 * (number % 10)).save(tmp_path / f"data/{number % 10}/{number}.png")
    change(monkeypatch, recognised, EPOCHS=1, BATCH=4, PICTURED=1)
    data = str(tmp_path / "data")
    recognised.main("fashion-class", data, data, 2, tmp_path / "figures.json", tmp_path / "sheet.png")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["samples"] == 20
    assert [len(shares) for shares in figures["by_class"].values()] == [10, 10]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 10 * 32, 2 * 2 * 32)
    with pytest.raises(typer.BadParameter, match="binddn"):
        recognised.main("binddn", data, data)


def test_train_features_writes_the_weights_that_the_metric_loads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import train_features

    monkeypatch.setattr(faces, "FACES_PER_FILE", 8)
    weights = tmp_path / "features.safetensors"
    change(monkeypatch, train_features, WEIGHTS=weights, BATCH=4, VALIDATED=4)
    train_features.main(steps=2, faces=8, cache=tmp_path)
    train_features.FaceFeatures().load_state_dict(load_file(weights))


def test_profile_training_says_where_all_of_the_time_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import profile_training

    random = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", random.integers(0, 256, (40, 8, 8, 3), np.uint8))
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(f"""[network]
generator = "single-shot"
k = 4
levels = 3
resolution = 8
channels = 8
[train]
data = "{tmp_path / "images.npz"}"
batch = 4
""")
    profile_training.main(str(recipe), steps=1, as_json=True)
    figures = json.loads(capsys.readouterr().out)
    assert figures["images_a_second"] > 0
    assert sum(figures["share_of_time"].values()) == pytest.approx(1, abs=0.01)
    assert figures["share_of_time"]["convolutions"] > 0


def test_short_streams_compares_both_orders_of_the_splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import short_streams

    change(monkeypatch, short_streams, RESOLUTION=16, LEVELS=(12, 40), MEASURED=4, HEAD_STEPS=1)
    coarse = np.random.default_rng(0).integers(0, 256, (400, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "images.npz", coarse.repeat(4, 1).repeat(4, 2))
    short_streams.main(str(tmp_path / "images.npz"), 360, None, tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    for name in ("alike", "growing"):
        assert figures[name]["typical"]["40"] > figures[name]["typical"]["12"]


def test_bench_decode_compares_the_same_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import bench_decode

    change(monkeypatch, bench_decode, ROUNDS=1, BATCHES=1, BATCH=2)
    with pytest.raises(typer.Exit) as ended:
        bench_decode.main("paper-digits", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    (decode,) = figures.values()  # a network of the paper has no exported encoder
    assert ended.value.exit_code == (decode["onnxruntime"]["seconds"] >= decode["torch"]["seconds"])
    assert decode["onnxruntime"]["megabytes"] < decode["torch"]["megabytes"]


def test_crop_real_faces_cuts_only_the_photo_it_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import crop_real_faces

    photo = tmp_path / "photo.png"
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:50] = 255
    Image.fromarray(pixels).save(photo)
    known = crop_real_faces.Crop("face", photo.name, hashlib.sha256(photo.read_bytes()).hexdigest()[:16],
                                 (0, 0, 50, 40))
    change(monkeypatch, crop_real_faces, CROPS=[known])
    crop_real_faces.main(tmp_path, tmp_path)
    with Image.open(tmp_path / "face.png") as face:
        assert face.size == (64, 64)
        assert face.getextrema() == ((255, 255),) * 3
    change(monkeypatch, crop_real_faces, CROPS=[known._replace(sha256="0" * 16)])
    with pytest.raises(typer.BadParameter, match="not the photo"):
        crop_real_faces.main(tmp_path, tmp_path)


def test_superseding_weights_are_smaller_and_say_whose_streams_they_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import supersede

    change(monkeypatch, supersede, export=lambda info, folder: [info.path])  # which other tests do

    def superseded(weights: Path, out: Path, *earlier: Path) -> set[bytes]:
        supersede.main(str(weights), out, [str(path) for path in earlier], count=3)
        return {one.id for one in read_info(out).earlier}

    first, second = tmp_path / "first/weights.safetensors", tmp_path / "second/weights.safetensors"
    refined, growing = (ROOT / f"tests/golden/{name}.safetensors" for name in ("k2-refined", "k2-growing"))
    assert superseded(refined, first) == {read_info(refined).id}
    assert "own streams: " in capsys.readouterr().out
    assert superseded(growing, second, first) == {read_info(first).id, read_info(refined).id}
    assert read_info(first).name == read_info(second).name == "k2-refined"
    assert second.stat().st_size < growing.stat().st_size


def test_scale_writes_what_was_measured_and_the_rest_of_the_page_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import scale

    change(monkeypatch, scale, measure=lambda *of: ([
        scale.Kept("PNG", 7000.0, True), scale.Kept("WebP", 400.0, False), scale.Kept("archive", 150.0, False)], 31.0))
    shutil.copy(ROOT / "docs/scale.md", tmp_path)
    (tmp_path / "jobs.json").write_text(json.dumps({
        "cores": 2, "rates": {"encode": {"idle": 500.0, "busy": 350.0}}, "jpegs": {"ours": 30.0, "pillow": 40.0},
        "memory": {"by files": {"1000": 280.4, "100000": 350.0}}}))
    scale.main(jobs_file=tmp_path / "jobs.json", count=3_600_000, disk=0.5, core=0.25, model="placeholder", faces=1,
               records=1, docs=tmp_path)
    text = (tmp_path / "scale.md").read_text()
    assert "| encode | 500 | 250 | 0.70 | 2 h | 4 h | 1.00 |" in text
    assert "JPEGs of 12 megapixels: 30 a second, 0.75 of what Pillow decodes." in text
    assert "280 MB for 1,000 files, 350 MB for 100,000 files." in text
    assert "| PNG | 7,000.0 | 8,192.0 | 29.5 GB | 14.75 |" in text
    size = zoo.find("placeholder").path.stat().st_size
    assert f"from {size / 250:,.0f} images on" in text
    outside = re.compile("<!-- scale: .*?<!-- /scale -->", re.DOTALL)
    assert outside.sub("", text) == outside.sub("", (ROOT / "docs/scale.md").read_text())


def test_where_the_time_of_jobs_went_is_found_in_what_the_command_tells() -> None:
    import bench_jobs

    from ddncodec_cli.running import Total

    match = bench_jobs.SHARES.search(str(Total(64, 1, 1, reading=1.0, computing=2.0, writing=1.0)))
    assert match
    assert match.groups() == ("25", "50", "25")
