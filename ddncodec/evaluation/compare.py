"""Two results side by side: what differs, by how much, and whether they may be compared at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ddncodec.errors import BadResults
from ddncodec.evaluation.evaluate import FORMAT
from ddncodec.files import open_input

MAX_RESULTS = 2**26  # bytes


class Difference(NamedTuple):
    """One figure of both; apart: whether their intervals do not meet, None where one has none."""

    codec: str
    budget: int
    metric: str
    first: dict[str, float]
    second: dict[str, float]
    apart: bool | None


def read(path: Path) -> dict[str, Any]:
    """A results.json, checked as far as `compare` reads it. Raises InputMissing, BadResults."""
    with open_input(path) as file:
        data = file.read(MAX_RESULTS + 1)
    try:
        if len(data) > MAX_RESULTS:
            raise ValueError
        results: dict[str, Any] = json.loads(data)
        if results["format"] != FORMAT:
            raise ValueError
        str(results["data"]["sha256"]), dict(results["versions"]), str(results["model"]["sha256"])
        dict(_figures(results))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadResults(f"{path} is not a results.json of ddncodec eval") from None
    return results


def warnings(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What else differs between two results, a line each."""
    found = []
    if first["data"]["sha256"] != second["data"]["sha256"]:
        found.append("they are of different data")
    if first["model"]["sha256"] != second["model"]["sha256"]:
        found.append("they are of different weights")
    if len({bool(results.get("settings", {}).get("bare")) for results in (first, second)}) > 1:
        found.append("one is of bare streams, the other of files")
    one, other = first["versions"], second["versions"]
    found += [f"{name}: {one.get(name)} and {other.get(name)}" for name in sorted(one.keys() | other.keys())
             if one.get(name) != other.get(name)]
    return found


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    """Every figure that both have; a model's are matched by its effort, whatever its name."""
    one, other = dict(_figures(first)), dict(_figures(second))
    return [Difference(*key, one[key], other[key], _apart(one[key], other[key])) for key in one if key in other]


def _figures(results: dict[str, Any]) -> Iterator[tuple[tuple[str, int, str], dict[str, float]]]:
    for codec in results["codecs"]:
        name = f"ours, effort {int(codec['effort'])}" if "effort" in codec else str(codec["name"])
        for point in codec.get("points", ()):
            for metric, figure in point.get("metrics", {}).items():
                if all(value is not None for value in figure.values()):
                    known = {end: float(figure[end]) for end in ("value", "low", "high") if end in figure}
                    yield (name, int(point["budget"]), str(metric)), {"value": known["value"]} | known


def _apart(first: dict[str, float], second: dict[str, float]) -> bool | None:
    if "low" not in first or "low" not in second:
        return None
    return first["low"] > second["high"] or second["low"] > first["high"]
