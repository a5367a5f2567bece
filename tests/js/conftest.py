"""What tests of the JavaScript decoder need: Node's packages, and a look at what a page has drawn."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddncodec import zoo
from ddncodec.exported import ExportedDecoder, exported
from ddncodec.images import Pixels

JS = Path(__file__).parents[2] / "js"
SECONDS = 600  # at most, for a page to come to its end, on a machine that is busy
CANVASES = "[...document.querySelectorAll('ddn-img')].map((shown) => shown.shadowRoot?.querySelector('canvas'))"
PIXELS = f"""
    return {CANVASES}.map((canvas) => Array.from(
        canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 < 3)));
"""


@pytest.fixture
def with_javascript() -> None:
    """Skips the test where the JavaScript decoder's packages are not installed."""
    if not (shutil.which("node") and (JS / "node_modules").is_dir()):
        pytest.skip("no Node, or no js/node_modules: npm ci --prefix js")


class Page:
    """What a page in the browser shows."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def wait_until(self, true: Callable[[], object]) -> None:
        """Wait for what the page does in its own time."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, SECONDS, 0.3).until(lambda _: true())

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns, or what the promise that it returns becomes."""
        self.browser.set_script_timeout(SECONDS)
        return self.browser.execute_script(script, *arguments)

    def shows(self, reference: list[Pixels]) -> bool:
        """Whether its elements show these pictures, each sample within 1."""
        if self.run(f"return {CANVASES}.some((canvas) => !canvas || canvas.hidden)"):
            return False
        found = self.run(PIXELS)
        return len(found) == len(reference) and all(
            len(pixels) == picture.size and np.abs(np.array(pixels) - picture.ravel().astype(int)).max() <= 1
            for pixels, picture in zip(found, reference, strict=True))

    def thrown(self) -> list[str]:
        """What its scripts threw and nobody caught."""
        return [entry["message"] for entry in self.browser.get_log("browser") if "Uncaught" in entry["message"]]


@pytest.fixture
def page(with_javascript: None, browser: Any) -> Page:
    """An empty page."""
    return Page(browser)


@pytest.fixture(scope="session")
def placeholder() -> ExportedDecoder:
    """The model of the pages here."""
    decoder = exported(zoo.find("placeholder"))
    assert decoder
    return decoder
