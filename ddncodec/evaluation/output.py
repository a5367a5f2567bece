"""Results as files: JSON, CSV, plots, and the report."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from ddncodec.evaluation.rate_distortion import curve
from ddncodec.files import atomic_write

REPORT_DATA = "/*DATA*/null"


def write(results: dict[str, Any], pictures: dict[str, Any], folder: Path) -> None:
    """results.json, results.csv, rate-distortion.png, prefixes.png and report.html in the run's folder."""
    for name, content in {
        "results.json": (json.dumps(results, indent=2, allow_nan=False) + "\n").encode(),
        "results.csv": as_csv(results).encode(),
        "report.html": report(results, pictures).encode(),
        "rate-distortion.png": rate_distortion_plot(results),
        "prefixes.png": prefixes_plot(results),
    }.items():
        with atomic_write(folder / name, overwrite=True) as file:
            file.write(content)


def as_csv(results: dict[str, Any]) -> str:
    """A line for each codec, budget and metric."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["codec", "budget", "fitted", "of", "bytes", "payload", "encode_ms", "decode_ms", "metric",
                    "value", "low", "high"])
    for codec in results["codecs"]:
        for point in codec.get("points", ()):
            head = [codec["name"], *(point.get(name) for name in ("budget", "fitted", "of", "bytes", "payload",
                                                                 "encode_ms", "decode_ms"))]
            for metric, figure in point.get("metrics", {"": {}}).items():
                table.writerow([*head, metric, *(figure.get(end) for end in ("value", "low", "high"))])
    return text.getvalue()


def report(results: dict[str, Any], pictures: dict[str, Any]) -> str:
    """One HTML file that needs nothing else."""
    template = files("ddncodec.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    # Names come from anywhere: nothing in them may end the script that holds them.
    data = json.dumps({"results": results, "pictures": pictures}, allow_nan=False).replace("<", "\\u003c")
    before, after = template.split(REPORT_DATA)
    return before + data + after


def rate_distortion_plot(results: dict[str, Any]) -> bytes:
    """PSNR of the mean error over bytes of whole files, of all codecs, with intervals, as PNG."""
    bare = results["settings"].get("bare")
    figure, axes = _axes("bytes of the bare stream, or of a whole file" if bare else "bytes of the whole file")
    for codec in results["codecs"]:
        points = curve(codec)
        if points:
            style: dict[str, Any] = ({"linewidth": 2.2} if "effort" in codec else
                                     {"linewidth": 1.2, "marker": "o", "markersize": 3.5})
            sizes = [point["bytes"] for point in points]
            psnrs = [point["psnr_of_mean_error"] for point in points]
            line, = axes.plot(sizes, [p["value"] for p in psnrs], label=codec["label"], **style)
            axes.fill_between(sizes, [p["low"] for p in psnrs], [p["high"] for p in psnrs], alpha=0.15,
                              color=line.get_color(), linewidth=0)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return _png(figure)


def prefixes_plot(results: dict[str, Any]) -> bytes:
    """PSNR after every level of one stream, and at the efforts' prefixes, as PNG."""
    figure, axes = _axes("bits of the stream that are decoded")
    every = results["every_level"]
    bits = results["model"]["bits"] / results["model"]["levels"]
    axes.plot([bits * (i + 1) for i in range(len(every["psnr"]))], every["psnr"], linewidth=1,
              label=f"every level, the first {every['images']} images")
    for codec in results["codecs"]:
        if "prefixes" in codec:
            axes.plot([p["bits"] for p in codec["prefixes"]], [p["psnr_of_mean_error"]["value"] for p in
                      codec["prefixes"]], marker="o", markersize=3.5, linewidth=1.2, label=codec["label"])
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _axes(label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(label)
    axes.set_ylabel("PSNR of the mean error, dB")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()
