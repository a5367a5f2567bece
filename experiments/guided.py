"""Zero-shot repair by guides, against simple methods: writes the table and the pictures of docs/guides.md.

    python experiments/guided.py [--images N]

Super-resolution, colourisation and inpainting of the synthetic faces of the published test seeds, given as 8-bit
pictures. PSNR is of the mean error against the original; consistency the same in the given picture's domain; fd64 the
Fréchet distance to the originals in `evaluation.features`. The first 8 test seeds, not chosen, are the pictures.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from PIL import Image
from sheet import save_sheet
from torch import Tensor

from ddncodec import guide, sample, zoo
from ddncodec.codec import Codec, load_weights
from ddncodec.data import TEST_SEEDS, Faces
from ddncodec.files import atomic_write
from ddncodec.guides import Guide, Objective
from ddncodec.guides.kinds import Grey, Pixels, Smaller
from ddncodec.images import Pixels as Array
from ddncodec.images import grid
from ddncodec.metrics.distortion import psnr
from ddncodec.metrics.features import face_features
from ddncodec.metrics.frechet import frechet_distance
from ddncodec.pixels import to_pixels, to_tensor

DOCS = Path(__file__).parents[1] / "docs"
SIDE, BATCH, PICTURED = 64, 50, 8
HOLE = slice(16, 48)
TOPS = (1, 2)
TREE = (0, 72, 144, 288, 576)  # levels kept, of binddn

Simple = Callable[[Array], Array]  # of one given picture


def bicubic(given: Array) -> Array:
    """Enlarged by Pillow."""
    return np.asarray(Image.fromarray(given).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def grey(given: Array) -> Array:
    """The grey picture itself."""
    return given


def inpainted(method: int) -> Simple:
    """OpenCV's inpainting of the hole."""
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[HOLE, HOLE] = 255
    return lambda given: cv2.inpaint(given, hole, 3, method)


class Task:
    """What is given of an image, how guides see it, and what a simple method makes of it."""

    def __init__(self, guide: Guide, simple: dict[str, Simple], mask: Tensor | None = None) -> None:
        self.guide, self.simple, self.mask = guide, simple, mask

    def given(self, originals: Array) -> Array:
        """8-bit pictures in the guide's domain; grey in three channels."""
        shown = to_tensor(originals) if self.mask is None else to_tensor(originals) * self.mask
        return to_pixels(self.guide.transform(shown).expand(-1, 3, -1, -1))

    def objective(self, given: Array) -> Objective:
        """Batch by batch: to look so."""
        target = to_tensor(given)
        return Objective(self.guide, target[:, :1] if isinstance(self.guide, Grey) else target, mask=self.mask)

    def consistency(self, given: Array, results: Array) -> float:
        """In dB, where the guide looks."""
        error = (self.given(results).astype(float) - given) ** 2
        return psnr(float(error.mean() if self.mask is None else error.mean() / float(self.mask.mean())))


def tasks() -> dict[str, Task]:
    """By name."""
    known = torch.ones(1, 1, SIDE, SIDE)
    known[..., HOLE, HOLE] = 0
    return {
        "super-resolution ×4": Task(Smaller(16, 16), {"bicubic": bicubic}),
        "super-resolution ×8": Task(Smaller(8, 8), {"bicubic": bicubic}),
        "colourisation": Task(Grey(), {"the grey picture": grey}),
        "inpainting": Task(Pixels(), {"OpenCV, Telea": inpainted(cv2.INPAINT_TELEA),
                                      "OpenCV, Navier-Stokes": inpainted(cv2.INPAINT_NS)}, known),
    }


def guided(codec: Codec, task: Task, given: Array, top: int) -> Array:
    """What guides make of given pictures."""
    parts = []
    for first in range(0, len(given), BATCH):
        part = given[first : first + BATCH]
        parts += guide([task.objective(part)], len(part), codec, first=first, top=top)
    return np.stack([drawn.pixels for drawn in parts])


