"""ddncodec demo: a page that draws photographs, served and opened from disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ddncodec.exported import ExportedDecoder
from ddncodec.images import Pixels
from ddncodec_cli import demo

SECONDS = 600  # at most, on a machine that is busy
COMMAND = [sys.executable, "-m", "ddncodec", "demo"]


def photographs(decoder: ExportedDecoder, levels: int) -> list[Pixels]:
    """What the photographs of the page decode to."""
    entries = json.loads((demo.PAGES / "photographs.json").read_text(encoding="utf-8"))
    streams = [decoder.info.bare_stream(entry["ddn"].encode()) for entry in entries]
    assert len(streams) > 40
    return decoder.decode_streams(streams, levels)


@pytest.fixture(params=["served", "opened from disk"])
def address(request: pytest.FixtureRequest, with_javascript: None, tmp_path: Path) -> Iterator[str]:
    """Of the page."""
    if request.param != "served":
        subprocess.run([*COMMAND, "-o", tmp_path / "page"], check=True, stdout=subprocess.DEVNULL)
        yield (tmp_path / "page/index.html").as_uri()
        return
    with subprocess.Popen([*COMMAND, "--no-browser"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 128 + signal.SIGINT


def test_the_page_draws_photographs_and_fewer_levels_of_them(
    address: str, page: Any, placeholder: ExportedDecoder
) -> None:
    page.browser.get(address)
    levels = placeholder.info.config.levels
    whole, coarse = photographs(placeholder, levels), photographs(placeholder, 40)
    page.wait_until(lambda: page.shows(whole))
    weights = placeholder.info.path
    size = weights.stat().st_size + weights.with_suffix(".onnx").stat().st_size
    assert f"{size / 1e6:.2f} MB (weights and graph)" in page.browser.find_element("id", "sizes").text
    assert page.browser.find_element("tag name", "output").text == f"{levels} of {levels}: 24 bytes"
    page.run("const slider = document.getElementById('levels'); slider.value = 40;"
             "slider.dispatchEvent(new Event('input'));")
    assert page.browser.find_element("tag name", "output").text == f"40 of {levels}: 7 bytes"
    page.wait_until(lambda: page.shows(coarse))
    assert page.thrown() == []


def test_each_photograph_has_a_licence_and_a_source() -> None:
    entries = json.loads((demo.PAGES / "photographs.json").read_text(encoding="utf-8"))
    assert all(entry[field] for entry in entries for field in ("title", "author", "licence", "package", "file"))


def test_nothing_else_is_served(with_javascript: None) -> None:
    with subprocess.Popen([*COMMAND, "--no-browser"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address + "?query") as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        for name in ("none", "../pyproject.toml", "%2e%2e/pyproject.toml", "models/", "/etc/passwd"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(address + name)
            assert caught.value.code == 404
        process.terminate()


def test_without_the_runtime_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SOURCES", (tmp_path / "js/src", *demo.SOURCES))
    with pytest.raises(demo.MissingExtra, match="npm install onnxruntime-web"):
        demo.demo(output_dir=tmp_path / "page")
    assert not (tmp_path / "page").exists()
