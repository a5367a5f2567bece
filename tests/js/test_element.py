"""<ddn-img>, in a browser: what it shows, how it sharpens, and what stands in its place where it cannot."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddncodec import bare, container, zoo
from ddncodec.container import Stream
from ddncodec.exported import ExportedDecoder
from ddncodec.images import fit
from ddncodec.latent import Latent
from ddncodec_cli import demo

JS = Path(__file__).parents[2] / "js"
SECONDS = 600  # at most, on a machine that is busy
LATE = 16  # bytes of slow.ddn that come later: the checksum, and half of the picks
MODULES = {"ddncodec": "./ddncodec/index.js", "ddncodec/element": "./ddncodec/element.js",
           "onnxruntime-web/wasm": f"./runtime/{demo.RUNTIME_MODULE}", "fzstd": "./fzstd.js"}
PAGE = f"""<!doctype html><title>test</title>
<script type="importmap">{json.dumps({"imports": MODULES})}</script>
<script>
    window.heard = [];
    for (const kind of ["progress", "load", "error"]) {{
        document.addEventListener(kind, ({{ target }}) => heard.push([target.id, kind]), true);
    }}
</script>
<script type="module">import "ddncodec/element"; window.ready = true;</script>
"""
ADD = """
    const holder = document.createElement("div");
    holder.innerHTML = arguments[0];
    window.heard.length = 0;
    document.body.replaceChildren(holder);
