"""Search in archives against the exact answer on decoded images: recall, and speed a million images.

    python experiments/search_archive.py [--faces N] [--queries N] [--near N] [--effort N] [--write]

An archive of synthetic faces of the validation seeds is searched for faces of the test seeds. Prefixes alone, the
longest common one first, are beside it. Near duplicates are faces as JPEG of quality 60, 4% brighter, moved by a pixel,
and cropped by a pixel all around. --write puts the tables into docs/archive.md.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import torch
import typer
from markers import filled, table
from PIL import Image

from ddncodec import Codec, append_archive, container, load_model, open_archive, zoo
from ddncodec.data.faces import TEST_SEEDS, VALIDATION_SEEDS, Faces
from ddncodec.images import Picture, Pixels
from ddncodec.latent import Latent
from ddncodec.pixels import to_pixels
from ddncodec.search import WITHIN, duplicates, first_picks, similar

DOC = Path(__file__).parents[1] / "docs" / "archive.md"
NEAREST, BATCH = 20, 64
CHANGES = ("JPEG, quality 60", "4% brighter", "moved by a pixel", "cropped by a pixel")
PREFIXES = (8, 16)  # bits


def changed(pixels: Pixels, change: str) -> Pixels:
    """A near duplicate."""
    if change == CHANGES[0]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=60)
        return np.asarray(Image.open(file))
    if change == CHANGES[1]:
        brighter: Pixels = np.clip(pixels * 1.04, 0, 255).astype(np.uint8)
        return brighter
    if change == CHANGES[2]:
        return np.roll(pixels, 1, 1)
    height, width = pixels.shape[:2]
    box = (1, 1, width - 1, height - 1)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box))


def encoded(codec: Codec, images: list[Pixels], effort: int | None) -> list[Latent]:
    """Latents, a batch at a time."""
    return [latent for start in range(0, len(images), BATCH)
            for latent in codec.encode_batch(images[start : start + BATCH], effort=effort)]


def common(one: Latent, other: Latent) -> int:
    """Levels of the longest common prefix."""
    unlike = (a != b for a, b in zip(one.indices, other.indices, strict=True))
    return next((level for level, differs in enumerate(unlike) if differs), one.levels)


def main(faces: Annotated[int, typer.Option(help="In the archive.")] = 2_000,
         queries: Annotated[int, typer.Option(help="That are searched for.")] = 50,
         near: Annotated[int, typer.Option(help="Faces that are there again, changed, in each way.")] = 100,
         effort: Annotated[int | None, typer.Option(help="Of encoding.")] = None,
         write: Annotated[bool, typer.Option("--write", help="Write docs/archive.md.")] = False) -> None:
    """Print the tables; see the module."""
    torch.set_grad_enabled(False)
    codec = load_model(zoo.DEFAULT, "cpu")
    source = Faces(codec.resolution)
    originals = list(to_pixels(source.draw(VALIDATION_SEEDS[:faces])))
    targets = list(to_pixels(source.draw(TEST_SEEDS[:queries])))
    latents = encoded(codec, originals, effort)
    copies = {change: encoded(codec, [changed(one, change) for one in originals[:near]], effort) for change in CHANGES}
    with tempfile.TemporaryDirectory() as name:
        path, doubled = Path(name) / "faces.ddns", Path(name) / "doubled.ddns"
        again = [latent for some in copies.values() for latent in some]
        for place, held in ((path, latents), (doubled, latents + again)):
            with append_archive(place) as writer:
                for latent in held:
                    writer.add(container.to_bytes(codec.to_stream(Picture(originals[0]), latent)))
        began = process_time()
        decoded = [picture for start in range(0, faces, BATCH)
                   for picture in codec.decode_batch(latents[start : start + BATCH])]
        decoding = (process_time() - began) / faces
        pictures = np.stack(decoded).reshape(faces, -1).astype(np.float32)
        by_prefix = by_search = 0
        of_targets = encoded(codec, targets, effort)
        searching = 0.0
        with open_archive(path) as archive:
            for target, latent in zip(targets, of_targets, strict=True):
                exact = set(np.square(pictures - target.reshape(-1)).sum(1).argsort()[:NEAREST].tolist())
                began = process_time()
                found = similar(archive, codec, target, NEAREST)
                searching += process_time() - began
                by_search += len(exact & {match.number for match in found})
                ranked = sorted(range(faces), key=lambda number: -common(latent, latents[number]))
                by_prefix += len(exact & set(ranked[:NEAREST]))
            began = process_time()
            for block in archive.blocks():
                codec.network.points(torch.from_numpy(first_picks(archive.header, block.payloads, 216)))
            points = (process_time() - began) / faces
        with open_archive(doubled) as archive:
            began = process_time()
            groups = duplicates(archive, codec)
            finding = (process_time() - began) / len(archive)
    all_true = queries * NEAREST
    search = table(["way", f"recall of the {NEAREST} nearest", "seconds of one core a million"], [
        ["all decoded", "1", f"{1e6 * decoding:,.0f}"],
        ["the longest common prefix", f"{by_prefix / all_true:.3f}", "–"],
        ["`similar`: coefficients of 216 bits, then a short list decoded", f"{by_search / all_true:.3f}",
         f"{1e6 * points:,.0f}, and {searching / queries - points * faces:.2f} s for the short list"]])
    group_of = {match.number: index for index, group in enumerate(groups) for match in group}
    rows = []
    for number_of_change, change in enumerate(CHANGES):
        first = faces + number_of_change * near
        hits = sum(group_of.get(number, -1) == group_of.get(first + number, -2) for number in range(near))
        shared = [np.mean([common(latents[number], copies[change][number]) >= bits for number in range(near)])
                  for bits in PREFIXES]
        rows.append([change, f"{hits / near:.3f}", *(f"{share:.3f}" for share in shared)])
    wrong = sum(len([match for match in group if near <= match.number < faces]) for group in groups)
    twice = table(["near duplicate", f"`duplicates`, within {WITHIN:g}",
                   *(f"first {bits} bits alike" for bits in PREFIXES)], rows)
    twice += (f"\n\n{faces:,} faces, {near:,} of them again in each way; {wrong:,} others were in a group. "
              f"{1e6 * finding:,.0f} seconds of one core a million.")
    typer.echo(f"{search}\n\n{twice}")
    if write:
        DOC.write_text(filled(DOC.read_text(encoding="utf-8"), "archive", {
            "search": f"{search}\n\n{faces:,} faces, {queries} searches.", "duplicates": twice}), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