def figures(task: Task, originals: Array, given: Array, results: Array) -> dict[str, float | None]:
    """Of results against the originals and what was given; no consistency where there is no difference."""
    error = np.square(originals.astype(float) - results).mean()
    return {"psnr": round(psnr(float(error)), 2),
            "fd64": round(frechet_distance(face_features(to_tensor(results)), face_features(to_tensor(originals))), 1),
            "consistency": round(kept, 1) if math.isfinite(kept := task.consistency(given, results)) else None}


def save(name: str, rows: list[Array]) -> None:
    """Rows of pictures, enlarged twice, as docs/pictures/NAME.png."""
    save_sheet(DOCS / "pictures" / f"{name}.png", grid(list(chain(*rows)), len(rows[0])))


def enlarged(given: Array) -> Array:
    """Small pictures at full size, each pixel a square."""
    return given.repeat(SIDE // given.shape[1], 1).repeat(SIDE // given.shape[2], 2)


def table(report: dict[str, Any]) -> str:
    """As Markdown."""
    lines = ["| task | method | PSNR | fd64 | consistency |", "|---|---|---|---|---|"]
    for name, methods in report["tasks"].items():
        for method, found in methods.items():
            kept = "exact" if found["consistency"] is None else f"{found['consistency']:.1f} dB"
            lines.append(f"| {name} | {method} | {found['psnr']:.2f} dB | {found['fd64']:.1f} | {kept} |")
    return "\n".join(lines)


def main(images: Annotated[int, typer.Option(help="How many of the test seeds.")] = len(TEST_SEEDS)) -> None:
    """Measure, and write docs/guided.json, the table of docs/guides.md and docs/pictures."""
    originals = to_pixels(Faces(SIDE).draw(TEST_SEEDS[:images]))
    codecs = {info.name: load_weights(info, "cpu") for info in (zoo.find("binddn"), zoo.find("k512"))}
    report: dict[str, Any] = {
        "images": images, "weights": {name: codec.info.id.hex() for name, codec in codecs.items()}, "tasks": {}}
    for name, task in tasks().items():
        given = task.given(originals)
        results = {method: np.stack([simple(picture) for picture in given]) for method, simple in task.simple.items()}
        for model, codec in codecs.items():
            for top in TOPS:
                began = perf_counter()
                results[f"`{model}`, --top-k {top}"] = guided(codec, task, given, top)
                typer.echo(f"{name}, {model}: {images / (perf_counter() - began):.1f} images a second", err=True)
        report["tasks"][name] = {method: figures(task, originals, given, found) for method, found in results.items()}
        simple, best = next(iter(results.values())), results["`binddn`, --top-k 1"]
        rows = [originals, enlarged(given), simple, best, results["`binddn`, --top-k 2"]]
        save(name.replace(" ×", "-"), [row[:PICTURED] for row in rows])
    codec = codecs["binddn"]
    save("samples", [np.stack([drawn.pixels for drawn in sample(8, codec, temperature=t, prior="none")])
                     for t in (0.1, 0.5, 1.0)])
    whole = codec.encode(originals[0])
    save("tree", [np.stack([drawn.pixels for drawn in sample(
        8, codec, prefix=whole.prefix(levels) if levels else None, prior="none")]) for levels in TREE])
    with atomic_write(DOCS / "guided.json", overwrite=True) as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
    text = (DOCS / "guides.md").read_text()
    between = "<!-- figures -->\n" + table(report) + f"\n\n{images} test seeds.\n<!-- end of figures -->"
    text = re.sub("<!-- figures -->.*<!-- end of figures -->", lambda _: between, text, flags=re.DOTALL)
    with atomic_write(DOCS / "guides.md", overwrite=True) as file:
        file.write(text.encode())
    typer.echo(table(report))


if __name__ == "__main__":
    typer.run(main)
