"""What the JavaScript decoder fetches: the files of models, and models.json, which names them (docs/browser.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddncodec.errors import OutputFailed, UnknownWeights
from ddncodec.exported import DECODER, IN_PLACE
from ddncodec.files import atomic_write
from ddncodec.looks import FAITHFUL, Look, load_look, looks_of
from ddncodec.weights import WeightsInfo, tensor_places

FORMAT = "ddncodec-models-1"
INDEX = "models.json"


@dataclass(frozen=True)
class WebModels:
    """index: the content of models.json. files: by their addresses, which are relative to its own."""

    index: dict[str, Any]
    files: dict[str, Path]


def web_models(infos: Sequence[WeightsInfo]) -> WebModels:
    """The index of models and the files that it names. A file's address has the weights' id, and so changes with them.

    Args:
        infos: The models.

    Returns:
        The index and the files.

    Raises:
        UnknownWeights: A model has no exported decoder beside its weights.
    """
    entries, files = [], {}
    for info in infos:
        entry: dict[str, Any] = {
            "name": info.name, "id": info.id.hex(), "earlier": [one.id.hex() for one in info.earlier],
            "k": info.config.k, "levels": info.config.levels, "resolution": info.config.resolution}
        graph = _graph(info)
        for role, path in (("graph", graph), ("weights", info.path)):
            url = f"{info.id.hex()}/{path.name}"
            entry[role] = {"url": url, "bytes": path.stat().st_size}
            files[url] = path
        entry["weights"]["path"] = info.path.name
        entry["looks"] = []
        for look in _looks(info, graph):
            url = f"{info.id.hex()}/{look.path.name}"
            places = [(place.offset, look.places[name].offset, place.length)
                      for name, place in tensor_places(look.path).items()]
            entry["looks"].append({"name": look.name, "url": url, "bytes": look.path.stat().st_size, "places": places})
            files[url] = look.path
        entries.append(entry)
    return WebModels({"format": FORMAT, "models": entries}, files)


def copy_models(infos: Sequence[WeightsInfo], folder: Path, overwrite: bool = False) -> Path:
    """Copy models into a folder for the JavaScript decoder.

    Args:
        infos: The models.
        folder: Where to; it is made.
        overwrite: Whether to replace an index and files that are there.

    Returns:
        The path of the index.

    Raises:
        UnknownWeights: As `web_models`.
        OutputExists, OutputFailed: As their names say.
    """
    models = web_models(infos)
    contents = {INDEX: json.dumps(models.index, indent=2).encode()} | {
        url: path.read_bytes() for url, path in models.files.items()}
    for url, content in contents.items():
        target = folder / url
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFailed(f"cannot make {target.parent}: {error.strerror}") from None
        with atomic_write(target, overwrite=overwrite) as file:
            file.write(content)
    return folder / INDEX


def _looks(info: WeightsInfo, graph: Path) -> list[Look]:
    """The looks besides `faithful`, where the exported decoder takes any."""
    if IN_PLACE.encode() not in graph.read_bytes():
        return []
    return [load_look(info, name) for name in looks_of(info) if name != FAITHFUL]


def _graph(info: WeightsInfo) -> Path:
    """The exported decoder beside weights, which holds their id."""
    graph = info.path.with_suffix(DECODER.suffix)
    if not graph.is_file() or info.id.hex().encode() not in graph.read_bytes():
        raise UnknownWeights(f"{info.name} has no exported decoder beside its weights; ddncodec export makes one")
    return graph
