"""`ddncodec demo`: a page of photographs that a browser draws from 24 bytes each."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from ddncodec import zoo
from ddncodec.errors import MissingExtra, OutputFailed
from ddncodec.files import atomic_write
from ddncodec_cli import options

MODEL = "placeholder"
PAGES = Path(__file__).with_name("pages")
SOURCES = (Path(__file__).parents[2] / "js/src", Path(__file__).with_name("js"))  # in a checkout; in a wheel
RUNTIME = "onnxruntime-web"
RUNTIME_MODULE, RUNTIME_WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript",
         ".json": "application/json", ".wasm": "application/wasm"}
OTHER_TYPE = "application/octet-stream"
HOST = "127.0.0.1"

Files = dict[str, bytes]  # by their addresses


def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to serve on; 0 is any free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Write a page that opens from disk there, and serve none.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Show photographs that a page draws by itself from 24 bytes each, by JavaScript and the model `placeholder`.

    Serves the page to this machine alone until Ctrl-C. It needs onnxruntime-web, which npm installs.
    """
    files = page_files(_runtime())
    if output_dir is not None:
        typer.echo(_write(_alone(files), output_dir, force))
        return
    try:
        page = _page(files, lambda name: f"./{name}")
        server = ThreadingHTTPServer((HOST, port), handler(files | {"index.html": page}))
    except OSError as error:
        raise typer.BadParameter(f"port {port}: {error.strerror}") from None
    address = f"http://{HOST}:{server.server_port}/"
    typer.echo(f"{address} (Ctrl-C ends it)")
    if browser:
        import webbrowser

        webbrowser.open(address)
    with server:
        server.serve_forever()


def _runtime() -> Path:
    """The folder of onnxruntime-web's files: as Node finds packages, from here upwards, or in a checkout's js."""
    here = Path.cwd()
    for folder in (here, *here.parents, SOURCES[0].parent):
        found = folder / "node_modules" / RUNTIME / "dist"
        if all((found / name).is_file() for name in (RUNTIME_MODULE, RUNTIME_WASM)):
            return found
    raise MissingExtra(f"the demo wants {RUNTIME} in a folder node_modules here or above: npm install {RUNTIME}")


def page_files(runtime: Path) -> Files:
    """All that the page loads."""
    from ddncodec.webmodels import INDEX, web_models

    models = web_models([zoo.find(MODEL)])
    sources = next(folder for folder in SOURCES if folder.is_dir())
    return ({f"ddncodec/{path.name}": path.read_bytes() for path in sorted(sources.glob("*.js"))}
            | {f"runtime/{name}": (runtime / name).read_bytes() for name in (RUNTIME_MODULE, RUNTIME_WASM)}
            | {f"models/{url}": path.read_bytes() for url, path in models.files.items()}
            | {f"models/{INDEX}": json.dumps(models.index).encode()})


def _page(files: Files, address: Callable[[str], str]) -> bytes:
    """The page, given what addresses its files have in it."""
    module, wasm = (f"runtime/{name}" for name in (RUNTIME_MODULE, RUNTIME_WASM))
    imports = {name: address(name) for name in files if name.startswith("ddncodec/")}
    imports |= {"ddncodec": address("ddncodec/index.js"), "ddncodec/element": address("ddncodec/element.js"),
                "onnxruntime-web/wasm": address(module)}
    told = {"models": address("models/models.json"),
            "runtime": {"wasm": address(wasm), "bytes": len(files[module]) + len(files[wasm])},
            "photographs": json.loads((PAGES / "photographs.json").read_text(encoding="utf-8"))}
    page = (PAGES / "demo.html").read_text(encoding="utf-8")
    return page.replace("{{importmap}}", _json({"imports": imports})).replace("{{demo}}", _json(told)).encode()


def _alone(files: Files) -> bytes:
    """The page with all files in it, as data URLs: a page that is opened from disk may fetch nothing else."""
    index = json.loads(files["models/models.json"])
    for model in index["models"]:
        for file in (model["graph"], model["weights"], *model["looks"]):
            file["url"] = _data(file["url"], files[f"models/{file['url']}"])
    whole = files | {"models/models.json": json.dumps(index).encode()} | {
        name: re.sub(rb'(?<=from ")\./', b"ddncodec/", content)  # a data URL has no folder that others could lie in
        for name, content in files.items() if name.startswith("ddncodec/")}
    return _page(files, lambda name: _data(name, whole[name]))


def _data(name: str, content: bytes) -> str:
    return f"data:{_type(name)};base64,{b64encode(content).decode()}"


def _type(name: str) -> str:
    return TYPES.get(Path(name).suffix, OTHER_TYPE)


def _json(value: Any) -> str:
    """JSON as it may stand in HTML."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _write(page: bytes, folder: Path, force: bool) -> Path:
    target = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"cannot make {folder}: {error.strerror}") from None
    with atomic_write(target, overwrite=force) as file:
        file.write(page)
    return target


def handler(files: Files) -> type[BaseHTTPRequestHandler]:
    """What answers requests for these files, and for nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].removeprefix("/") or "index.html"
            if name not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", _type(name))
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            self.wfile.write(files[name])

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing: the terminal is for what goes wrong."""

    return Handler
