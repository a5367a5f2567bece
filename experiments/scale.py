"""What very many faces take with this codec, beside WebP and beside the originals: docs/scale.md's figures.

    python experiments/scale.py [--jobs-file FILE] [--count N] [--disk PRICE] [--core PRICE]

Rates are those that experiments/bench_jobs.py measured on this machine and wrote to a file. Bytes are measured here, on
test faces: PNGs; the smallest WebP of each that is as near to it as its .ddn file, downscaled where that helps; .ddn
files; and records of an archive with names. Rewrites docs/scale.md between its markers.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from markers import filled, table

from ddncodec import append_archive, container, zoo
from ddncodec.codec import load_model
from ddncodec.data.faces import TEST_SEEDS, Faces
from ddncodec.encoding import Encoded, Request, encode_pictures
from ddncodec.evaluation.peers import FILE_CODECS, saved, tune_image
from ddncodec.files import atomic_write
from ddncodec.images import Picture, Pixels
from ddncodec.metrics.distortion import psnr, squared_errors
from ddncodec.pixels import to_pixels

DOCS = Path(__file__).parents[1] / "docs"
FACES, RECORDS = 64, 2_000
BUDGETS = range(120, 720, 20)  # bytes of a WebP
DISK_BLOCK = 4096  # bytes that a file takes at least on most file systems
HOUR, GIGABYTE = 3600, 1e9


class Kept(NamedTuple):
    """A way to keep images. content: bytes of each. block: whether each is a file of its own."""

    name: str
    content: float
    block: bool

    @property
    def on_disk(self) -> float:
        """Bytes that each takes of a disk."""
        return -(-self.content // DISK_BLOCK) * DISK_BLOCK if self.block else self.content


def webp_bytes(image: Pixels, wanted: float) -> int:
    """Of the smallest WebP whose picture is that near, in dB; the largest budget where none is."""
    codec = next(codec for codec in FILE_CODECS if codec.name == "webp")
    best, _ = tune_image(codec, image, BUDGETS)
    return min((one.size for one in best
                if one and psnr(float(squared_errors(image[None], one.pixels[None])[0])) >= wanted),
               default=BUDGETS[-1])


def measure(model: str, faces: int, records: int) -> tuple[list[Kept], float]:
    """Bytes of an image in each way, and how near the files' pictures are on average, in dB."""
    codec = load_model(model, "cpu")
    images = list(to_pixels(Faces(codec.resolution).draw(TEST_SEEDS[:faces])))
    encoded = [one for one in encode_pictures([codec], [Picture(image) for image in images], Request(), measured=True)
               if isinstance(one, Encoded)]
    near = [one.psnr for one in encoded if one.psnr is not None]
    webps = [webp_bytes(image, wanted) for image, wanted in zip(images, near, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "faces.ddns"
        with append_archive(archive) as writer:
            for number in range(records):
                writer.add(container.to_bytes(encoded[number % len(encoded)].stream), f"{number:06}.png")
        size = archive.stat().st_size
    return [
        Kept("PNG, a file each", float(np.mean([len(saved(image, "PNG", optimize=True)) for image in images])), True),
        Kept("WebP as near, a file each", float(np.mean(webps)), True),
        Kept("`.ddn`, a file each", float(np.mean([len(one.data) for one in encoded])), True),
        Kept("WebP as near, end to end", float(np.mean(webps)), False),
        Kept("`.ddns` archive, with names", size / records, False),
    ], float(np.mean(near))


def rates(measured: dict[str, Any], count: int, core: float) -> str:
    """The table of what encoding and decoding take."""
    rows = []
    for name, found in measured["rates"].items():
        hours = count / found["idle"] / HOUR
        rows.append([name, f"{found['idle']:,.0f}", f"{found['idle'] / measured['cores']:,.0f}",
                     f"{found['busy'] / found['idle']:.2f}", f"{hours:,.0f} h",
                     f"{hours * measured['cores']:,.0f} h", f"{hours * measured['cores'] * core:,.2f}"])
    return table(["command", f"images a second, {measured['cores']} cores", "a core", "of it beside a busy process",
                  f"{count:,} images, these cores", "hours of one core", "money"], rows)


def besides(measured: dict[str, Any]) -> str:
    """What else was measured: large JPEGs, and memory."""
    text = ""
    if jpegs := measured.get("jpegs"):
        share = jpegs["ours"] / jpegs["pillow"]
        text += f" JPEGs of 12 megapixels: {jpegs['ours']:.0f} a second, {share:.2f} of what Pillow decodes."
    if memory := measured.get("memory"):
        text += " Memory of all processes together: " + ", ".join(
            f"{size:,.0f} MB for {int(count):,} files" for count, size in memory["by files"].items()) + "."
    return text


def costs(ways: list[Kept], count: int, disk: float) -> str:
    """The table of what keeping takes."""
    return table(["kept as", "bytes each", "on disk each", f"{count:,} images", "money a month"],
                 [[way.name, f"{way.content:,.1f}", f"{way.on_disk:,.1f}", f"{way.on_disk * count / GIGABYTE:,.1f} GB",
                   f"{way.on_disk * count / GIGABYTE * disk:,.2f}"] for way in ways])


def weights(ways: list[Kept], model: str) -> str:
    """From how many images on the weights pay for themselves."""
    size = zoo.find(model).path.stat().st_size
    png, *_, webp, archive = (way.content for way in ways)
    return (f"The weights of `{model}` have {size / 1e6:,.1f} MB. An archive's record is {webp - archive:,.0f} bytes "
            f"smaller than a WebP that is as near, which pays for them from {size / (webp - archive):,.0f} images on; "
            f"beside PNGs, end to end too, from {size / (png - archive):,.0f}.")


def main(
    jobs_file: Annotated[Path, typer.Option(help="What bench_jobs.py --json wrote.")] = DOCS / "jobs.json",
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 100_000_000,
    disk: Annotated[float, typer.Option(min=0, help="Of a gigabyte for a month.")] = 0.023,
    core: Annotated[float, typer.Option(min=0, help="Of a core for an hour.")] = 0.04,
    model: Annotated[str, typer.Option(help="Of those that ship.")] = zoo.DEFAULT,
    faces: Annotated[int, typer.Option(min=1, help="Whose bytes are measured.")] = FACES,
    records: Annotated[int, typer.Option(min=1, help="Of the archive that is measured.")] = RECORDS,
    docs: Annotated[Path, typer.Option(help="The folder of scale.md.")] = DOCS,
) -> None:
    """Rewrite docs/scale.md's figures; see the module."""
    measured = json.loads(jobs_file.read_text())
    ways, near = measure(model, faces, records)
    parts = {
        "rates": rates(measured, count, core) + f"\n\nMoney: {core:g} for a core and an hour."
                 + besides(measured),
        "costs": costs(ways, count, disk) + f"\n\nOn {faces} test faces, `{model}`, {near:.2f} dB on average. Money: "
                 f"{disk:g} for a gigabyte and a month; a file takes whole blocks of {DISK_BLOCK:,} bytes.",
        "weights": weights(ways, model),
    }
    page = docs / "scale.md"
    text = filled(page.read_text(), "scale", parts)
    with atomic_write(page, overwrite=True) as file:
        file.write(text.encode())
    typer.echo("\n\n".join(parts.values()))


if __name__ == "__main__":
    typer.run(main)
