"""eval: what it prints and writes, that it resumes, compares and refuses; and its report in a browser."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Run = Callable[..., Any]
PEERS = ("--peer", "webp", "--peer", "jpeg", "--budget", "60", "--budget", "160")

DISTORTION = {"psnr_of_mean_error", "mean_psnr", "ssim", "fd64", "rFID", "LPIPS"}
DETAILS = {"power_25", "power_31", "power_37", "power_43", "sliced", "fd_texture", "kd_texture"}


class Inception(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3)) * (1.0 if images.dtype == torch.uint8 else float("nan"))


class Lpips(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).abs().mean((1, 2, 3))


@pytest.fixture
def pictures(draw: Run, tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    for number in range(4):
        draw(30 + number, 30).save(tmp_path / f"d/{number}.png")
    return tmp_path / "d"


def test_results_have_every_codec_at_every_budget(run_many: Run, pictures: Path, k2: Path, tmp_path: Path) -> None:
    k2 = k2.with_name("k2-principal.safetensors")  # which has two efforts
    torch.jit.script(Inception()).save(str(tmp_path / "inception.pt"))
    torch.jit.script(Lpips()).save(str(tmp_path / "lpips.pt"))
    command = ["eval", "d", "--model", k2, "--out", "run", *PEERS]
    first, = run_many([*command, "--json", "--inception", "inception.pt", "--lpips", "lpips.pt"])
    assert (first.code, first.err) == (0, "")
    found = json.loads(first.out)
    assert found == json.loads((tmp_path / "run/results.json").read_bytes())
    assert found["data"]["images"] == 4
    names = [codec["name"] for codec in found["codecs"]]
    assert names == ["k2-principal-effort-1", "k2-principal-effort-2", "jpeg", "webp"]
    ours, _, jpeg, webp = found["codecs"]
    assert [point["fitted"] for point in jpeg["points"]] == [0, 0]
    assert jpeg["smallest_file"] > 160
    assert [point["fitted"] for point in webp["points"]] == [4, 4]
    for codec in (ours, webp):
        for point in codec["points"]:
            assert point["payload"] < point["bytes"] <= point["budget"]
            assert set(point["metrics"]) == DISTORTION | DETAILS
            figure = point["metrics"]["psnr_of_mean_error"]
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert figure["value"] <= point["metrics"]["mean_psnr"]["value"] + 1e-9
    assert len(found["every_level"]["psnr"]) == 96
    assert found["every_level"]["psnr"][-1] == pytest.approx(
        found["codecs"][1]["prefixes"][-1]["psnr_of_mean_error"]["value"], abs=1e-3)
    assert set(found["bjontegaard"]) == {"jpeg", "webp"}
    assert found["bjontegaard"]["jpeg"] == {"rate": None, "psnr": None}
    for name in ("results.csv", "report.html", "rate-distortion.png", "prefixes.png"):
        assert (tmp_path / "run" / name).stat().st_size > 100


def test_a_run_goes_on_where_it_stopped_and_does_nothing_twice(
    run_many: Run, pictures: Path, k2: Path, tmp_path: Path
) -> None:
    command = ["eval", "d", "--model", k2, "--out", "run", *PEERS]
    table, = run_many(command)
    assert (table.code, table.err) == (0, "")
    assert b"none fits; its smallest file has" in table.out
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/parts").iterdir()}
    assert len(parts) == 4
    lost = next(path for path in parts if path.name.startswith("webp"))
    lost.unlink()
    again, csv = run_many(command, [*command, "--csv"])
    assert again.out == table.out
    assert csv.out == (tmp_path / "run/results.csv").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in parts if path != lost} == {
        path: time for path, time in parts.items() if path != lost}
    assert lost.exists()


def test_bare_streams_are_measured_as_such(run_many: Run, pictures: Path, k2: Path) -> None:
    common = ["eval", "d", "--model", k2, "--peer", "webp", "--curve-images", "1", "--budget", "16"]
    bare, whole, budgets, compared = run_many(
        [*common, "--out", "bare", "--bare", "--json"], [*common, "--out", "bare", "--json"],
        [*common[:-2], "--out", "other", "--bare"],
        ["eval", "--compare", "bare/results.json", "other/results.json"])
    ours, peer = json.loads(bare.out)["codecs"]
    assert ours["label"].endswith(", bare")
    assert (ours["points"][0]["bytes"], ours["points"][0]["payload"]) == (14, 12)  # all 96 levels, and two bytes
    assert (ours["smallest_file"], ours["largest_file"]) == (2, 14)
    assert peer["points"][0]["fitted"] == 0
    assert json.loads(whole.out)["codecs"][0]["points"][0]["bytes"] == 16
    assert b"bare streams of ours and placeholders, whole files of others, of at most 16 bytes" in budgets.out
    assert b"at most 144 bytes" in budgets.out
    assert "one is of bare streams" in compared.err


def test_placeholders_take_part_beside_bare_streams_at_any_resolution(run_many: Run, pictures: Path, k2: Path) -> None:
    common = ["eval", "d", "--model", k2, "--curve-images", "1", "--budget", "24", "--json"]
    larger, whole, tiny = run_many(
        [*common, "--out", "run", "--bare", "--peer", "ThumbHash", "--peer", "webp-bare", "--side", "32"],
        [*common, "--out", "run", "--peer", "jpeg"], [*common, "--out", "run", "--side", "1"])
    results = json.loads(larger.out)
    assert results["data"]["resolution"] == 32
    ours, thumbhash, webp = results["codecs"]
    assert ours["points"][0]["fitted"] == 4  # of 16×16, enlarged
    assert thumbhash["points"][0]["bytes"] == thumbhash["points"][0]["payload"] == 24
    assert webp["settings"].startswith("Pillow, libwebp")
    assert [codec["name"] for codec in json.loads(whole.out)["codecs"]][1:] == ["jpeg"]
    assert tiny.code == 2


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(
    run_many: Run, refused: Run, pictures: Path, k2: Path, tmp_path: Path
) -> None:
    (pictures / "broken.png").write_text("no image")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for path in pictures.iterdir():
            archive.write(path, path.name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.pt").write_text("no module")
    common = ["--model", k2, "--out", "run", "--peer", "webp", "--budget", "160", "--curve-images", "1"]
    some, none, peer, module = run_many(
        ["eval", "d.zip", *common, "--json"], ["eval", "empty", *common], ["eval", "d", *common, "--peer", "bpg"],
        ["eval", "d", *common, "--inception", "bad.pt"])
    assert some.code == 30
    assert "broken.png" in some.err
    assert [entry["name"] for entry in json.loads(some.out)["data"]["unreadable"]] == ["d.zip:broken.png"]
    refused(none, 50)
    assert peer.code == 2
    assert (module.code, module.out) == (21, b"")
    assert "bad.pt" in module.err
    assert "Traceback" not in module.err


def test_results_are_compared_and_what_differs_besides_is_told(
    run_many: Run, refused: Run, pictures: Path, k2: Path, tmp_path: Path
) -> None:
    run_many(["eval", "d", "--model", k2, "--out", "run", *PEERS])
    results = json.loads((tmp_path / "run/results.json").read_bytes())
    same, = run_many(["eval", "--compare", "run/results.json", "run/results.json", "--json"])
    assert same.err == ""
    assert all(entry["first"] == entry["second"] and not entry["apart"] for entry in json.loads(same.out))
    results["versions"]["torch"] = "0.1"
    results["data"]["sha256"] = "0"
    figure = results["codecs"][0]["points"][0]["metrics"]["ssim"]
    figure |= {"value": figure["value"] - 2, "low": figure["low"] - 2, "high": figure["high"] - 2}
    (tmp_path / "b.json").write_text(json.dumps(results))
    (tmp_path / "bad.json").write_text('{"format": "ddncodec-evaluation-1", "codecs": [1]}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    other, bad, deep, missing = run_many(*(["eval", "--compare", "run/results.json", name] for name in (
        "b.json", "bad.json", "deep.json", "missing.json")))
    assert other.code == 0
    assert "different data" in other.err
    assert "torch: " in other.err
    assert other.out.count(b"intervals apart") == 1
    assert b"-2  intervals apart" in other.out
    refused(bad, 60)
    refused(deep, 60)
    refused(missing, 40)


def test_the_report_renders_and_its_slider_moves_the_picture(
    run_many: Run, pictures: Path, k2: Path, tmp_path: Path, browser: Any
) -> None:
    from selenium.webdriver.common.by import By

    run_many(["eval", "d", "--model", k2, "--out", "run", *PEERS])
    browser.get((tmp_path / "run/report.html").as_uri())
    assert "k2-planes" in browser.find_element(By.TAG_NAME, "h1").text
    assert len(browser.find_elements(By.CSS_SELECTOR, "#curves polyline")) == 2
    assert len(browser.find_elements(By.CSS_SELECTOR, "#table tr")) == 4
    frame = browser.find_element(By.ID, "frame")
    width = "return arguments[0].naturalWidth"
    before, told = frame.get_attribute("src"), browser.find_element(By.ID, "told").text
    assert browser.execute_script(width, frame) == 4 * 16
    browser.execute_script("const s = document.getElementById('levels'); s.value = 3;"
                           "s.dispatchEvent(new Event('input'))")
    assert frame.get_attribute("src") != before
    assert browser.find_element(By.ID, "told").text != told
    browser.find_element(By.CSS_SELECTOR, "[data-budget='60']").click()
    assert browser.get_log("browser") == []
