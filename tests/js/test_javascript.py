"""The JavaScript decoder, in Node and in a browser: it reads what Python reads, and draws Python's pixels within 1."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ddncodec
from ddncodec import zoo
from ddncodec.exported import ExportedDecoder, exported
from ddncodec.images import Pixels
from ddncodec.webmodels import copy_models
from ddncodec_cli import demo

JS = Path(__file__).parents[2] / "js"
SECONDS = 120  # for a page to come to its end, on a machine that is busy
pytestmark = pytest.mark.skipif(not (shutil.which("node") and (JS / "node_modules").is_dir()),
                                reason="no Node, or no js/node_modules: npm ci --prefix js")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a model of each kind, and small ones."""
    infos = [zoo.find(name) for name in ("placeholder", "k512", "paper-digits")]
    return copy_models(infos, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def placeholder() -> ExportedDecoder:
    decoder = exported(zoo.find(demo.MODEL))
    assert decoder
    return decoder


def node(*arguments: object, **environment: str) -> None:
    done = subprocess.run(["node", *map(str, arguments)], cwd=JS, env=os.environ | environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_its_own_tests_pass_in_node(models: Path) -> None:
    node("--test", "--test-reporter=dot", *sorted((JS / "test").glob("*.test.js")), DDN_MODELS=str(models))


def test_the_package_has_no_registrys_host() -> None:
    assert '"resolved"' not in (JS / "package-lock.json").read_text()
    assert json.loads((JS / "package.json").read_text())["version"] == ddncodec.__version__


# In a browser.


CANVASES = "[...document.querySelectorAll('ddn-img')].map((shown) => shown.shadowRoot?.querySelector('canvas'))"
PIXELS = f"""
    return {CANVASES}.map((canvas) => Array.from(
        canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 < 3)));
"""


def drawn(browser: Any, reference: list[Pixels]) -> bool:
    """Whether the page's elements show these pictures, each sample within 1."""
    if browser.execute_script(f"return {CANVASES}.some((canvas) => !canvas || canvas.hidden)"):
        return False
    found = browser.execute_script(PIXELS)
    return len(found) == len(reference) and all(
        len(pixels) == picture.size and np.abs(np.array(pixels) - picture.ravel().astype(int)).max() <= 1
        for pixels, picture in zip(found, reference, strict=True))


def wait_until(browser: Any, true: Callable[[], object]) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, SECONDS, 0.3).until(lambda _: true())


def thrown(browser: Any) -> list[str]:
    """What the page's scripts threw and nobody caught."""
    return [entry["message"] for entry in browser.get_log("browser") if "Uncaught" in entry["message"]]


def photographs(decoder: ExportedDecoder, levels: int) -> list[Pixels]:
    """What the photographs of the demo's page decode to."""
    entries = json.loads((demo.PAGES / "photographs.json").read_text(encoding="utf-8"))
    streams = [decoder.info.bare_stream(entry["ddn"].encode()) for entry in entries]
    assert len(streams) > 40
    return decoder.decode_streams(streams, levels)


@pytest.fixture(params=["served", "opened from disk"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of the demo's page."""
    line = [sys.executable, "-m", "ddncodec", "demo"]
    if request.param != "served":
        subprocess.run([*line, "-o", tmp_path / "page"], check=True, stdout=subprocess.DEVNULL)
        yield (tmp_path / "page/index.html").as_uri()
        return
    with subprocess.Popen([*line, "--no-browser"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 128 + signal.SIGINT


def test_the_demo_s_page_draws_photographs_and_fewer_levels_of_them(
    page: str, browser: Any, placeholder: ExportedDecoder
) -> None:
    browser.get(page)
    levels = placeholder.info.config.levels
    wait_until(browser, lambda: drawn(browser, photographs(placeholder, levels)))
    told = browser.find_element("id", "sizes").text
    weights = placeholder.info.path
    size = weights.stat().st_size + weights.with_suffix(".onnx").stat().st_size
    assert f"{size / 1e6:.2f} MB (weights and graph)" in told
    assert browser.find_element("tag name", "output").text == f"{levels} of {levels}: 24 bytes"
    browser.execute_script("const slider = document.getElementById('levels'); slider.value = 40;"
                           "slider.dispatchEvent(new Event('input'));")
    assert browser.find_element("tag name", "output").text == f"40 of {levels}: 7 bytes"
    wait_until(browser, lambda: drawn(browser, photographs(placeholder, 40)))
    assert thrown(browser) == []