"""


class Site:
    """A server of the decoder's files and of the test's own, of which one comes in two parts."""

    def __init__(self, files: demo.Files) -> None:
        self.files = files
        self.rest = threading.Event()  # lets the second part of slow.ddn go
        site, plain = self, demo.handler(files)

        class Handler(plain):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:
                if self.path != "/slow.ddn":
                    super().do_GET()
                    return
                self.send_response(200)
                self.end_headers()
                data = site.files["face.ddn"]
                self.wfile.write(data[:-LATE])
                self.wfile.flush()
                site.rest.wait(SECONDS)
                self.wfile.write(data[-LATE:])

        self.server = ThreadingHTTPServer((demo.HOST, 0), Handler)
        self.address = f"http://{demo.HOST}:{self.server.server_port}/"


@pytest.fixture
def stream(placeholder: ExportedDecoder) -> Stream:
    """Of picks by chance, of an original that is not square."""
    config = placeholder.info.config
    picks = np.random.RandomState(0).randint(config.k, size=config.levels)
    return Stream(Latent(tuple(picks.tolist()), config.k), 150, 97, placeholder.info.id, comment="hello")


@pytest.fixture
def site(with_javascript: None, stream: Stream) -> Iterator[Site]:
    """Where pages, models and streams are served."""
    files = demo.page_files(JS / "node_modules/onnxruntime-web/dist")
    site = Site(files | {
        "index.html": PAGE.encode(), "face.ddn": container.to_bytes(stream), "none.ddn": b"no stream at all",
        "fzstd.js": (JS / "node_modules/fzstd/esm/index.mjs").read_bytes()})
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    yield site
    site.rest.set()
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def add(page: Any, site: Site) -> Callable[[str], None]:
    """Shows some HTML in a page that knows the element."""
    page.browser.get(site.address)
    page.wait_until(lambda: page.run("return window.ready"))
    return lambda html: page.run(ADD, html)


def heard(page: Any) -> list[list[str]]:
    return [list(event) for event in page.run("return window.heard")]


def room(page: Any) -> tuple[float, float]:
    """The width and height that the element takes."""
    box = page.run("return document.querySelector('ddn-img').getBoundingClientRect().toJSON()")
    return box["width"], box["height"]


def text_of(stream: Stream) -> str:
    return bare.to_text(bare.to_bytes(stream))


def test_files_and_bare_streams_are_shown_whole_and_in_part(
    add: Callable[[str], None], page: Any, site: Site, stream: Stream, placeholder: ExportedDecoder
) -> None:
    (whole,), (coarse,) = placeholder.decode_streams([stream]), placeholder.decode_streams([stream], 30)

    # A file: as its bytes arrive, then all of it. The room that it takes is its own size, before any of it is drawn.
    add('<ddn-img id="a" src="slow.ddn" alt="A face"></ddn-img>')
    (part,) = placeholder.decode_streams([container.partial_from_bytes(site.files["face.ddn"][:-LATE]).stream])
    page.wait_until(lambda: heard(page) == [["a", "progress"]])
    assert page.shows([part])
    assert room(page) == (150, 97)
    site.rest.set()
    page.wait_until(lambda: heard(page)[-1] == ["a", "load"])
    assert page.shows([whole])

    # Fewer levels of the same, and all again: the file is not fetched anew.
    del site.files["face.ddn"]
    page.run("document.querySelector('ddn-img').setAttribute('levels', 30)")
    page.wait_until(lambda: page.shows([coarse]))
    page.run("document.querySelector('ddn-img').removeAttribute('levels')")
    page.wait_until(lambda: page.shows([whole]))

    # A bare stream: the room is there at once, and it sharpens by levels.
    add('<div style="width: 320px">'
        f'<ddn-img id="b" model="placeholder" sharpen data-ddn="{text_of(stream)}"></ddn-img></div>')
    width, height = room(page)
    assert width == 320
    assert height == pytest.approx(320 * 97 / 150, rel=0.03)
    page.wait_until(lambda: heard(page) == [["b", "progress"]] * 3 + [["b", "load"]])
    assert page.shows([whole])
    assert page.thrown() == []


def test_what_cannot_be_shown_falls_back_without_a_word(add: Callable[[str], None], page: Any, stream: Stream) -> None:
    shown = "return document.querySelector('ddn-img').shadowRoot.querySelector('slot:not([name])').hidden === false"
    for attributes in ('src="none.ddn"', 'src="missing.ddn"', 'data-ddn="wA!" model="placeholder"',
                       f'data-ddn="{text_of(stream)}" model="none"', f'data-ddn="{text_of(stream)}"',
                       'src="face.ddn" models="missing.json"', 'src="http://[/"'):
        add(f'<ddn-img id="a" {attributes} alt="A face"><i>instead</i></ddn-img>')
        page.wait_until(lambda: heard(page) == [["a", "error"]])
        assert page.run(shown), attributes
        assert page.run("return document.querySelector('i').getClientRects().length") == 1
    add('<ddn-img id="a" src="missing.ddn" alt="A face"></ddn-img>')
    page.wait_until(lambda: heard(page))
    slot = "document.querySelector('ddn-img').shadowRoot.querySelector('slot')"  # which shows its own content
    assert page.run(f"return {slot}.textContent") == "A face"
    assert room(page)[0] > 0
    add('<ddn-img id="a"></ddn-img>')  # which asks for nothing
    page.run("document.querySelector('ddn-img').setAttribute('src', 'face.ddn')")
    page.wait_until(lambda: heard(page) and heard(page)[-1] == ["a", "load"])
    assert page.thrown() == []


def test_it_is_an_image_with_its_text_and_its_size(add: Callable[[str], None], page: Any, stream: Stream) -> None:
    text = text_of(stream)
    add(f'<ddn-img id="a" data-ddn="{text}" model="placeholder" alt="A face" width="64" height="64">'
        '<b slot="picture">over</b><i>instead</i></ddn-img>')
    assert room(page) == (64, 64)
    page.wait_until(lambda: heard(page) == [["a", "load"]])
    element = page.browser.find_element("id", "a")
    assert (element.aria_role, element.accessible_name) in {("image", "A face"), ("img", "A face")}
    assert page.run("return document.querySelector('i').getClientRects().length") == 0
    assert page.run("return document.querySelector('b').getBoundingClientRect().width") == 64
    page.run("document.querySelector('ddn-img').setAttribute('alt', 'Another')")
    assert element.accessible_name == "Another"
    page.run("document.querySelector('ddn-img').setAttribute('width', '32');"
             "document.querySelector('ddn-img').setAttribute('height', '16')")
    assert room(page) == (32, 16)


def test_decode_gives_image_data_of_the_original_s_size(
    add: Callable[[str], None], page: Any, site: Site, stream: Stream, placeholder: ExportedDecoder
) -> None:
    add("")
    decoded = page.run("""
        const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
        return import("ddncodec").then(async ({ decode, read }) => {
            const image = await decode(bytes, arguments[1]);
            if (!(image instanceof ImageData)) throw new Error("no ImageData");
            const { comment } = await read(bytes);
            return [image.width, image.height, comment, Array.from(image.data.filter((_, i) => i % 4 < 3))];
        });
    """, b64encode(site.files["face.ddn"]).decode(), {"models": "models/models.json", "levels": 100})
    (pixels,) = placeholder.decode_streams([replace(stream, latent=stream.latent.prefix(100))])
    reference = fit(pixels, (97, 150))
    assert decoded[:3] == [150, 97, "hello"]
    assert np.abs(np.array(decoded[3]) - reference.ravel().astype(int)).max() <= 2  # 1, and what bicubic makes of it


def test_the_zoo_has_the_model_of_the_pages() -> None:
    assert demo.MODEL in zoo.list_models()
